"""What ranks print reaches the log with their number, whole, and is kept nowhere."""

import os
import subprocess
import sys
from pathlib import Path

from xdit_runtime import rankpipe

RANK = """
import os, sys
from pathlib import Path
from xdit_runtime import rankpipe
print("before", flush=True)
rankpipe.join(Path(sys.argv[1]), int(sys.argv[2]))
print("one", flush=True)
print("two", file=sys.stderr, flush=True)
sys.stdout.write("10%\\r50%\\r100%\\n" + "x" * 40_000 + "\\nno end")
sys.stdout.flush()
os._exit(0)
"""


def test_every_line_of_every_rank(tmp_path: Path) -> None:
    pipes = rankpipe.make(tmp_path, [0, 1])
    shell = "; ".join(f"{sys.executable} -c '{RANK}' {tmp_path} {rank}" for rank in (0, 1))
    process = subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE)
    assert process.stdout is not None
    said: dict[int | None, list[str]] = {0: [], 1: [], None: []}
    rankpipe.copy(pipes, process.stdout, lambda rank, line: said[rank].append(line))
    assert process.wait(10) == 0
    for rank in (0, 1):
        assert said[rank][:3] == ["one", "two", "100%"]
        assert "".join(said[rank][3:-1]) == "x" * 40_000
        assert max(map(len, said[rank])) <= rankpipe.LONGEST
        assert said[rank][-1] == "no end"
    assert said[None] == ["before", "before"]
    assert not any(path.is_file() for path in tmp_path.iterdir())


def test_without_a_pipe_a_rank_prints_where_it_did(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RANK, tmp_path, "0"], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.startswith("before\none\n")
    assert done.stderr == "two\n"
