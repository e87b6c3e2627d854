"""What `xdit-fetch` is asked to do, checked."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xdit_runtime.fetch.exits import Exit, FetchError

HUB = "https://huggingface.co"
ENV_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable
ENV_ENDPOINT = "HF_ENDPOINT"

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HELP = """Download a pinned model from a Hugging Face hub into a directory that workers mount read-only.
Only .safetensors weights and text files, only the parts that model_index.json names. A run that was killed goes on where
it was; a model that is there already costs no request."""


@dataclass(frozen=True, slots=True)
class Options:
    """One download."""

    repo: str
    revision: str
    """Commit, 40 hex digits."""
    root: Path
    """The cache directory."""
    endpoint: str
    token_file: Path | None
    include: tuple[str, ...]
    """Patterns of files to fetch besides the model's parts."""
    parallel: int
    """Files in flight."""
    patience: float
    """Seconds without a byte until the hub counts as unreachable."""
    lease: float
    """Seconds of silence after which another run's claim is taken over."""


def parse(arguments: Sequence[str] | None, env: Mapping[str, str]) -> Options:
    """Options from the command line. Raises FetchError for values that cannot be."""
    parser = argparse.ArgumentParser("xdit-fetch", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", required=True, help="for example black-forest-labs/FLUX.1-dev")
    parser.add_argument("--revision", required=True, help="commit of the repository: 40 hex digits")
    parser.add_argument("--to", required=True, type=Path, metavar="DIR", help="the cache directory")
    parser.add_argument(
        "--endpoint", default=env.get(ENV_ENDPOINT) or HUB, help=f"the hub (default: ${ENV_ENDPOINT}, then {HUB})"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"file that holds the token (default: ${ENV_TOKEN})")
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="more files of the repository, for example 'loras/*.safetensors'",
    )
    parser.add_argument("--parallel", type=int, default=8, help="files in flight (default: 8)")
    parser.add_argument(
        "--patience", type=float, default=300, metavar="SECONDS", help="without a byte, until giving up (default: 300)"
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=60,
        metavar="SECONDS",
        help="silence of another run until its work is taken over (default: 60)",
    )
    found = parser.parse_args(arguments)
    options = Options(
        repo=found.repo,
        revision=found.revision,
        root=found.to.absolute(),
        endpoint=found.endpoint.rstrip("/"),
        token_file=found.token_file,
        include=tuple(found.include),
        parallel=found.parallel,
        patience=found.patience,
        lease=found.lease,
    )
    for problem in _problems(options):
        raise FetchError(Exit.INVALID_JOB, problem)
    return options


def _problems(options: Options) -> list[str]:
    problems = []
    if not re.fullmatch(r"https?://[^/@\s]+(/[^@\s]*)?", options.endpoint):
        # it may hold a password, so it is not shown
        problems.append(f"--endpoint must be an address like {HUB}, without user or password (the token goes into --token-file)")
    if not _REPO.fullmatch(options.repo) or len(options.repo) > 96 or re.search(r"--|\.\.|[-.]$|\.git$", options.repo):
        problems.append(f"--repo must be like black-forest-labs/FLUX.1-dev, not {options.repo!r}")
    if not _COMMIT.fullmatch(options.revision):
        problems.append(
            f"--revision must be a commit (40 hex digits in lower case), not {options.revision!r}: a branch or tag can change under a job. "
            f"The newest commit is on {options.endpoint}/{options.repo}/commits/main, or ask: "
            f"git ls-remote {options.endpoint}/{options.repo} {options.revision if _word(options.revision) else 'main'}"
        )
    if not 1 <= options.parallel <= 32:
        problems.append(f"--parallel must be between 1 and 32, not {options.parallel}")
    if options.patience <= 0 or options.lease <= 0:
        problems.append("--patience and --lease must be more than 0 seconds")
    return problems


def _word(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", text) is not None


def read_token(options: Options, env: Mapping[str, str]) -> str | None:
    """The token of the file, else of the environment, else None. Raises FetchError, never with the token in it."""
    if options.token_file is not None:
        try:
            token = options.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            words = error.strerror if isinstance(error, OSError) else "not text"
            raise FetchError(Exit.INVALID_JOB, f"cannot read the token file {options.token_file}: {words}") from error
        if not token:
            raise FetchError(Exit.INVALID_JOB, f"the token file {options.token_file} is empty")
        source = f"the token file {options.token_file}"
    else:
        token = env.get(ENV_TOKEN, "").strip()
        source = f"${ENV_TOKEN}"
    if not re.fullmatch(r"[!-~]*", token):
        raise FetchError(Exit.INVALID_JOB, f"{source} does not hold a token: it has spaces, line breaks or letters beyond ASCII")
    return token or None
