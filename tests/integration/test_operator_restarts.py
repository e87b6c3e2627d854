"""The operator goes away and comes back. Runs alone (`make integration`): it is the operator of all tests."""

import time

from tests.integration.jobs import ended, job, no_pods, phase, pods
from tests.integration.operator_process import Operator
from tests.integration.rest import settled, versions
from tests.support.kube import Kube


def test_a_restarted_operator_changes_nothing(studio: Kube, operator: Operator) -> None:
    studio.apply(job(standin={"hold": True}, replicas=2))
    studio.wait("xdit", "posters", phase("Running"), deadline=60)
    before = settled(studio, quiet=6)
    uids = [pod["metadata"]["uid"] for pod in pods(studio)]
    operator.stop()
    mark = studio.audit_mark()
    operator.resume()
    time.sleep(8)
    after = versions(studio)
    assert {k: v for k, v in after.items() if k != "xdit"} == {k: v for k, v in before.items() if k != "xdit"}
    assert [pod["metadata"]["uid"] for pod in pods(studio)] == uids
    assert [r for r in studio.writes(mark, operator.user) if r.resource != "xditinferences"] == []
    assert phase("Running")(studio.get("xdit", "posters"))


def test_operator_down_while_the_job_ends(studio: Kube, operator: Operator) -> None:
    studio.apply(job(images=10, standin={"seconds": 0.3}))
    studio.wait("xdit", "posters", phase("Running", "Starting"), deadline=60)
    studio.wait_ready("posters-0-0")
    operator.stop()
    try:
        studio.wait(
            "pod", "posters-0-0", lambda p: "terminated" in p["status"]["containerStatuses"][0].get("lastState", {}), deadline=60
        )
    finally:
        operator.resume()
    done = studio.wait("xdit", "posters", ended, deadline=60)
    assert phase("Complete")(done)
    no_pods(studio)
