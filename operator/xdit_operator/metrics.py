"""Prometheus metrics of the operator; label values are bounded."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from xdit_api.status import PHASES


class Metrics:
    """One registry for one operator process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter("xdit_operator_reconciles", "Reconciles by result", ["result"], registry=self.registry)
        self.seconds = Histogram("xdit_operator_reconcile_seconds", "Seconds of one reconcile", registry=self.registry)
        self.writes = Counter("xdit_operator_writes", "Writes to the API by kind", ["kind"], registry=self.registry)
        self.depth = Gauge("xdit_operator_queue_depth", "Resources that wait to be reconciled", registry=self.registry)
        self.age = Gauge("xdit_operator_queue_age_seconds", "Age of the oldest of them", registry=self.registry)
        self.resources = Gauge("xdit_operator_resources", "Resources by phase", ["phase"], registry=self.registry)
        self.requests = Gauge("xdit_operator_api_answers", "Answers of the API", ["method", "code"], registry=self.registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)

    def count_phases(self, found: dict[str, int]) -> None:
        """Resources by phase; every phase has a value."""
        for phase in PHASES:
            self.resources.labels(phase=phase).set(found.get(phase, 0))
