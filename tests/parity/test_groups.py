import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from xdit_runtime.engine import groups
from xdit_runtime.engine.base import World


@pytest.mark.parametrize("case", ["agree", "lost", "timeout"])
def test_three_ranks(case: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("control_ranks.py")), case]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_one_rank_needs_no_group() -> None:
    world = World(0, 0, 1, "cpu", timedelta(seconds=1))
    groups.start(world)
    assert not dist.is_initialized()
    control = groups.Control(world)
    assert control.broadcast({"kind": "wait"}) == {"kind": "wait"}
    assert control.any(True)
    assert not control.any(False)
    control.gather(lambda: None)
    control.part()


def test_new_groups_get_their_own_default_back() -> None:
    original = dist.new_group

    def broken() -> None:
        with groups.bounded(timedelta(seconds=5)):
            assert dist.new_group is not original
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        broken()
    assert dist.new_group is original
