"""One lane after the other, with a clock of our own: claims, release, take-over, resume, refusal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.runtime.jobs import UID, make_job, picture, safetensors
from xdit_api.job import Job
from xdit_api.report import Counts
from xdit_runtime import volume
from xdit_runtime.ledger import Claim, LaneLedger, crashes, done, identity, open_lane
from xdit_runtime.ledger.decisions import decide
from xdit_runtime.ledger.opening import open_prompts, survey
from xdit_runtime.ledger.order import first_position, walk
from xdit_runtime.ledger.temporary import scratch
from xdit_runtime.paths import Layout
from xdit_runtime.sink import Made, Sink


class Time:
    """A clock that moves when somebody sleeps; `during` happens meanwhile."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.during: Any = lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.during()


def lane(job: Job, time: Time, replica: int = 0, lane: int = 0, lanes: int = 1, pod: str = "aaaaaaaa-1") -> LaneLedger:
    return open_lane(job, replica=replica, lane=lane, lanes=lanes, pod_uid=pod, clock=time.clock, sleep=time.sleep)


def make(job: Job, ledger: LaneLedger, limit: int = 10**6) -> list[str]:
    """Work until nothing is left or `limit` prompts are done."""
    sink = Sink(ledger, job, lambda _line: None)
    made: list[str] = []
    while len(made) < limit and (claims := ledger.claim()):
        for claim in claims:
            sink.put([Made(claim.prompt, k, picture(job, claim.prompt, k), 0.1) for k in claim.missing])
            made.append(claim.prompt.id)
    sink.close()
    return made


def take(ledger: LaneLedger) -> Claim:
    """One prompt; it must be there."""
    (claim,) = ledger.claim()
    return claim


def finish(job: Job, ledger: LaneLedger, claim: Claim) -> None:
    sink = Sink(ledger, job, lambda _line: None)
    sink.put([Made(claim.prompt, k, picture(job, claim.prompt, k), 0.1) for k in claim.missing])
    sink.close()


def images(job: Job) -> list[str]:
    return sorted(path.name for path in Layout.of(job).images.iterdir())


def test_one_lane_makes_everything_in_file_order(tmp_path: Path) -> None:
    job = make_job(tmp_path, [{"id": "b", "prompt": "x"}, {"id": "a", "prompt": "y", "images": 3}])
    ledger = lane(job, Time())
    assert not ledger.complete()
    assert make(job, ledger) == ["b", "a"]
    assert ledger.complete()
    assert ledger.counts() == Counts(total=4, completed=4)
    assert images(job) == ["a.0.png", "a.1.png", "a.2.png", "b.png"]
    assert list(Layout.of(job).scratch.iterdir()) == []


def test_lanes_start_far_apart_and_never_share_a_prompt(tmp_path: Path) -> None:
    job = make_job(tmp_path, 16)
    time = Time()
    four = [lane(job, time, replica, index, 2, f"pod{replica}") for replica in (0, 1) for index in (0, 1)]
    got = [[take(ledger).prompt.index for ledger in four] for _ in range(4)]
    assert got[0] == [0, 8, 4, 12]
    assert sorted(index for row in got for index in row) == list(range(16))


def test_first_positions_stay_inside() -> None:
    for lanes in range(1, 65):
        assert all(0 <= first_position(lane, 7) < 7 for lane in range(lanes))


