"""Exit codes, options, progress, manifest and system errors of `xdit-fetch`."""

import errno
import re
from pathlib import Path

import pytest

from tests.unit.runtime.fetch.models import REPO, REVISION
from xdit_api import report
from xdit_runtime.fetch import manifest, options
from xdit_runtime.fetch.exits import Exit, FetchError, of_os_error
from xdit_runtime.fetch.progress import Progress, duration, size

DOCS = Path(__file__).parents[4] / "docs/models.md"


def parse(*more: str, **env: str) -> options.Options:
    return options.parse(["--repo", REPO, "--revision", REVISION, "--to", "/cache", *more], env)


def test_the_documented_exit_codes_are_the_real_ones() -> None:
    found = re.findall(r"^\| (\d+) \| (\w+) \| (yes|no|–) \|", DOCS.read_text(), re.MULTILINE)
    retried = {code: "–" if code == 0 else "no" if 64 <= code <= 79 else "yes" for code in Exit}
    assert found == [(str(int(code)), code.reason, retried[code]) for code in Exit]


def test_a_code_means_the_same_in_worker_and_fetch() -> None:
    worker = {int(code): code.name for code in report.Exit}
    for code in Exit:
        assert code == Exit.FETCH_FAILED or worker.get(int(code), code.name) == code.name


@pytest.mark.parametrize(
    ("number", "exit"),
    [
        (errno.ENOSPC, Exit.OUTPUT_VOLUME),
        (errno.EDQUOT, Exit.OUTPUT_VOLUME),
        (errno.EIO, Exit.OUTPUT_VOLUME),
        (errno.EROFS, Exit.OUTPUT_NOT_WRITABLE),
        (errno.EACCES, Exit.OUTPUT_NOT_WRITABLE),
    ],
)
def test_what_the_volume_says(number: int, exit: Exit) -> None:
    error = of_os_error(OSError(number, "words", "/cache/x"), Path("/cache"))
    assert error.exit == exit
    assert "words (/cache/x)" in str(error)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--revision", "main"], "git ls-remote https://huggingface.co/lab/flux-small main"),
        (["--revision", REVISION.upper()], "must be a commit (40 hex digits in lower case)"),
        (["--revision", "$(reboot)"], "git ls-remote https://huggingface.co/lab/flux-small main"),
        (["--repo", "a/b/c"], "--repo must be like"),
        (["--repo", "../x"], "--repo must be like"),
        (["--repo", "lab/x.git"], "--repo must be like"),
        (["--endpoint", "huggingface.co"], "--endpoint must be an address like"),
        (["--endpoint", "https://me:hf_secret@hub", "--revision", "x"], "without user or password"),
        (["--parallel", "0"], "--parallel must be between 1 and 32"),
        (["--patience", "0"], "more than 0 seconds"),
    ],
)
def test_arguments_that_cannot_be(more: list[str], words: str) -> None:
    with pytest.raises(FetchError) as caught:
        parse(*more)
    assert caught.value.exit == Exit.INVALID_JOB
    assert words in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def test_the_endpoint_is_argument_then_variable_then_the_public_hub() -> None:
    assert parse().endpoint == "https://huggingface.co"
    assert parse(HF_ENDPOINT="https://hub.lab/").endpoint == "https://hub.lab"
    assert parse("--endpoint", "http://x:1", HF_ENDPOINT="https://hub.lab").endpoint == "http://x:1"


def test_a_token_comes_from_the_file_then_the_variable_and_is_never_shown(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with_file = parse("--token-file", str(token))
    with pytest.raises(FetchError, match="cannot read the token file"):
        options.read_token(with_file, {})
    token.write_text(" \n")
    with pytest.raises(FetchError, match="is empty"):
        options.read_token(with_file, {"HF_TOKEN": "hf_x"})
    token.write_text("hf_secret\nhf_other\n")
    with pytest.raises(FetchError, match="does not hold a token") as caught:
        options.read_token(with_file, {})
    assert "hf_" not in str(caught.value)
    token.write_text("hf_file\n")
    assert options.read_token(with_file, {"HF_TOKEN": "hf_x"}) == "hf_file"
    assert options.read_token(parse(), {"HF_TOKEN": " hf_x "}) == "hf_x"
    assert options.read_token(parse(), {}) is None


def test_progress_has_share_rate_and_rest() -> None:
    progress = Progress(10_000_000_000, {"a": 1_000_000_000, "b": 0}, now=100.0)
    assert progress.line(100.0) == "10% (1 GB of 10 GB), 0 B/s, unknown left"
    progress.at("b", 500_000_000)
    assert progress.line(110.0) == "15% (1.5 GB of 10 GB), 50 MB/s, 2m50s left"
    progress.at("b", 0)
    assert progress.line(120.0) == "10% (1 GB of 10 GB), 0 B/s, unknown left"
    assert [size(count) for count in (0, 999, 1234, 9.98e9, 2e12)] == ["0 B", "999 B", "1.23 kB", "9.98 GB", "2 TB"]
    assert [duration(seconds) for seconds in (5, 358, 7260)] == ["5s", "5m58s", "2h1m"]


def test_the_rate_is_that_of_the_last_minute() -> None:
    progress = Progress(1000, {"a": 0}, now=0.0)
    progress.at("a", 600)
    for now in range(10, 100, 10):
        progress.line(float(now))
    assert "0 B/s" in progress.line(100.0)


def test_a_manifest_comes_back_and_garbage_is_none(tmp_path: Path) -> None:
    made = manifest.Manifest(REPO, REVISION, ("loras/*",), {"a/b.json": manifest.Entry(2, "00")})
    (tmp_path / manifest.NAME).write_bytes(made.encode())
    assert manifest.read(tmp_path) == made
    assert manifest.intact(tmp_path, made) == {}
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.json").write_bytes(b"{}")
    assert manifest.intact(tmp_path, made) == made.files
    for garbage in (b"", b"[]", b'{"repo": 1}', b'{"repo":"a","revision":"b","include":[],"files":{"x":3}}'):
        (tmp_path / manifest.NAME).write_bytes(garbage)
        assert manifest.read(tmp_path) is None
