"""Asks pod 0 of each running replica for its progress. For display only: silence never restarts anything."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from pydantic import ValidationError

from xdit_api import pod
from xdit_api.report import Progress
from xdit_operator import observe
from xdit_operator.cache import Caches, Key, key_of
from xdit_operator.polls import Polls

INTERVAL = 3.0
TIMEOUT = aiohttp.ClientTimeout(total=3)
AT_ONCE = 32
LIMIT = 64 * 1024
"""Bytes of an answer."""


@dataclass(frozen=True, slots=True)
class Target:
    """One leader."""

    key: Key
    uid: str
    replica: int
    attempt: int
    ip: str


def targets(caches: Caches) -> list[Target]:
    """Ready leaders of groups that are wanted."""
    out = []
    for raw in caches.resources:
        namespace, name = key_of(raw)
        uid = raw["metadata"]["uid"]
        for group in observe.groups(caches, namespace, name, uid):
            leader = next((p for p in group.pods if p.ordinal == 0 and p.attempt == group.attempt), None)
            if group.up and leader is not None and leader.ready and leader.ip and not leader.deleting:
                out.append(Target((namespace, name), uid, group.replica, group.attempt, leader.ip))
    return out


async def ask(session: aiohttp.ClientSession, target: Target) -> Progress | None:
    """The leader's answer; None when there is none, or none for this resource and attempt."""
    host = f"[{target.ip}]" if ":" in target.ip else target.ip
    try:
        async with session.get(f"http://{host}:{pod.HTTP_PORT}/progress", allow_redirects=False) as response:
            if response.status != 200:
                return None
            raw = b""
            async for chunk in response.content.iter_chunked(LIMIT):
                raw += chunk
                if len(raw) > LIMIT:
                    return None
        answer = Progress.model_validate_json(raw)
    except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
        return None
    mine = answer.job_uid == target.uid and answer.replica == target.replica and answer.attempt == target.attempt
    return answer if mine else None


async def poll(caches: Caches, polls: Polls, tell: Callable[[Key], None]) -> None:
    """For ever: ask all leaders, keep what they say, `tell` about news."""
    slots = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:

        async def one(target: Target) -> None:
            async with slots:
                answer = await ask(session, target)
            news = (
                polls.answered(target.uid, target.replica, answer)
                if answer is not None
                else polls.silent(target.uid, target.replica, target.attempt)
            )
            if news:
                tell(target.key)

        while True:
            await asyncio.gather(*(one(target) for target in targets(caches)))
            await asyncio.sleep(INTERVAL)
