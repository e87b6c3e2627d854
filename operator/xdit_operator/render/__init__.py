"""Plan -> manifests. Pure; one module per child; the same manifest for the same input.

`base` is what all groups share, `statefulset.render` one group at one attempt.
"""

from xdit_api.base import Json
from xdit_operator.render import job, networkpolicy, service, statefulset
from xdit_operator.render.source import Source

__all__ = ["Source", "base", "statefulset"]


def base(source: Source) -> tuple[Json, ...]:
    """Children that are not pods, in the order in which they are applied: pods need them."""
    children = [service.render(source), job.render(source)]
    if source.spec.worker.network_policy:
        children.append(networkpolicy.render(source))
    return tuple(children)
