"""`xdit-fetch` as a process against a hub on this machine."""

import hashlib
import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runtime.fetch.hub import FakeHub, Fault, running
from tests.unit.runtime.fetch.models import REPO, REVISION, TOKEN, extras, safetensors, wanted
from tests.unit.runtime.fetch.runs import model, run, run_as_in_the_image, start, tree, until
from xdit_runtime import modeldir

SHARD = "transformer/diffusion_pytorch_model-00001-of-00002.safetensors"
CONTENT = wanted()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running() as hub:
        hub.repos[REPO] = {REVISION: CONTENT | extras()}
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    made = tmp_path / "cache"
    made.mkdir()
    return made


def grown(cache: Path) -> int:
    """Bytes of the first shard that are there."""
    name = hashlib.sha256(SHARD.encode()).hexdigest()[:8]
    return max((path.stat().st_size for path in cache.rglob(f"parts/{name}-*")), default=0)


def test_a_model_is_fetched_whole_and_nothing_else(hub: FakeHub, cache: Path) -> None:
    ended = run_as_in_the_image(hub.url, cache)
    assert ended.code == 0, ended.output
    assert tree(model(cache)) == CONTENT
    modeldir.check(model(cache))
    assert (ended.result["outcome"], ended.result["reason"], ended.result["exitCode"]) == ("drained", "Fetched", 0)
    assert f"{REPO} at {REVISION} from {hub.url}: 14 files, 6.09 MB; to fetch: 6.09 MB" in ended.output
    assert f"{SHARD}  3 MB" in ended.output
    assert "left out: 13 files" in ended.output
    manifest = json.loads((model(cache) / ".xdit-fetch.json").read_text())
    assert (manifest["repo"], manifest["revision"]) == (REPO, REVISION)
    assert manifest["files"] == {
        path: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for path, content in CONTENT.items()
    }
    assert not (cache / "hf").exists(), "the library has its own cache"


def test_the_second_run_asks_the_hub_nothing(hub: FakeHub, cache: Path) -> None:
    assert run(hub.url, cache).code == 0
    hub.seen.clear()
    ended = run(hub.url, cache)
    assert (ended.code, hub.seen) == (0, [])
    assert "is complete" in ended.result["message"]


def test_a_killed_run_goes_on_where_it_was(hub: FakeHub, cache: Path) -> None:
    hub.repos[REPO][REVISION] = wanted(20_000_000)
    hub.faults[SHARD] = Fault(hold=16_000_000)
    process = start(hub.url, cache)
    until(lambda: grown(cache) > 15_000_000)
    process.signal(signal.SIGKILL)
    process.end()
    assert not model(cache).exists()
    hub.seen.clear()
    hub.faults.clear()
    ended = run(hub.url, cache)
    assert ended.code == 0, ended.output
    assert tree(model(cache)) == hub.repos[REPO][REVISION]
    asked = [one.range for one in hub.contents(SHARD) if "/cdn/" in one.path]
    assert asked
    for range in asked:
        assert range is not None, "it began again"
        assert int(range.removeprefix("bytes=").rstrip("-")) >= 15_000_000


def test_sigterm_ends_it_in_seconds_and_the_next_run_starts_at_once(hub: FakeHub, cache: Path) -> None:
    hub.faults[SHARD] = Fault(hold=1_000_000)
    process = start(hub.url, cache, "--lease", "600")
    until(lambda: grown(cache) > 0)
    process.signal(signal.SIGTERM)
    ended = process.end(timeout=8)
    assert (ended.code, ended.result["outcome"], ended.result["reason"]) == (21, "stopped", "Stopped")
    hub.faults.clear()
    assert run(hub.url, cache, "--lease", "600").code == 0
    assert tree(model(cache)) == CONTENT


@pytest.mark.parametrize(
    "fault",
    [Fault(cut=1_000_000), Fault(wrong=True)],
    ids=["cut", "wrong bytes"],
)
def test_a_passing_fault_costs_only_time(hub: FakeHub, cache: Path, fault: Fault) -> None:
    hub.faults[SHARD] = fault
    ended = run(hub.url, cache)
    assert ended.code == 0, ended.output
    assert fault.times == 0
    assert tree(model(cache)) == CONTENT
    asked = [one.range for one in hub.contents(SHARD) if "/cdn/" in one.path]
    assert len(asked) > 1
    assert (asked[1] is not None) == (fault.cut is not None), "what came before a cut is kept, wrong bytes are not"


def test_a_hub_that_is_busy_is_asked_again(hub: FakeHub, cache: Path) -> None:
    hub.faults["api"] = Fault(status=503)
    hub.faults[SHARD] = Fault(status=502)
    ended = run(hub.url, cache)
    assert ended.code == 0, ended.output
    assert "the list of files: HTTP 503 from 127.0.0.1; trying again in 0.5 s" in ended.output
    assert f"{SHARD}: HTTP 502 from 127.0.0.2; trying again in 0.5 s" in ended.output
    assert tree(model(cache)) == CONTENT