def test_a_released_prompt_is_taken_by_the_next_lane_at_once(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    time = Time()
    first, second = lane(job, time), lane(job, time, replica=1)
    take(first)
    first.release("p0000")
    assert take(second).name == "p0000.2"
    assert time.now == 1000.0


def test_the_same_lane_in_a_new_pod_takes_over_at_once(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    time = Time()
    dead = lane(job, time, pod="aaaaaaaa")
    take(dead)
    torn = Layout.of(job).scratch / f"{dead.owner}.p0000"
    torn.write_bytes(b"half")
    assert make(job, lane(job, time, pod="bbbbbbbb")) == ["p0000", "p0001", "p0002"]
    assert time.now == 1000.0
    assert not torn.exists()


def test_another_resource_with_the_same_directory_is_not_a_predecessor(tmp_path: Path) -> None:
    time = Time()
    alive = lane(make_job(tmp_path, 1), time)
    take(alive)
    other = lane(make_job(tmp_path, 1, uid="f" * 8), time)
    time.during = lambda: alive.beat()
    assert other.claim() == []


def test_a_dead_lanes_claim_is_taken_after_the_lease_by_the_observers_clock(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    time = Time()
    take(lane(job, time))
    thief = lane(job, time, replica=1)
    assert make(job, thief) == ["p0000"]
    assert 1000 + job.lease_seconds <= time.now <= 1002 + job.lease_seconds


def test_a_live_lanes_claim_is_left_alone_without_waiting_for_it(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    time = Time()
    alive, other = lane(job, time), lane(job, time, replica=1)
    take(alive)
    time.during = lambda: alive.beat()
    assert make(job, other) == ["p0001"]
    assert time.now < 1010
    assert not other.complete()


def test_a_lane_that_was_seen_alive_and_then_dies_loses_its_claim(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    time = Time()
    dying, other = lane(job, time), lane(job, time, replica=1)
    take(dying)
    for _ in range(10):
        time.now += 10
        dying.beat()
        other.beat()
    time.now += job.lease_seconds / 4
    other.beat()
    time.now += job.lease_seconds
    assert set(make(job, other)) == {"p0000", "p0001", "p0002"}


def test_a_claim_without_an_owner_is_taken_after_the_lease(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    time = Time()
    thief = lane(job, time)
    claim = Layout.of(job).claim("p0000", 1)
    claim.parent.mkdir()
    claim.touch()
    assert make(job, thief) == ["p0000"]
    assert time.now >= 1000 + job.lease_seconds


def test_a_wait_for_a_dead_lane_ends_when_asked_to_stop(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    time = Time()
    take(lane(job, time))
    other = open_lane(
        job, replica=1, lane=0, lanes=1, pod_uid="b", clock=time.clock, sleep=time.sleep, stop=lambda: time.now > 1005
    )
    assert other.claim() == []
    assert time.now < 1010


def test_a_stolen_prompt_that_was_finished_meanwhile_is_not_made_again(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    time = Time()
    slow = lane(job, time)
    claim = take(slow)
    thief = lane(job, time, replica=1)
    assert make(job, thief) == ["p0000"]
    before = Layout.of(job).image("p0000").stat()
    finish(job, slow, claim)
    assert Layout.of(job).image("p0000").stat().st_ino == before.st_ino
    assert list(Layout.of(job).scratch.iterdir()) == []
    assert slow.complete()


def test_what_an_earlier_life_still_finished_is_not_made_again(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    old = lane(job, Time(), pod="a")
    claim = take(old)
    new = lane(job, Time(), pod="b")
    finish(job, old, claim)
    assert make(job, new) == ["p0001"]


def test_resume_makes_only_what_is_missing(tmp_path: Path) -> None:
    job = make_job(tmp_path, 10)
    assert len(make(job, lane(job, Time()), limit=4)) == 4
    assert make(job, lane(job, Time(), pod="b")) == [f"p{i:04d}" for i in range(4, 10)]


def test_a_deleted_image_is_made_again(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    make(job, lane(job, Time()))
    Layout.of(job).image("p0001").unlink()
    assert make(job, lane(job, Time(), pod="b")) == ["p0001"]


def test_a_later_resource_may_bring_more_prompts_and_skips_what_is_there(tmp_path: Path) -> None:
    make(first := make_job(tmp_path, 3), lane(first, Time()))
    more = make_job(tmp_path, 5, uid="bbbbbbbb-1")
    ledger = lane(more, Time())
    assert ledger.counts() == Counts(total=5, completed=3, skipped=3)
    assert make(more, ledger) == ["p0003", "p0004"]
    assert ledger.counts().skipped == 3


def test_other_inputs_for_a_finished_image_are_refused_with_both_values(tmp_path: Path) -> None:
    make(first := make_job(tmp_path, [{"id": "cat", "prompt": "a cat"}]), lane(first, Time()))
    other = make_job(tmp_path, [{"id": "cat", "prompt": "a dog", "steps": 3}], uid="bbbbbbbb-1")
    with pytest.raises(
        identity.IdentityMismatchError, match=r'cat.png.*prompt "a cat" there, "a dog" here; steps 2 there, 3 here'
    ):
        lane(other, Time())
    assert not Layout.of(other).prompts.exists()
    assert list(Layout.of(other).scratch.iterdir()) == []


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_a_finished_image_without_a_journal_speaks_for_itself(tmp_path: Path, format: str) -> None:
    out = {"path": str(tmp_path / "out"), "format": format}
    make(first := make_job(tmp_path, [{"id": "cat", "prompt": "a cät"}], output=out), lane(first, Time()))
    for journal in Layout.of(first).journals.iterdir():
        journal.unlink()
    same = make_job(tmp_path, [{"id": "cat", "prompt": "a cät"}], output=out, uid="bbbbbbbb-1")
    assert lane(same, Time()).complete()
    other = make_job(tmp_path, [{"id": "cat", "prompt": "a dog"}], output=out, uid="cccccccc-1")
    with pytest.raises(identity.IdentityMismatchError, match="a cät"):
        lane(other, Time())


def test_somebody_elses_image_is_never_taken_for_ours(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    Layout.of(job).make()
    Layout.of(job).image("p0000").write_bytes(b"not a picture")
    with pytest.raises(identity.IdentityMismatchError, match="not made by xdit-worker"):
        lane(job, Time())


def test_frozen_prompts_do_not_change_with_their_source(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    lane(job, Time())
    make_job(tmp_path, 7)
    assert lane(job, Time(), pod="b").counts().total == 2


def test_names_of_one_and_of_several_images_are_told_apart(tmp_path: Path) -> None:
    make(first := make_job(tmp_path, [{"id": "a", "prompt": "x", "images": 2}]), lane(first, Time()))
    single = make_job(tmp_path, [{"id": "a", "prompt": "x"}], uid="bbbbbbbb-1")
    assert lane(single, Time()).counts() == Counts(total=1, completed=0, skipped=0)


def test_identity_differs_with_weights_and_dtype_but_not_with_degrees(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    layout = Layout.of(job)
    layout.make()
    identity.join(job, layout, scratch(layout))
    identity.join(make_job(tmp_path, gpus=2, gpusPerPod=2, degrees={"ulysses": 2}), layout, scratch(layout))
    with pytest.raises(identity.IdentityMismatchError, match='dtype "float32" there, "bfloat16" here'):
        identity.join(make_job(tmp_path, model={"dtype": "bfloat16"}), layout, scratch(layout))
    split = {"pipefusion": 2, "pipefusionPatches": 4, "warmupSteps": 1}
    piped = make_job(tmp_path, gpus=2, gpusPerPod=2, degrees=split, output={"path": str(tmp_path / "piped")})
    other = Layout.of(piped)
    other.make()
    identity.join(piped, other, scratch(other))
    wider: dict[str, Any] = {"degrees": {**split, "ulysses": 2}, "gpus": 4, "gpusPerPod": 4, "output": {"path": str(other.root)}}
    identity.join(make_job(tmp_path, **wider), other, scratch(other))
    with pytest.raises(identity.IdentityMismatchError, match=r'pipefusion .*"warmup": 1} there, .*"warmup": 2} here'):
        identity.join(make_job(tmp_path, **{**wider, "degrees": {**split, "warmupSteps": 2}}), other, scratch(other))
    safetensors(Path(job.model.path) / "transformer/diffusion_pytorch_model.safetensors", fill=1)
    with pytest.raises(identity.IdentityMismatchError, match=r"weights .* there, .* here"):
        identity.join(job, layout, scratch(layout))
    assert json.loads(layout.identity.read_text())["uid"] == UID


def crash(job: Job, time: Time, pod: str) -> Claim:
    """A life of a lane that dies while it draws what it claimed, under a supervisor that sees it."""
    claim = take(lane(job, time, pod=pod))
    crashes.mark(Layout.of(job), [claim.name], f"rank 1 of {pod} was killed")
    return claim


def test_a_prompt_that_kills_two_lives_fails_and_the_job_is_complete_without_it(tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    time = Time()
    assert crash(job, time, "a").name == "p0000.1"
    assert crash(job, time, "b").name == "p0000.2"
    last = lane(job, time, pod="c")
    assert make(job, last) == ["p0001", "p0002"]
    assert last.complete()
    assert last.counts() == Counts(total=3, completed=2, failed=1)
    (record,) = crashes.Failed(last.layout).records()
    assert (record["id"], record["line"], record["reasons"]) == ("p0000", 1, ["rank 1 of a was killed", "rank 1 of b was killed"])
    found = survey(last.layout, open_prompts(job, last.layout))
    assert (found.complete, found.counts) == (True, Counts(total=3, completed=2, failed=1))
    assert lane(job, time, pod="d").claim() == []
    assert time.now == 1000.0


def test_a_crash_frees_the_claim_at_once_for_any_lane(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    time = Time()
    other = lane(job, time, replica=1)
    crash(job, time, "a")
    assert take(other).name == "p0000.2"
    assert time.now == 1000.0


def test_two_words_of_one_crash_count_once(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    claim = crash(job, Time(), "a")
    crashes.mark(Layout.of(job), [claim.name], "the same again")
    (found,) = crashes.crashes(Layout.of(job), "p0000", 1)
    assert found.reason == "rank 1 of a was killed"
    assert not crashes.poisonous([found, found])
    with pytest.raises(ValueError, match=r"'p0000' is not a claim"):
        crashes.mark(Layout.of(job), ["p0000"], "x")


def test_what_failed_for_one_resource_is_tried_again_by_another(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    time = Time()
    crash(job, time, "a")
    crash(job, time, "b")
    assert make(job, lane(job, time, pod="c")) == ["p0001"]
    other = make_job(tmp_path, 2, uid="bbbbbbbb-1")
    time.now += job.lease_seconds
    assert make(other, lane(other, time, replica=1)) == ["p0000"]
    again = lane(job, time, pod="d")
    assert again.counts() == Counts(total=2, completed=2, failed=1)


def test_a_prompt_that_the_engine_refuses_fails_at_once_for_every_lane(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    time = Time()
    first, second = lane(job, time), lane(job, time, replica=1)
    claim = take(first)
    first.fail(claim.prompt, ["77 words too many"])
    assert make(job, second) == ["p0001"]
    assert second.complete()
    assert time.now == 1000.0


def test_a_batch_holds_one_shape_and_as_many_images_as_asked_for(tmp_path: Path) -> None:
    small = [{"id": f"s{n}", "prompt": "x", "images": 1 + n % 2} for n in range(4)]
    large = [{"id": f"l{n}", "prompt": "x", "width": 128} for n in range(5)]
    job = make_job(tmp_path, [*small[:2], *large, *small[2:]])
    ledger = lane(job, Time())
    # the shape with the most prompts comes first
    got = [[claim.prompt.id for claim in ledger.claim(lambda _prompt: 3)] for _ in range(5)]
    assert got == [["l0", "l1", "l2"], ["l3", "l4"], ["s0", "s1"], ["s2", "s3"], []]


def test_more_of_a_shape_is_given_without_waiting_and_nothing_else(tmp_path: Path) -> None:
    job = make_job(tmp_path, [{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x"}, {"id": "c", "prompt": "x", "width": 128}])
    time = Time()
    ledger = lane(job, time)
    first = take(ledger)
    assert [claim.prompt.id for claim in ledger.claim(lambda _prompt: 9, like=first.prompt)] == ["b"]
    assert ledger.claim(lambda _prompt: 9, like=first.prompt) == []
    assert [claim.prompt.id for claim in ledger.claim()] == ["c"]
    dead = lane(job, time, replica=1)
    assert dead.claim(like=first.prompt) == []
    assert time.now == 1000.0


def test_a_batch_of_taken_over_claims_is_full_too(tmp_path: Path) -> None:
    job = make_job(tmp_path, 5)
    time = Time()
    assert len(lane(job, time).claim(lambda _prompt: 5)) == 5
    thief = lane(job, time, replica=1)
    assert [claim.name for claim in thief.claim(lambda _prompt: 3)] == ["p0000.2", "p0001.2", "p0002.2"]
    assert [claim.name for claim in thief.claim(lambda _prompt: 3)] == ["p0003.2", "p0004.2"]


def test_only_the_missing_images_of_a_prompt_are_claimed_and_all_that_is_held_can_be_given_back(tmp_path: Path) -> None:
    job = make_job(tmp_path, [{"id": "a", "prompt": "x", "images": 4}, {"id": "b", "prompt": "x"}])
    time = Time()
    dead = lane(job, time)
    claim = take(dead)
    assert claim.missing == (0, 1, 2, 3)
    sink = Sink(dead, job, lambda _line: None)
    sink.put([Made(claim.prompt, k, picture(job, claim.prompt, k), 0.1) for k in (0, 2)])
    sink.close()
    next_ = lane(job, time, pod="b")
    got = next_.claim(lambda _prompt: 3)
    assert [(claim.prompt.id, claim.missing) for claim in got] == [("a", (1, 3)), ("b", (0,))]
    finish(job, next_, got[1])
    assert next_.release_all() == []
    assert [claim.name for claim in lane(job, time, replica=1).claim(lambda _prompt: 9)] == ["a.3"]


def test_lanes_walk_the_shapes_in_one_order_each_from_its_own_place() -> None:
    bucket = np.array([7, 7, 3, 7, 3, 7, 3, 3, 3, 3], dtype=np.uint32)
    assert walk(bucket, 0).tolist() == [2, 4, 6, 7, 8, 9, 0, 1, 3, 5]
    assert walk(bucket, 1).tolist() == [7, 8, 9, 2, 4, 6, 3, 5, 0, 1]
    assert sorted(walk(np.zeros(1000, dtype=np.uint32), 5).tolist()) == list(range(1000))


def test_what_is_decided_once_is_decided_by_the_first(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    layout = Layout.of(job)
    layout.make()

    def slower() -> dict[str, object]:
        assert decide(layout, lambda: {"attention": "sdpa"}) == {"attention": "sdpa"}
        return {"attention": "flash"}

    assert decide(layout, slower) == {"attention": "sdpa"}
    assert decide(layout, lambda: {"attention": "flash"}) == {"attention": "sdpa"}
    other = Layout.of(make_job(tmp_path, uid="bbbbbbbb-1"))
    assert decide(other, lambda: {"attention": "flash"}) == {"attention": "flash"}


def test_images_of_an_id_that_differs_only_in_case_are_refused(tmp_path: Path) -> None:
    make(first := make_job(tmp_path, [{"id": "Cat", "prompt": "x"}]), lane(first, Time()))
    with pytest.raises(identity.IdentityMismatchError, match=r"Cat.png exists: ids must differ by more than case.*'cat'"):
        lane(make_job(tmp_path, [{"id": "cat", "prompt": "x"}], uid="bbbbbbbb-1"), Time())


def test_an_image_that_vanishes_is_missed_before_the_job_is_called_complete(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    ledger = lane(job, Time())
    make(job, ledger)
    assert ledger.complete()
    ledger.layout.image("p0001").unlink()
    assert not ledger.complete()


def test_a_directory_that_did_not_change_is_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path, 3)
    ledger = lane(job, Time())
    time = Time()
    finished = done.Finished(ledger.layout, open_prompts(job, ledger.layout), time.clock)
    listed: list[Path] = []

    def listing(folder: Path) -> list[str]:
        listed.append(folder)
        return volume.listing(folder)

    monkeypatch.setattr("xdit_runtime.ledger.done.listing", listing)
    for _ in range(5):
        finished.look()
        time.now += 1.0
    # once more after the step of the file system's clock, then never
    assert len(listed) == 3
    make(job, ledger)
    finished.look()
    assert done.count(finished.bits) == 3


def test_junk_in_the_directories_is_passed_over(tmp_path: Path) -> None:
    job = make_job(tmp_path, 2)
    layout = Layout.of(job)
    layout.make()
    folder = layout.claim("p0000", 1).parent
    folder.mkdir()
    for path in (layout.claims / ".nfs000000001", layout.claims / "junk", folder / ".nfs000000001", folder / "p0000.x", layout.images / "p0000.txt", layout.images / ".p0000.png",
                 layout.images / "p0000.5.png", layout.lanes / "junk"):  # fmt: skip
        path.write_text("junk")
    assert len(make(job, lane(job, Time()))) == 2
