"""A Hugging Face hub in a thread: the endpoints that `huggingface_hub` calls, a second address for large files, and faults.

Large files (.safetensors) answer with a redirect to 127.0.0.2, as the real hub sends its clients to a CDN, which refuses a
request that carries the hub's token.
"""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from huggingface_hub.constants import HUGGINGFACE_HEADER_X_LINKED_ETAG, HUGGINGFACE_HEADER_X_LINKED_SIZE

ADDRESSES = ("127.0.0.1", "127.0.0.2")


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Fault:
    """What happens to requests for the content of a file, `times` times."""

    times: int = 1
    status: int | None = None
    cut: int | None = None
    """Bytes after which the connection ends."""
    wrong: bool = False
    hold: int | None = None
    """Bytes after which it waits for `FakeHub.go`."""
    deaf: bool = False
    """Ignores Range, as some proxies do."""


@dataclass
class FakeHub:
    """The state of the server; change it at any time."""

    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """Contents by repository, commit, path."""
    gated: dict[str, str] = field(default_factory=dict)
    """The token that a repository wants."""
    faults: dict[str, Fault] = field(default_factory=dict)
    """By path of the file, or "api"."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes that the listing claims instead of the true ones."""
    seen: list[Seen] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    cdn: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def contents(self, path: str) -> list[Seen]:
        """GETs of the content of one file."""
        name = hashlib.sha256(path.encode()).hexdigest()
        return [
            one for one in self.seen if one.path.endswith((f"/{path}", name)) and one.method == "GET" and "/api/" not in one.path
        ]

    def fault(self, name: str) -> Fault:
        """The fault of this request, used up by it."""
        with self.lock:
            found = self.faults.get(name)
            if found is None or found.times == 0:
                return Fault()
            found.times -= 1
            return found


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(path: str, content: bytes, size: int) -> dict[str, Any]:
    if not path.endswith(".safetensors"):
        return {"rfilename": path, "size": size, "blobId": blob_id(content)}
    lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
    return {"rfilename": path, "size": size, "blobId": "f" * 40, "lfs": lfs}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        """The tests look at `seen`."""

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        auth = self.headers.get("Authorization")
        token = auth.removeprefix("Bearer ") if auth else None
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            self.hub.seen.append(Seen(self.command, path, self.headers.get("Range"), token))
        if found := re.fullmatch(r"/cdn/(.+)/([0-9a-f]{40})/[0-9a-f]{64}", path):
            return self._cdn(found[1], found[2], token)
        if found := re.fullmatch(r"/api/models/(.+)/revision/([^/]+)", path):
            return self._api(found[1], found[2], token)
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(found[1], found[2], found[3], token)
        return self._refuse(404, None)

    def _refuse(self, status: int, code: str | None, **headers: str) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Code", code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _missing(self, repo: str, revision: str, token: str | None) -> bool:
        if repo not in self.hub.repos:
            # the hub does not say whether a repository exists to somebody whom it does not know
            self._refuse(404 if token else 401, "RepoNotFound")
        elif revision not in self.hub.repos[repo]:
            self._refuse(404, "RevisionNotFound")
        else:
            return False
        return True

    def _api(self, repo: str, revision: str, token: str | None) -> None:
        fault = self.hub.fault("api")
        if fault.status is not None:
            return self._refuse(fault.status, None)
        if self._missing(repo, revision, token):
            return None
        listing = [
            _sibling(path, content, self.hub.sizes.get(path, len(content)))
            for path, content in self.hub.repos[repo][revision].items()
        ]
        body = json.dumps(
            {"_id": "1", "id": repo, "modelId": repo, "sha": revision, "private": False, "siblings": listing}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def _resolve(self, repo: str, revision: str, path: str, token: str | None) -> None:
        if self._missing(repo, revision, token):
            return None
        wanted = self.hub.gated.get(repo)
        if wanted is not None and token != wanted:
            return self._refuse(403 if token else 401, "GatedRepo")
        if path not in self.hub.repos[repo][revision]:
            return self._refuse(404, "EntryNotFound")
        content = self.hub.repos[repo][revision][path]
        if path.endswith(".safetensors"):
            name = hashlib.sha256(path.encode()).hexdigest()
            sha256 = hashlib.sha256(content).hexdigest()
            linked = {HUGGINGFACE_HEADER_X_LINKED_ETAG: f'"{sha256}"', HUGGINGFACE_HEADER_X_LINKED_SIZE: str(len(content))}
            return self._refuse(
                302, None, Location=f"{self.hub.cdn}/cdn/{repo}/{revision}/{name}?sig=1", X_Repo_Commit=revision, **linked
            )
        return self._send(path, content, blob_id(content), revision)

    def _cdn(self, repo: str, revision: str, token: str | None) -> None:
        if token is not None:
            return self._refuse(400, None)
        name = urlsplit(self.path).path.rpartition("/")[2]
        files = self.hub.repos[unquote(repo)][revision]
        path = next(path for path in files if hashlib.sha256(path.encode()).hexdigest() == name)
        return self._send(path, files[path], hashlib.sha256(files[path]).hexdigest(), revision)

    def _send(self, path: str, content: bytes, etag: str, revision: str) -> None:
        fault = self.hub.fault(path) if self.command == "GET" else Fault()
        if fault.status is not None:
            return self._refuse(fault.status, None)
        start, wanted = 0, self.headers.get("Range")
        if wanted is not None and not fault.deaf:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self._refuse(416, None, Content_Range=f"bytes */{len(content)}")
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", revision)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "GET":
            body = bytes(len(content)) if fault.wrong else content
            self._pour(body[start:], fault)
        return None

    def _pour(self, body: bytes, fault: Fault) -> None:
        if fault.cut is not None:
            self.wfile.write(body[: fault.cut])
            self.close_connection = True
            return
        try:
            if fault.hold is not None:
                self.wfile.write(body[: fault.hold])
                self.hub.go.wait(60)
                body = body[fault.hold :]
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of the hub."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def running() -> Iterator[FakeHub]:
    """A hub with no repositories, until the block ends."""
    hub = FakeHub()
    handler: Callable[..., Handler] = type("BoundHandler", (Handler,), {"hub": hub})
    servers = [_Server((address, 0), handler) for address in ADDRESSES]
    hub.url, hub.cdn = (f"http://{address}:{server.server_port}" for address, server in zip(ADDRESSES, servers, strict=True))
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hub
    finally:
        hub.go.set()
        for server in servers:
            server.shutdown()
            server.server_close()
