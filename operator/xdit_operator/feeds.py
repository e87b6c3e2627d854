"""Watches and lists -> caches -> queue. Handlers hold no logic: they keep what they see and name the resource it may concern."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import kopf

from xdit_api import GROUP, PLURAL, VERSION
from xdit_api.base import Json
from xdit_operator import names
from xdit_operator.cache import Cache, Caches, Key, key_of, owner_key
from xdit_operator.kube import INFERENCE, POD, STATEFUL_SET, Kind, Kube

Enqueue = Callable[[Key], None]


class Feeds:
    """The three watched kinds. gone: called with the uid of a resource that was deleted."""

    def __init__(self, kube: Kube, caches: Caches, enqueue: Enqueue, gone: Callable[[str], None]) -> None:
        self._kube = kube
        self._caches = caches
        self._enqueue = enqueue
        self._gone = gone
        self._kinds: tuple[tuple[Kind, Cache, str], ...] = (
            (INFERENCE, caches.resources, ""),
            (STATEFUL_SET, caches.statefulsets, names.SELECTOR),
            (POD, caches.pods, names.SELECTOR),
        )

    async def seen(self, kind: Kind, cache: Cache, event_type: str | None, obj: Json) -> None:
        """One watch event. DELETED may only mean that the object has lost our label, so it is a reason to look."""
        key = key_of(obj)
        if event_type != "DELETED":
            if cache.put(obj):
                self._enqueue_owner(kind, obj)
            return
        live = await self._kube.get(kind, *key)
        uid = obj["metadata"]["uid"]
        if live is not None and live["metadata"]["uid"] == uid and (kind == INFERENCE or _ours(live)):
            cache.put(live)
        elif cache.drop(key, uid) and kind == INFERENCE:
            self._gone(uid)
        self._enqueue_owner(kind, obj)

    async def relist(self, namespaces: Iterable[str | None]) -> None:
        """Replace the caches by what the API server lists now; everything is looked at again. namespaces: None means all."""
        for namespace in namespaces:
            for kind, cache, selector in self._kinds:
                query = {"labelSelector": selector} if selector else {}
                before = {key_of(obj): obj["metadata"]["uid"] for obj in cache} if kind == INFERENCE else {}
                objects, version = await self._kube.list(kind, namespace, **query)
                for key in cache.replace(objects, version, namespace):
                    if kind == INFERENCE:
                        self._gone(before[key])
        for raw in self._caches.resources:
            self._enqueue(key_of(raw))

    def _enqueue_owner(self, kind: Kind, obj: Json) -> None:
        key = key_of(obj) if kind == INFERENCE else owner_key(obj)
        if key is not None:
            self._enqueue(key)

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """The only use of kopf: on.event writes nothing to any object."""

        @kopf.on.login(registry=registry)
        def login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401  kopf's own arguments
            # as kube.in_cluster: KUBECONFIG wins
            if os.environ.get("KUBECONFIG"):
                return kopf.login_with_kubeconfig(**kwargs)
            return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

        @kopf.on.startup(registry=registry)
        def configure(settings: kopf.OperatorSettings, **_: Any) -> None:  # noqa: ANN401  kopf's own arguments
            tune(settings)

        watched = (((GROUP, VERSION, PLURAL), *self._kinds[0]), (STATEFUL_SETS, *self._kinds[1]), (PODS, *self._kinds[2]))
        for where, kind, cache, _selector in watched:
            self._watch(registry, where, kind, cache)

    def _watch(self, registry: kopf.OperatorRegistry, where: tuple[str, ...], kind: Kind, cache: Cache) -> None:
        @kopf.on.event(*where, registry=registry, id=f"feed-{where[-1]}")
        async def feed(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401  kopf's own arguments
            obj = {"apiVersion": kind.api_version, "kind": kind.kind, **event["object"]}
            await self.seen(kind, cache, event["type"], obj)


STATEFUL_SETS = ("apps", "v1", "statefulsets")
PODS = ("", "v1", "pods")


def tune(settings: kopf.OperatorSettings) -> None:
    """No writes, no peering, no discovery of kinds; bounded waits."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout, settings.networking.connect_timeout = 30, 10
    settings.watching.server_timeout, settings.watching.client_timeout, settings.watching.connect_timeout = 600, 630, 30
    # only tuples are taken for group, version and plural; a string would select nothing, silently
    settings.watching.label_selectors[STATEFUL_SETS] = names.SELECTOR
    settings.watching.label_selectors[PODS] = names.SELECTOR
    settings.process.ultimate_exiting_timeout = 20


def _ours(live: Json) -> bool:
    return bool((live["metadata"].get("labels") or {}).get(names.LABEL_MANAGED) == names.MANAGER)
