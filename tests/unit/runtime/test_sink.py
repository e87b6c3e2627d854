"""What happens to an image between the queue and its final name when the volume fails."""

import errno
import json
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.unit.runtime.jobs import make_job, picture
from xdit_api.job import Job
from xdit_runtime import volume
from xdit_runtime.imagefile import read_record
from xdit_runtime.ledger import LaneLedger, open_lane
from xdit_runtime.paths import Layout
from xdit_runtime.sink import Made, OutputVolumeError, Sink


def begin(tmp_path: Path, prompts: Any = 3, **changes: Any) -> tuple[Job, LaneLedger, Sink]:
    job = make_job(tmp_path, prompts, **changes)
    ledger = open_lane(job, replica=0, lane=0, lanes=1, pod_uid="a")
    return job, ledger, Sink(ledger, job, lambda _line: None)


def test_an_image_tells_how_it_was_made(tmp_path: Path) -> None:
    job, ledger, sink = begin(tmp_path, [{"id": "x", "prompt": "ein Löwe \U0001f981", "seed": 5, "style": "ink"}])
    prompt = ledger.claim()[0].prompt
    sink.put([Made(prompt, 0, picture(job, prompt, 0), 1.25)])
    sink.close()
    path = ledger.layout.image("x")
    record = read_record(path)
    assert record is not None
    assert (record["prompt"], record["seed"], record["extra"]) == ("ein Löwe \U0001f981", 5, {"style": "ink"})
    with Image.open(path) as image:
        assert image.info["prompt"] == "ein Löwe \U0001f981"
        assert (image.info["model"], image.info["degrees"], image.info["job"]) == ("xdit-dev/tiny-flux", "one GPU", "test/job")
        assert np.array_equal(np.asarray(image), picture(job, prompt, 0))
    with Image.open(ledger.layout.thumbnail("x")) as small:
        assert small.format == "JPEG"


def test_a_write_that_fails_half_way_leaves_no_image_and_gives_the_claim_back(tmp_path: Path) -> None:
    """A real short write: the process may not write files beyond 4 KiB."""
    job, ledger, sink = begin(tmp_path, [{"id": "a", "prompt": "x", "width": 256, "height": 256}])
    prompt = ledger.claim()[0].prompt
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        sink.put([Made(prompt, 0, picture(job, prompt, 0), 0.1)])
        with pytest.raises(OutputVolumeError, match=os.strerror(errno.EFBIG)):
            sink.drain()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    layout = Layout.of(job)
    assert list(layout.images.iterdir()) == []
    assert list(layout.scratch.iterdir()) == []
    assert layout.released("a", 1).exists()
    other = open_lane(job, replica=1, lane=0, lanes=1, pod_uid="b")
    assert [claim.prompt for claim in other.claim()] == [prompt]
    with pytest.raises(OutputVolumeError):
        sink.put([Made(prompt, 0, picture(job, prompt, 0), 0.1)])


def test_after_an_error_everything_queued_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, ledger, sink = begin(tmp_path)
    prompts = [ledger.claim()[0].prompt for _ in range(3)]
    reached, go = threading.Event(), threading.Event()

    def no_space(fd: int, data: Any) -> int:
        reached.set()
        assert go.wait(10)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_space)
        for prompt in prompts:
            sink.put([Made(prompt, 0, picture(job, prompt, 0), 0.1)])
        assert reached.wait(10)
        go.set()
        with pytest.raises(OutputVolumeError, match="No space left"):
            sink.drain()
    assert [ledger.held(p.id) for p in prompts] == [False] * 3
    assert [Layout.of(job).released(p.id, 1).exists() for p in prompts] == [True] * 3


def test_the_queue_holds_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, ledger, sink = begin(tmp_path, 4)
    prompts = [ledger.claim()[0].prompt for _ in range(4)]
    go = threading.Event()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data) if go.wait(10) else 0)
    done = threading.Event()

    def produce() -> None:
        for prompt in prompts:
            sink.put([Made(prompt, 0, picture(job, prompt, 0), 0.1)])
        done.set()

    threading.Thread(target=produce, daemon=True).start()
    assert not done.wait(0.5)  # one is being written, two wait, the fourth does not fit
    go.set()
    assert done.wait(10)
    sink.close()
    assert ledger.complete()
    assert 0.4 < sink.blocked_seconds < 10


def test_a_batch_is_written_in_order_and_each_image_has_a_line_in_the_log(tmp_path: Path) -> None:
    job = make_job(tmp_path, [{"id": "a", "prompt": "x", "images": 5, "seed": 7}, {"id": "b", "prompt": "y"}])
    ledger = open_lane(job, replica=0, lane=0, lanes=1, pod_uid="a")
    said: list[str] = []
    sink = Sink(ledger, job, said.append)
    claims = ledger.claim(lambda _prompt: 6)
    sink.put([Made(c.prompt, k, picture(job, c.prompt, k), 0.25) for c in claims for k in c.missing])
    sink.close()
    assert sink.blocked_seconds < 0.1
    journal = [json.loads(line) for line in Layout.of(job).journal(str(ledger.owner)).read_text().splitlines()]
    logged = [json.loads(line) for line in said]
    names = ["a.0", "a.1", "a.2", "a.3", "a.4", "b"]
    assert [line["image"] for line in journal] == [line["image"] for line in logged] == names
    first = logged[0]
    assert first.pop("encode_seconds") >= 0
    assert first == {
        "event": "image", "id": "a", "image": "a.0", "seed": 7, "width": 64, "height": 64, "steps": 2, "seconds": 0.25,
        "bytes": Layout.of(job).image("a.0").stat().st_size, "lane": str(ledger.owner),
    }  # fmt: skip
    for name, claim, k in zip(names, [claims[0]] * 5 + [claims[1]], [0, 1, 2, 3, 4, 0], strict=True):
        with Image.open(Layout.of(job).image(name)) as image:
            assert np.array_equal(np.asarray(image), picture(job, claim.prompt, k))


def test_a_batch_that_fails_half_way_keeps_what_has_its_name_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, ledger, sink = begin(tmp_path, 3)
    claims = ledger.claim(lambda _prompt: 3)
    link = os.link

    def broken(source: Path, target: Path) -> None:
        if target.name == "p0001.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", broken)
        sink.put([Made(c.prompt, 0, picture(job, c.prompt, 0), 0.1) for c in claims])
        with pytest.raises(OutputVolumeError, match=os.strerror(errno.EIO)):
            sink.drain()
    layout = Layout.of(job)
    assert [path.name for path in layout.images.iterdir()] == ["p0000.png"]
    assert list(layout.scratch.iterdir()) == []
    other = open_lane(job, replica=1, lane=0, lanes=1, pod_uid="b")
    assert [claim.name for claim in other.claim(lambda _prompt: 3)] == ["p0001.2", "p0002.2"]


def test_a_lost_answer_of_link_is_recognised_as_our_own_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS: the server made the link, the answer got lost, the client asked again."""
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    temporary, final = tmp_path / "t", tmp_path / "f"
    temporary.write_bytes(b"ours")
    assert volume.publish(temporary, final)
    temporary.write_bytes(b"later")
    assert not volume.publish(temporary, final)
    assert final.read_bytes() == b"ours"
    assert not temporary.exists()
