"""The operator as one process: feeds, queue workers, poller and probes; it ends when any of them ends."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Coroutine

import aiohttp
import kopf
from kubernetes.aio.config import ConfigException

from xdit_operator import probes, progress
from xdit_operator.cache import Caches, Key
from xdit_operator.feeds import Feeds
from xdit_operator.kube import ApiError, Kube, connect
from xdit_operator.metrics import Metrics
from xdit_operator.polls import Polls
from xdit_operator.queue import WorkQueue
from xdit_operator.reconcile import Reconciler
from xdit_operator.settings import Settings

PASS_SECONDS = 120.0
"""Longest time of one reconcile."""
SYNC_SECONDS = 120.0
"""Longest time of one LIST of everything."""

log = logging.getLogger(__name__)


class CannotStart(Exception):  # noqa: N818  a sentence for the user, not a bug
    """What must be set up first."""


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises CannotStart, or what ended it otherwise."""
    try:
        kube = await connect()
    except ConfigException as error:
        raise CannotStart(f"no way to the cluster: {error}; set KUBECONFIG, or run in a pod with a service account") from error
    try:
        await _run(kube, settings)
    finally:
        await kube.close()


async def _run(kube: Kube, settings: Settings) -> None:
    caches, polls, metrics = Caches(), Polls(), Metrics()
    queue: WorkQueue[Key] = WorkQueue(time.monotonic, random.Random())  # noqa: S311  jitter
    reconciler = Reconciler(kube, caches, polls, settings, metrics)
    feeds = Feeds(kube, caches, queue.add, reconciler.forget)
    synced = asyncio.Event()

    def exposition() -> bytes:
        phases = Counter(str((raw.get("status") or {}).get("phase", "Pending")) for raw in caches.resources)
        metrics.count_phases(phases)
        metrics.depth.set(queue.depth)
        metrics.age.set(queue.age)
        for (method, code), count in kube.requests.items():
            metrics.requests.labels(method=method, code=str(code)).set(count)
        return metrics.text()

    server = await probes.serve(settings.probe_port, lambda: queue.age, synced.is_set, exposition)
    try:
        namespaces: tuple[str | None, ...] = settings.namespaces or (None,)
        await _first_list(feeds, namespaces)
        synced.set()
        registry = kopf.OperatorRegistry()
        feeds.register(registry)
        watching = kopf.operator(
            registry=registry, standalone=True, clusterwide=not settings.namespaces, namespaces=settings.namespaces
        )
        parts = [_work(queue, reconciler, metrics) for _ in range(settings.workers)]
        parts += [progress.poll(caches, polls, queue.add), _resync(feeds, namespaces, settings.resync_seconds)]
        await _until_first_ends(watching, parts)
    finally:
        await server.cleanup()


async def _first_list(feeds: Feeds, namespaces: tuple[str | None, ...]) -> None:
    try:
        async with asyncio.timeout(SYNC_SECONDS):
            await feeds.relist(namespaces)
    except ApiError as error:
        if error.status == 404:
            raise CannotStart("the CRD is not installed: kubectl apply --server-side -k crds") from error
        if error.status in (401, 403):
            raise CannotStart(f"the API server does not let the operator list what it needs: {error.message}") from error
        raise
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CannotStart(f"the API server cannot be reached: {error}") from error


async def _until_first_ends(watching: Coroutine[None, None, None], parts: list[Coroutine[None, None, None]]) -> None:
    """SIGTERM ends `watching`, nothing ends a part well. kopf must start last: it cancels tasks that are younger than itself."""
    tasks = [asyncio.create_task(part) for part in parts]
    await asyncio.sleep(0)
    main = asyncio.create_task(watching)
    done, _ = await asyncio.wait([main, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in [main, *tasks]:
        task.cancel()
    await asyncio.gather(main, *tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _resync(feeds: Feeds, namespaces: tuple[str | None, ...], every: int) -> None:
    while True:
        await asyncio.sleep(every)
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await feeds.relist(namespaces)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("resync failed; it is tried again", extra={"fields": {"error": str(error), "seconds": every}})


async def _work(queue: WorkQueue[Key], reconciler: Reconciler, metrics: Metrics) -> None:
    while True:
        key = await queue.get()
        started = time.monotonic()
        fields: dict[str, object] = {"namespace": key[0], "name": key[1]}
        try:
            async with asyncio.timeout(PASS_SECONDS):
                done = await reconciler(key)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            _failed(queue, key, metrics, fields | {"error": f"{type(error).__name__}: {error}"})
        except Exception as error:  # one resource must not end the work on all others
            _failed(queue, key, metrics, fields | {"error": repr(error)})
            log.exception("reconcile hit a bug", extra={"fields": fields})
        else:
            queue.succeeded(key)
            queue.wake(key, done.wake)
            metrics.reconciles.labels(result="ok").inc()
            fields |= {"phase": done.phase, "writes": done.writes, "wake": done.wake}
            log.info("reconciled", extra={"fields": fields | {"seconds": round(time.monotonic() - started, 4)}})
        finally:
            metrics.seconds.observe(time.monotonic() - started)
            queue.done(key)


def _failed(queue: WorkQueue[Key], key: Key, metrics: Metrics, fields: dict[str, object]) -> None:
    delay = queue.failed(key)
    metrics.reconciles.labels(result="error").inc()
    log.warning("reconcile failed", extra={"fields": fields | {"retry": round(delay, 2)}})
