"""One replica's group at one attempt."""

from xdit_api.base import Json
from xdit_operator import names
from xdit_operator.render import podtemplate
from xdit_operator.render.source import Source


def render(source: Source, replica: int, attempt: int, up: bool) -> Json:
    """`up`: whether its pods are wanted; attempt and replicas are written together.

    Parallel: ranks wait for each other. OnDelete: a template never touches pods that run.
    """
    selector = names.group_labels(source.name, replica)
    numbered = {names.LABEL_REPLICA: str(replica), names.LABEL_ATTEMPT: str(attempt)}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": source.metadata(names.statefulset(source.name, replica), numbered),
        "spec": {
            "replicas": source.plan.pods if up else 0,
            "serviceName": names.service(source.name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": selector},
            "template": podtemplate.render(source, replica, attempt),
        },
    }
