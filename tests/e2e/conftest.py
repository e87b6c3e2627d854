"""One workspace a module: a restricted namespace with claims, the tiny FLUX and a tools pod."""

import pytest

from tests.e2e.jobs import claim, tool_pod
from tests.support.kube import Kube


@pytest.fixture(scope="module")
def workspace(kube_module: Kube) -> Kube:
    """Claims models, pictures and data; /models/tiny-flux; pod `tools` with all three mounted."""
    for name in ("models", "pictures", "data"):
        kube_module.apply(claim(name))
    kube_module.apply(tool_pod("maker", ["models"], ["xdit-tiny-model", "/models/tiny-flux"]))
    kube_module.apply(tool_pod("tools", ["models", "pictures", "data"], ["sleep", "3600"]))
    kube_module.wait("pod", "maker", lambda pod: pod["status"].get("phase") == "Succeeded", deadline=180)
    kube_module.run("wait", "--for=condition=Ready", "pod/tools", "--timeout=120s")
    return kube_module