def test_a_hub_that_cannot_resume_gives_the_whole_file(hub: FakeHub, cache: Path) -> None:
    hub.faults[SHARD] = Fault(cut=1_000_000)
    process = start(hub.url, cache)
    until(lambda: hub.faults[SHARD].times == 0)
    hub.faults[SHARD] = Fault(times=9, deaf=True)
    assert process.end().code == 0
    assert tree(model(cache)) == CONTENT


def test_wrong_bytes_twice_fail_and_are_not_kept(hub: FakeHub, cache: Path) -> None:
    hub.faults[SHARD] = Fault(times=99, wrong=True)
    ended = run(hub.url, cache)
    assert (ended.code, ended.result["reason"]) == (1, "FetchFailed")
    assert f"sent wrong bytes for {SHARD}" in ended.result["message"]
    assert not model(cache).exists()
    assert not [path for path in cache.rglob("parts/*") if path.read_bytes()[:100] == bytes(100)]


def test_a_gated_repository_needs_a_token_that_is_never_shown(hub: FakeHub, cache: Path, tmp_path: Path) -> None:
    hub.gated[REPO] = TOKEN
    without = run(hub.url, cache)
    assert (without.code, without.result["reason"]) == (70, "ModelAccess")
    assert f"{REPO} is gated, and no token was given" in without.result["message"]
    other = run(hub.url, cache, HF_TOKEN=f"{TOKEN}-other")
    assert other.code == 70
    assert "has not been given access" in other.result["message"]
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    hub.seen.clear()
    ended = run(hub.url, cache, "--token-file", str(token_file))
    assert ended.code == 0, ended.output
    assert {one.token for one in hub.seen if "/cdn/" not in one.path} == {TOKEN}
    for text in (without, other, ended):
        assert TOKEN not in text.output + json.dumps(text.result)
    for path in cache.rglob("*"):
        assert TOKEN not in path.name
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_what_the_hub_does_not_have(hub: FakeHub, cache: Path) -> None:
    nothing = "has no repository lab/none, or it is private and"
    for ended, words in (
        (run(hub.url, cache, repo="lab/none"), f"{nothing} no token was given (HTTP 401)"),
        (run(hub.url, cache, repo="lab/none", HF_TOKEN=TOKEN), f"{nothing} this token cannot see it (HTTP 404)"),
        (run(hub.url, cache, revision="f" * 40), f"{REPO} has no commit {'f' * 40}"),
    ):
        assert (ended.code, ended.result["reason"]) == (71, "ModelNotFound"), ended.output
        assert words in ended.result["message"]


def test_no_network_is_said_after_the_patience(cache: Path) -> None:
    ended = run("http://127.0.0.1:9", cache, "--patience", "0.5")
    assert (ended.code, ended.result["reason"]) == (26, "HubUnreachable")
    assert "no byte of the list of files from http://127.0.0.1:9" in ended.result["message"]
    assert ended.output.count("\n") == 1, "one sentence, no traceback"


def test_no_room_is_found_before_the_first_weight(hub: FakeHub, cache: Path) -> None:
    hub.sizes[SHARD] = 45_000_000_000
    needed = os.statvfs(cache).f_bavail * os.statvfs(cache).f_frsize // 45_000_000_000 + 1
    for number in range(needed):
        hub.repos[REPO][REVISION] = hub.repos[REPO][REVISION] | {f"loras/{number}.safetensors": safetensors(10)}
        hub.sizes[f"loras/{number}.safetensors"] = 45_000_000_000
    ended = run(hub.url, cache, "--include", "loras/*")
    assert (ended.code, ended.result["reason"]) == (24, "OutputVolume"), ended.output
    assert "still to come" in ended.result["message"]
    assert not [one for one in hub.seen if "/cdn/" in one.path]


def test_a_repository_of_pickles_is_refused(hub: FakeHub, cache: Path) -> None:
    content = {path: data for path, data in CONTENT.items() if not path.startswith("vae/")}
    hub.repos[REPO][REVISION] = content | {"vae/config.json": b"{}", "vae/diffusion_pytorch_model.bin": b"pickle"}
    ended = run(hub.url, cache)
    assert (ended.code, ended.result["reason"]) == (66, "InvalidModel")
    assert "the weights of vae are not .safetensors: vae/diffusion_pytorch_model.bin" in ended.result["message"]
    assert not [one for one in hub.seen if "/cdn/" in one.path]


