"""Where pods may run."""

import copy

from xdit_api.base import Json
from xdit_api.spec import Scheduling


def render(scheduling: Scheduling, group: dict[str, str]) -> Json:
    """The scheduling fields of a pod spec.

    group: labels that only the pods of one replica have; with topologyKey they all share one value of that node label.
    """
    out: Json = {}
    if scheduling.scheduler_name is not None:
        out["schedulerName"] = scheduling.scheduler_name
    if scheduling.priority_class_name is not None:
        out["priorityClassName"] = scheduling.priority_class_name
    if scheduling.node_selector:
        out["nodeSelector"] = dict(scheduling.node_selector)
    if scheduling.tolerations:
        out["tolerations"] = [toleration.dump() for toleration in scheduling.tolerations]
    affinity: Json = copy.deepcopy(scheduling.affinity) if scheduling.affinity is not None else {}
    if scheduling.topology_key is not None:
        together = {"labelSelector": {"matchLabels": group}, "topologyKey": scheduling.topology_key}
        near = affinity.setdefault("podAffinity", {})
        near.setdefault("requiredDuringSchedulingIgnoredDuringExecution", []).append(together)
    if affinity:
        out["affinity"] = affinity
    return out
