"""The wall around a job's pods: ranks trust each other without a password (torch, NCCL, pickle)."""

from xdit_api import pod
from xdit_api.base import Json
from xdit_operator import names
from xdit_operator.render.source import Source

_DNS_PORTS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
_NODE_LOCAL_DNS = "169.254.20.10/32"
"""Where clusters with NodeLocal DNSCache send queries."""


def render(source: Source) -> Json:
    """In: the group on any port (NCCL picks its own), the operator and monitoring on HTTP. Out: the group and DNS."""
    group = {"matchLabels": {names.LABEL_MANAGED: names.MANAGER, names.LABEL_NAME: source.name}}
    operator = {
        **_namespace(source.settings.operator_namespace),
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": names.OPERATOR_APP}},
    }
    http = [{"protocol": "TCP", "port": pod.HTTP_PORT}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": source.metadata(names.network_policy(source.name)),
        "spec": {
            "podSelector": group,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"podSelector": group}]},
                {"from": [operator, _namespace(source.settings.monitoring_namespace)], "ports": http},
            ],
            "egress": [
                {"to": [{"podSelector": group}]},
                {"to": [_namespace("kube-system"), {"ipBlock": {"cidr": _NODE_LOCAL_DNS}}], "ports": _DNS_PORTS},
            ],
        },
    }


def _namespace(name: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
