"""What the ledger and the gallery of a large job cost: `python tests/bench/ledger.py <empty directory> [images]`.

Makes the files that four lanes leave behind (image files are empty: nothing here reads them) and prints seconds.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.unit.runtime.jobs import make_job
from xdit_api.job import Job
from xdit_runtime.ledger import journal, open_lane
from xdit_runtime.ledger.done import Finished
from xdit_runtime.ledger.journal import JournalReader
from xdit_runtime.ledger.opening import open_prompts, settled, survey
from xdit_runtime.ledger.order import walk
from xdit_runtime.paths import Layout, shard_of
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.publish import Publisher
from xdit_runtime.record import record_of

LANES = 4


@contextmanager
def timed(what: str) -> Iterator[None]:
    began, used = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{what:70s} {wall:8.3f} s, {cpu:8.3f} s of CPU; {memory} MiB at most so far", flush=True)


def make(job: Job, layout: Layout, prompts: FrozenPrompts, begin: int, end: int) -> None:
    """Images number `begin` to `end` in the order in which LANES lanes make them."""
    orders = [walk(prompts.bucket, lane) for lane in range(LANES)]
    files = [(layout.journals / f"0-{lane}-bench-{begin}.jsonl").open("wb") for lane in range(LANES)]
    for n in range(begin, end):
        lane = n % LANES
        prompt = prompts[int(orders[lane][n // LANES])]
        record = record_of(job, prompt, 0)
        extra = {"file": layout.image_file(prompt.id), "sha256": "0" * 64, "bytes": 1500000, "seconds": 1.2}
        stamp = f"2026-01-{1 + n // 86400:02d}T{n // 3600 % 24:02d}:{n // 60 % 60:02d}:{n % 60:02d}+00:00"
        files[lane].write(journal.encode({**record, **extra, "lane": f"0-{lane}-bench-1", "time": stamp}))
        for path in (layout.image(prompt.id), layout.thumbnail(prompt.id), layout.claim(prompt.id, 1)):
            path.parent.mkdir(exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        layout.claim(prompt.id, 1).write_text(f"0-{lane}-bench-1")
    for file in files:
        file.close()


def main(root: Path, images: int) -> None:
    made = images * 9 // 10
    with timed("write the prompt file"):
        job = make_job(root, [{"id": f"p{n:07d}", "prompt": f"{n} boats on a river, oil on canvas " * 4} for n in range(images)])
    layout = Layout.of(job)
    layout.make()
    with timed("freeze the prompts"):
        prompts = open_prompts(job, layout)
    layout = settled(layout)
    print(f"sharded: {layout.sharded}; an id's shard: {shard_of('p0000000')}")
    make(job, layout, prompts, 0, made)

    with timed(f"survey of {made} images (preflight)"):
        assert survey(layout, prompts).counts.completed == made
    with timed("a lane opens its ledger (images and claims listed)"):
        lane = open_lane(job, replica=1, lane=0, lanes=1, pod_uid="x")
    finished = Finished(layout, prompts)
    with timed("list the images"):
        finished.look()
    time.sleep(3)
    finished.look()
    with timed("list them again, nothing new"):
        finished.look()
    with timed("read all journals (the other way to count)"):
        assert sum(1 for _ in JournalReader(layout.journals).read()) == made
    publisher = Publisher(job, layout, prompts, 0, "bench")
    with timed("first publish of a supervisor, nothing there"):
        publisher.publish(final=False)
    make(job, layout, prompts, made, made + 30)
    with timed("list them again, 30 new"):
        finished.look()
    with timed("counts of a lane, between listings"):
        lane.counts()
    with timed("publish with 30 new images, with the manifest"):
        publisher._manifest_due = 0
        publisher.publish(final=False)
    make(job, layout, prompts, made + 30, made + 60)
    with timed("publish with 30 new images, manifest not due"):
        publisher._manifest_due = 1e18
        publisher.publish(final=False)
    another = Publisher(job, layout, prompts, 0, "bench")
    with timed("first publish of another supervisor, closed pages there"):
        another.publish(final=False)
    with timed("last publish (thumbnails listed)"):
        publisher.publish()
    with timed("is it complete?"):
        assert not lane.complete()
    size = layout.manifest.stat().st_size >> 20
    print(f"manifest {size} MiB, index.html {layout.index.stat().st_size >> 10} KiB")
    lines = [json.loads(line)["image"] for line in layout.manifest.read_bytes().splitlines()]
    assert lines == sorted(lines)
    assert len(lines) == made + 60


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
