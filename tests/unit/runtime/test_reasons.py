"""From what was seen of a lane to the one cause."""

import signal
from typing import Any

import pytest

from xdit_api.report import Counts, Exit
from xdit_runtime.ending import Ending, failed, result_of
from xdit_runtime.handshake import RankEnd, RankFailure
from xdit_runtime.reasons import LaneEnd, blames_the_work, ended_well, ending_of, gpu_is_gone
from xdit_runtime.settings import Settings


def said(rank: int, time: float, exit: Exit) -> RankFailure:
    return RankFailure(rank, time, exit, f"rank {rank}: {exit.name}")


def lane(**fields: Any) -> LaneEnd:
    empty: dict[str, Any] = {
        "failures": [],
        "ends": [],
        "size": 2,
        "silent": [],
        "exit_codes": {},
        "oom": False,
        "torchrun": 1,
        "tail": [],
    }
    return LaneEnd(**{**empty, **fields})


CASES = {
    "the earliest word wins": (
        lane(failures=[said(1, 1.0, Exit.CUDA_ERROR), said(0, 2.0, Exit.WORKER_FAILED)], silent=[0, 1]),
        (Exit.CUDA_ERROR, 1, "rank 1: CUDA_ERROR"),
    ),
    "words about others are echoes of a silent death": (
        lane(failures=[said(0, 1.0, Exit.PEER_LOST)], silent=[0, 1], exit_codes={1: -9}),
        (Exit.WORKER_FAILED, 1, "rank 1 was killed by signal 9 (SIGKILL)"),
    ),
    "an own word beats an earlier echo": (
        lane(failures=[said(0, 1.0, Exit.PEER_LOST), said(1, 1.1, Exit.OUTPUT_VOLUME)]),
        (Exit.OUTPUT_VOLUME, 1, "rank 1: OUTPUT_VOLUME"),
    ),
    "NCCL tells more than a lost connection": (
        lane(failures=[said(0, 1.0, Exit.PEER_LOST), said(1, 1.1, Exit.NCCL_ERROR)]),
        (Exit.NCCL_ERROR, 1, "rank 1: NCCL_ERROR"),
    ),
    "only an echo": (lane(failures=[said(0, 1.0, Exit.PEER_LOST)]), (Exit.PEER_LOST, 0, "rank 0: PEER_LOST")),
    "out of memory": (
        lane(silent=[0], exit_codes={0: -signal.SIGKILL}, oom=True),
        (
            Exit.OUT_OF_MEMORY,
            0,
            "rank 0 was killed because the pod's memory limit was reached: raise worker.resources.limits.memory",
        ),
    ),
    "another process of the pod ran out of memory": (
        lane(silent=[0], exit_codes={0: -signal.SIGSEGV}, oom=True),
        (Exit.WORKER_FAILED, 0, "rank 0 was killed by signal 11 (SIGSEGV)"),
    ),
    "the launcher's SIGTERM is not the cause": (
        lane(silent=[0, 1], exit_codes={0: -15, 1: -9}),
        (Exit.WORKER_FAILED, 1, "rank 1 was killed by signal 9 (SIGKILL)"),
    ),
    "an exit code": (lane(silent=[0], exit_codes={0: 3}), (Exit.WORKER_FAILED, 0, "rank 0 exited with 3 without saying why")),
    "nothing is known": (lane(silent=[1]), (Exit.WORKER_FAILED, 1, "rank 1 died without a word")),
    "the launcher ran out of memory": (
        lane(torchrun=-9, oom=True),
        (
            Exit.OUT_OF_MEMORY,
            None,
            "the launcher of the ranks was killed because the pod's memory limit was reached: raise worker.resources.limits.memory",
        ),
    ),
    "torchrun itself failed": (
        lane(torchrun=2, tail=["usage: run.py", "error: no such option", ""]),
        (Exit.WORKER_FAILED, None, "torchrun ended with 2 before its ranks had started or ended: error: no such option"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cause(name: str) -> None:
    seen, expected = CASES[name]
    ending = ending_of(seen)
    assert (ending.exit, ending.rank, ending.message) == expected
    assert ending.outcome == "failed"


BLAME = {
    "an exception": (lane(failures=[said(0, 1.0, Exit.WORKER_FAILED)]), True),
    "a signal of its own making": (lane(silent=[0], exit_codes={0: -signal.SIGSEGV}), True),
    "the memory limit": (lane(silent=[0], exit_codes={0: -signal.SIGKILL}, oom=True), True),
    "more memory than there is": (lane(failures=[said(0, 1.0, Exit.OUT_OF_MEMORY)]), True),
    "an exit code": (lane(silent=[0], exit_codes={0: 3}), True),
    "killed by somebody": (lane(silent=[0], exit_codes={0: -signal.SIGKILL}), False),
    "told to end by somebody": (lane(silent=[0], exit_codes={0: -signal.SIGTERM}), False),
    "nobody knows": (lane(silent=[0]), False),
    "the device": (lane(failures=[said(0, 1.0, Exit.CUDA_ERROR)]), False),
    "the network": (lane(failures=[said(0, 1.0, Exit.NCCL_ERROR)]), False),
    "another pod": (lane(failures=[said(0, 1.0, Exit.PEER_LOST)]), False),
    "the volume": (lane(failures=[said(0, 1.0, Exit.OUTPUT_VOLUME)]), False),
    "the plan": (lane(failures=[said(0, 1.0, Exit.INVALID_PLAN)]), False),
    "torchrun": (lane(torchrun=2), False),
}


@pytest.mark.parametrize("name", BLAME)
def test_whether_the_prompt_in_work_is_to_blame(name: str) -> None:
    seen, expected = BLAME[name]
    assert blames_the_work(seen, ending_of(seen)) == expected


def test_a_gpu_that_is_gone_has_its_own_code() -> None:
    cuda = failed(Exit.CUDA_ERROR, "rank 1: RuntimeError: CUDA error: unspecified launch failure", 1)
    assert gpu_is_gone(cuda, None) is cuda
    lost = gpu_is_gone(cuda, "GPU 1: Xid 79 (GPU has fallen off the bus)")
    assert (lost.exit, lost.rank) == (Exit.GPU_LOST, 1)
    assert lost.message.startswith("GPU 1: Xid 79")
    assert gpu_is_gone(failed(Exit.CUDA_ERROR, "rank 0: no CUDA-capable device is detected"), None).exit == Exit.GPU_LOST
    other = failed(Exit.WORKER_FAILED, "rank 0: GPU is lost, said the prompt")
    assert gpu_is_gone(other, None) is other


def test_a_lane_that_ended_well() -> None:
    counts = Counts(total=3, completed=3)
    ending = ending_of(lane(ends=[RankEnd(0, "drained", counts), RankEnd(1, "drained", counts)], torchrun=0))
    assert (ending.outcome, ending.exit, ending.counts) == ("drained", Exit.OK, counts)


def test_lanes_of_a_pod_together() -> None:
    assert ended_well(["idle", "drained"], None).outcome == "drained"
    assert ended_well(["idle", "stopped"], None).exit == Exit.STOPPED
    assert (ended_well(["idle", "idle"], None).outcome, ended_well(["idle"], None).exit) == ("idle", Exit.OK)


def test_reasons_of_results() -> None:
    settings = Settings.read({"XDIT_LIFE_DIR": "/l", "POD_NAME": "p", "XDIT_ATTEMPT": "4"})
    reasons = {
        outcome: result_of(Ending(outcome, exit, ""), settings, "u", "").reason  # type: ignore[arg-type]
        for outcome, exit in (("drained", Exit.OK), ("idle", Exit.OK), ("stopped", Exit.STOPPED), ("failed", Exit.GPU_COUNT))
    }
    assert reasons == {"drained": "Drained", "idle": "Idle", "stopped": "Stopped", "failed": "GpuCount"}
