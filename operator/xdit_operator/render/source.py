"""What every child is made from."""

from dataclasses import dataclass

from xdit_api import API_VERSION, KIND
from xdit_api.base import Json
from xdit_api.spec import Spec
from xdit_operator import names
from xdit_operator.plan import Plan
from xdit_operator.settings import Settings


@dataclass(frozen=True, slots=True)
class Source:
    """The resource, its plan and the operator's flags."""

    namespace: str
    name: str
    uid: str
    spec: Spec
    plan: Plan
    settings: Settings

    def metadata(self, name: str, labels: dict[str, str] | None = None) -> Json:
        """Metadata of a child that is deleted together with the resource.

        blockOwnerDeletion stays out: it would need a permission on finalizers, and nothing waits for children.
        """
        owner = {"apiVersion": API_VERSION, "kind": KIND, "name": self.name, "uid": self.uid, "controller": True}
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": names.labels(self.name) | (labels or {}),
            "ownerReferences": [owner],
        }
