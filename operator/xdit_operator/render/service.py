"""The headless Service that gives pods their DNS names."""

from xdit_api import pod
from xdit_api.base import Json
from xdit_operator import names
from xdit_operator.render.source import Source


def render(source: Source) -> Json:
    """One for all replicas. Names resolve before pods are ready: ranks must meet to become ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": source.metadata(names.service(source.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {names.LABEL_MANAGED: names.MANAGER, names.LABEL_NAME: source.name},
            "ports": [{"name": "http", "port": pod.HTTP_PORT, "targetPort": pod.HTTP_PORT, "protocol": "TCP"}],
        },
    }
