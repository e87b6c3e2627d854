"""The Kubernetes API as plain JSON: a thin layer over the official client's connection, login and token refresh."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from kubernetes.aio import client, config

from xdit_api import API_VERSION, PLURAL
from xdit_api.base import Json
from xdit_operator import names

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
CONNECTIONS = 32
PAGE = 500
"""Objects a LIST asks for at a time."""

PLURALS = {
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Event"): "events",
    ("v1", "PersistentVolumeClaim"): "persistentvolumeclaims",
    ("v1", "Pod"): "pods",
    ("v1", "Service"): "services",
    ("apps/v1", "StatefulSet"): "statefulsets",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
    (API_VERSION, "XDiTInference"): PLURAL,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A namespaced kind."""

    api_version: str
    kind: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """URL path of an object, or of the collection; without a namespace, of the collection in all namespaces."""
        prefix = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        place = "" if namespace is None else f"/namespaces/{namespace}"
        parts = [PLURALS[self.api_version, self.kind], name, subresource]
        return prefix + place + "/" + "/".join(part for part in parts if part)


CONFIG_MAP = Kind("v1", "ConfigMap")
EVENT = Kind("v1", "Event")
CLAIM = Kind("v1", "PersistentVolumeClaim")
POD = Kind("v1", "Pod")
STATEFUL_SET = Kind("apps/v1", "StatefulSet")
INFERENCE = Kind(API_VERSION, "XDiTInference")


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        """HTTP status."""
        self.reason = reason
        self.message = message
        """The server's own sentence."""


def kind_of(manifest: Json) -> Kind:
    """Kind of an object."""
    return Kind(manifest["apiVersion"], manifest["kind"])


class Kube:
    """Requests with a time limit each, at most CONNECTIONS at a time. Raises ApiError, aiohttp.ClientError or TimeoutError."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self.requests: dict[tuple[str, int], int] = {}
        """(method, HTTP status) -> answers so far."""

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """The object; None when there is none."""
        try:
            return await self._call("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: Kind, namespace: str | None, **query: str) -> tuple[list[Json], str]:
        """All objects, and the resourceVersion of the list. query: labelSelector, fieldSelector."""
        items: list[Json] = []
        page = dict(query, limit=str(PAGE))
        while True:
            answer = await self._call("GET", kind.path(namespace), page)
            items += answer["items"]
            metadata = answer["metadata"]
            if not metadata.get("continue"):
                # items of a list carry neither apiVersion nor kind
                return [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in items], metadata[
                    "resourceVersion"
                ]
            page["continue"] = metadata["continue"]

    async def apply(self, manifest: Json, subresource: str = "", dry_run: bool = False) -> Json:
        """Server-side apply; returns the stored object. A uid or resourceVersion in the manifest is a precondition (409)."""
        metadata = manifest["metadata"]
        path = kind_of(manifest).path(metadata["namespace"], metadata["name"], subresource)
        query = {"fieldManager": names.MANAGER, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        return await self._call("PATCH", path, query, manifest, "application/apply-patch+yaml")

    async def merge(self, kind: Kind, namespace: str, name: str, change: Json) -> Json:
        """JSON merge patch; returns the stored object."""
        query = {"fieldManager": names.MANAGER}
        return await self._call("PATCH", kind.path(namespace, name), query, change, "application/merge-patch+json")

    async def create(self, manifest: Json) -> Json:
        """Create; 409 when the name is taken."""
        path = kind_of(manifest).path(manifest["metadata"]["namespace"])
        return await self._call("POST", path, {"fieldManager": names.MANAGER}, manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this uid in the background. Fine when it is gone; 409 when another one has its name."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", kind.path(namespace, name), {}, options)
        except ApiError as error:
            if error.status != 404:
                raise

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None, content: str = ""
    ) -> Json:
        headers = {"Accept": "application/json", "Content-Type": content or "application/json"}
        async with self._slots:
            request = await self._api.param_serialize(
                method, path, {}, list((query or {}).items()), headers, body, auth_settings=["BearerToken"]
            )
            response = await self._api.call_api(*request, _request_timeout=TIMEOUT)
            raw = await response.read()
        key = (method, response.status)
        self.requests[key] = self.requests.get(key, 0) + 1
        if response.status >= 400:
            raise _error(response.status, raw)
        answer: Json = json.loads(raw)
        return answer


def _error(status: int, raw: bytes) -> ApiError:
    try:
        said = json.loads(raw)
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    return ApiError(status, str(said.get("reason") or "Error"), str(said.get("message") or raw[:500].decode(errors="replace")))


async def connect() -> Kube:
    """In a pod: as its service account; else as KUBECONFIG or ~/.kube/config says. Raises config.ConfigException."""
    configuration = client.Configuration()
    if in_cluster():
        config.load_incluster_config(configuration)
    else:
        await config.load_kube_config(client_configuration=configuration)
    configuration.connection_pool_maxsize = CONNECTIONS
    api = client.ApiClient(configuration)
    api.user_agent = names.MANAGER
    return Kube(api)


def in_cluster() -> bool:
    """Whether this process is in a pod with a service account, and no KUBECONFIG says otherwise."""
    token = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    return not os.environ.get("KUBECONFIG") and token.exists()
