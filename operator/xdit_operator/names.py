"""Every generated name, label and annotation, in one place."""

from collections.abc import Mapping

from xdit_api import GROUP

MANAGER = "xdit-operator"
"""Field manager of every write, and the value of LABEL_MANAGED."""
LABEL_MANAGED = "app.kubernetes.io/managed-by"
SELECTOR = f"{LABEL_MANAGED}={MANAGER}"
"""Server-side selector of what the operator watches."""
LABEL_NAME = f"{GROUP}/name"
LABEL_REPLICA = f"{GROUP}/replica"
LABEL_ATTEMPT = f"{GROUP}/attempt"
ANNOTATION_HASH = f"{GROUP}/manifest-hash"
CONTAINER = "worker"
OPERATOR_APP = "xdit-operator"
"""app.kubernetes.io/name of the operator's own pod."""


def statefulset(name: str, replica: int) -> str:
    """The group of one replica."""
    return f"{name}-{replica}"


def service(name: str) -> str:
    """The headless Service of all groups."""
    return name


def job_config_map(name: str) -> str:
    """The resolved job."""
    return f"{name}-job"


def network_policy(name: str) -> str:
    """The wall around all groups."""
    return name


def leader_host(name: str, replica: int) -> str:
    """DNS name of pod 0 of a replica, relative to the namespace."""
    return f"{statefulset(name, replica)}-0.{service(name)}"


def labels(name: str) -> dict[str, str]:
    """Labels of every child."""
    return {LABEL_MANAGED: MANAGER, "app.kubernetes.io/name": "xdit", LABEL_NAME: name}


def group_labels(name: str, replica: int) -> dict[str, str]:
    """The immutable selector of one replica's pods."""
    return {LABEL_NAME: name, LABEL_REPLICA: str(replica)}


def number(labelled: Mapping[str, str], label: str) -> int | None:
    """The number in a label; None when it is absent or somebody else's."""
    text = labelled.get(label, "")
    return int(text) if text.isdecimal() and text.isascii() else None