def test_two_runs_share_the_work(hub: FakeHub, cache: Path) -> None:
    hub.faults[SHARD] = Fault(hold=1_000_000)
    first = start(hub.url, cache)
    until(lambda: grown(cache) > 0)
    second = start(hub.url, cache)
    until(lambda: second.said("is downloading this model to the same cache; waiting for it"))
    hub.go.set()
    endings = [first.end(), second.end()]
    assert [ended.code for ended in endings] == [0, 0], endings
    assert "fetched by another run" in endings[1].result["message"]
    assert tree(model(cache)) == CONTENT
    paths = [one.path for one in hub.seen if "/resolve/" in one.path]
    assert len(paths) == len(set(paths)) == len(CONTENT)


def test_a_silent_run_loses_its_claim_and_joins_who_has_it(hub: FakeHub, cache: Path) -> None:
    hub.faults[SHARD] = Fault(hold=1_000_000)
    sleeper = start(hub.url, cache, "--lease", "1")
    until(lambda: grown(cache) > 0)
    sleeper.signal(signal.SIGSTOP)
    try:
        ended = run(hub.url, cache, "--lease", "1")
    finally:
        sleeper.signal(signal.SIGCONT)
        hub.go.set()
    assert ended.code == 0, ended.output
    late = sleeper.end()
    assert late.code == 0, late.output
    assert "fell silent for too long" in late.output
    assert "fetched by another run" in late.result["message"]
    assert tree(model(cache)) == CONTENT


def test_a_sleeper_that_wakes_while_the_other_works_writes_nothing(hub: FakeHub, cache: Path) -> None:
    hub.faults[SHARD] = Fault(times=2, hold=1_000_000)
    sleeper = start(hub.url, cache, "--lease", "1")
    until(lambda: grown(cache) > 0)
    sleeper.signal(signal.SIGSTOP)
    other = start(hub.url, cache, "--lease", "1")
    until(lambda: len(list(cache.rglob("claim.*"))) == 2)
    sleeper.signal(signal.SIGCONT)
    until(lambda: sleeper.said("fell silent for too long"))
    hub.go.set()
    endings = [other.end(), sleeper.end()]
    assert [ended.code for ended in endings] == [0, 0], endings
    assert "fetched by another run" in endings[1].result["message"]
    assert tree(model(cache)) == CONTENT


def test_everybody_may_read_whatever_the_umask(hub: FakeHub, cache: Path) -> None:
    assert run(hub.url, cache, umask=0o077).code == 0
    for path in [model(cache).parent, model(cache), *model(cache).rglob("*")]:
        bits = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
        assert path.stat().st_mode & bits == bits, path
        assert not path.is_symlink()


def test_more_files_join_a_model_that_is_there(hub: FakeHub, cache: Path) -> None:
    assert run(hub.url, cache).code == 0
    hub.seen.clear()
    ended = run(hub.url, cache, "--include", "loras/*.safetensors")
    assert ended.code == 0, ended.output
    assert tree(model(cache)) == CONTENT | {"loras/ink.safetensors": extras()["loras/ink.safetensors"]}
    assert [one.path.count("loras") for one in hub.seen if "/resolve/" in one.path] == [0, 1]
    hub.seen.clear()
    assert run(hub.url, cache).code == run(hub.url, cache, "--include", "loras/*.safetensors").code == 0
    assert hub.seen == []


def test_a_model_that_lost_a_file_is_repaired(hub: FakeHub, cache: Path) -> None:
    assert run(hub.url, cache).code == 0
    (model(cache) / SHARD).unlink()
    hub.seen.clear()
    assert run(hub.url, cache).code == 0
    assert tree(model(cache)) == CONTENT
    assert len([one for one in hub.seen if "/cdn/" in one.path]) == 1


def test_a_directory_of_somebody_else_is_left_alone(hub: FakeHub, cache: Path) -> None:
    model(cache).mkdir(parents=True)
    (model(cache) / "notes.txt").write_text("mine")
    ended = run(hub.url, cache)
    assert ended.code == 69
    assert "was not made by xdit-fetch" in ended.result["message"]
    assert tree(model(cache)) == {"notes.txt": b"mine"}


def test_a_branch_is_refused_with_the_way_to_find_the_commit(hub: FakeHub, cache: Path) -> None:
    ended = run(hub.url, cache, revision="main")
    assert (ended.code, ended.result["reason"], hub.seen) == (64, "InvalidJob", [])
    assert f"git ls-remote {hub.url}/{REPO} main" in ended.result["message"]


def test_a_cache_that_is_not_there(hub: FakeHub, tmp_path: Path) -> None:
    ended = run(hub.url, tmp_path / "none")
    assert (ended.code, hub.seen) == (64, [])
    assert "does not exist: mount the cache there" in ended.result["message"]
