"""Everything that is asked of the hub, through `huggingface_hub`. Import it only after `environment` was applied.

`hf_hub_download` of version 2 throws half a file away when it fails, so its lower part `http_get` is used, which goes on with a
file that is there. Plain HTTP only: Xet's own protocol cannot go on either.
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._headers import build_hf_headers

from xdit_runtime.fetch.choose import RepoFile
from xdit_runtime.fetch.exits import Exit, FetchError
from xdit_runtime.fetch.options import Options
from xdit_runtime.fetch.partfile import PartFile

_TIMEOUT = 30.0
# the library's 10 MiB are lost with each connection that breaks, and a slow line would not move for minutes
constants.DOWNLOAD_CHUNK_SIZE = 2**18


class UnavailableError(Exception):
    """The hub did not answer, or not now; trying again may help."""


class Hub:
    """One commit of one repository."""

    def __init__(self, options: Options, token: str | None) -> None:
        self._options = options
        self._token = token
        self._headers = build_hf_headers(token=token or False, headers={"Accept-Encoding": "identity"})
        self._api = HfApi(endpoint=options.endpoint, token=token or False)

    def listing(self) -> list[RepoFile]:
        """All files of the commit. Raises FetchError or UnavailableError."""
        try:
            info = self._api.model_info(
                self._options.repo, revision=self._options.revision, files_metadata=True, timeout=_TIMEOUT
            )
        except (httpx2.HTTPError, HfHubHTTPError) as error:
            raise self._translated(error, "its list of files") from error
        except (ValueError, TypeError, KeyError) as error:
            raise FetchError(
                Exit.FETCH_FAILED,
                f"{self._options.endpoint} does not answer like a Hugging Face hub: {type(error).__name__}: {error}",
            ) from error
        if info.sha != self._options.revision:
            raise FetchError(
                Exit.MODEL_NOT_FOUND,
                f"{self._options.endpoint} answers with commit {info.sha} of {self._options.repo}, not {self._options.revision}",
            )
        return [
            RepoFile(
                item.rfilename, -1 if item.size is None else item.size, item.lfs.sha256 if item.lfs else None, item.blob_id or ""
            )
            for item in info.siblings or []
        ]

    def download(self, file: RepoFile, part: Path, moved: Callable[[int], None], checkpoint: Callable[[], None]) -> None:
        """Make `part` as long as the file, starting with the bytes that it has.

        Raises FetchError, UnavailableError (the part keeps what came), OSError of the volume, or what `checkpoint` raises.
        """
        with PartFile(part, moved, checkpoint) as into:
            if into.start > file.size:
                into.seek(0)
                into.truncate()
                into.start = 0
            moved(into.start)
            self._get(file, into, into.start)

    def _get(self, file: RepoFile, into: PartFile, start: int) -> None:
        options = self._options
        url = hf_hub_url(options.repo, file.path, revision=options.revision, endpoint=options.endpoint)
        try:
            http_get(url, into, resume_size=start, headers=self._headers, expected_size=file.size, displayed_filename=file.path)
        except (httpx2.HTTPError, HfHubHTTPError) as error:
            raise self._translated(error, file.path) from error
        except OSError as error:
            # without a number it is the library's own: the body was shorter or longer than announced
            if error.errno is None:
                raise UnavailableError(f"{file.path} came with another length than announced") from error
            raise

    def _translated(self, error: httpx2.HTTPError | HfHubHTTPError, what: str) -> FetchError | UnavailableError:
        options = self._options
        place = f"{options.endpoint}/{options.repo}"
        if not isinstance(error, HfHubHTTPError):
            return UnavailableError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        status, host = error.response.status_code, error.response.url.host
        if isinstance(error, GatedRepoError):
            how = "the token's account has not been given access" if self._token else "and no token was given"
            return FetchError(
                Exit.MODEL_ACCESS,
                f"{options.repo} is gated, {how}: accept its terms on {place}, then use a token of that account (HTTP {status})",
            )
        if isinstance(error, RevisionNotFoundError):
            return FetchError(Exit.MODEL_NOT_FOUND, f"{options.repo} has no commit {options.revision}; see {place}/commits/main")
        if isinstance(error, RepositoryNotFoundError):
            who = "this token cannot see it" if self._token else "no token was given"
            return FetchError(
                Exit.MODEL_NOT_FOUND,
                f"{options.endpoint} has no repository {options.repo}, or it is private and {who} (HTTP {status})",
            )
        if isinstance(error, RemoteEntryNotFoundError):
            return FetchError(
                Exit.MODEL_NOT_FOUND, f"{options.repo} at {options.revision} has no {what}, though the hub lists it"
            )
        if status in (408, 416, 429) or status >= 500:
            return UnavailableError(f"HTTP {status} from {host}")
        if status in (401, 403) and host != urlsplit(options.endpoint).hostname:
            return UnavailableError(f"HTTP {status} from {host}, where the hub keeps its files")
        if status in (401, 403):
            how = "this token" if self._token else "a request without a token"
            return FetchError(
                Exit.MODEL_ACCESS, f"the hub refuses {how} for {options.repo} (HTTP {status}); make one that can read it"
            )
        if status == 404:
            return FetchError(Exit.MODEL_NOT_FOUND, f"{options.endpoint} has no {options.repo} at {options.revision} (HTTP 404)")
        return FetchError(Exit.FETCH_FAILED, f"the hub answers with HTTP {status} for {what} of {options.repo}")
