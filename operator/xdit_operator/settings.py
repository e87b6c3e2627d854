"""What the command line decides, for all resources."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Flags of `xdit-operator run`."""

    worker_image: str
    """Image of worker pods whose resource names none."""
    operator_namespace: str = "xdit-system"
    """Namespace of the operator's pod; it may reach the workers' HTTP port."""
    monitoring_namespace: str = "monitoring"
    """Namespace that may scrape the workers' HTTP port."""
    namespaces: tuple[str, ...] = ()
    """Watched namespaces; empty means all."""
    resync_seconds: int = 600
    probe_port: int = 8080
    workers: int = 8
    """Resources reconciled at the same time."""
