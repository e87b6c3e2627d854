"""Supervisors of a replica over several pods: each keeps a connection to pod 0, because NCCL may take ten minutes to
notice that a peer is gone.

One JSON object a line. A pod says `hello` when it connects, `beat` every 2 s, and at its end `done` or `failed`.
Pod 0 answers `hello` with `welcome`, and says `go` when all are there.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from xdit_api.base import Json

BEAT_SECONDS = 2.0
DEAD_SECONDS = 10.0
"""Silence after which a pod counts as gone."""
_RETRY_SECONDS = 1.0
_CLOSE_SECONDS = 3.0


class Peers:
    """One pod's side of it. The methods may be called from any thread; the connections live in a thread of their own."""

    def __init__(
        self,
        group: Json,
        node_rank: int,
        pods: int,
        host: str,
        port: int,
        name: str,
        say: Callable[[str], None],
        dead_seconds: float = DEAD_SECONDS,
    ) -> None:
        """group: what all pods of one attempt have in common. host, port: of pod 0. name: of this pod, for messages."""
        self._group = group
        self._node_rank = node_rank
        self._pods = pods
        self._address = (host, port)
        self._name = name
        self._say = say
        self._dead_seconds = dead_seconds
        self._together = threading.Event()
        self._lost: str | None = None
        self._crashed = False
        self._leaving = False
        self._problem = "no pod has connected yet" if node_rank == 0 else f"no connection to {host}:{port} yet"
        self._links: dict[int, asyncio.StreamWriter] = {}
        self._finished: set[int] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)

    def start(self) -> None:
        """Listen, or connect until it works."""
        self._thread.start()

    @property
    def together(self) -> bool:
        """Whether all pods of the attempt are there."""
        return self._together.is_set()

    @property
    def lost(self) -> str | None:
        """Which pod failed or vanished, as a sentence; None while all is well."""
        return self._lost

    @property
    def crashed(self) -> bool:
        """Whether that pod saw one of its ranks die of what it was computing."""
        return self._crashed

    @property
    def problem(self) -> str:
        """Why they are not together."""
        if self._node_rank == 0:
            return f"waiting for {', '.join(self._name_of(i) for i in range(1, self._pods) if i not in self._links)}"
        return self._problem

    def _name_of(self, index: int) -> str:
        """Pods of a StatefulSet differ in the number at the end."""
        base, dash, number = self._name.rpartition("-")
        return f"{base}-{index}" if dash and number == str(self._node_rank) else f"pod {index}"

    def close(self, kind: str, message: str, *, crashed: bool = False) -> None:
        """Say how this pod ended (`done` or `failed`) and close the connections; later calls do nothing.

        crashed: whether a rank of this pod died of what it was computing.
        """
        if not self._thread.is_alive():
            return
        finish = asyncio.run_coroutine_threadsafe(
            self._finish({"kind": kind, "message": message, "crashed": crashed}), self._loop
        )
        with suppress(TimeoutError, OSError):
            finish.result(_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.create_task(self._listen() if self._node_rank == 0 else self._connect())
        self._loop.create_task(self._beat())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _finish(self, message: Json) -> None:
        self._leaving = True
        for link in list(self._links.values()):
            with suppress(OSError):
                self._send(link, message)
                await link.drain()
                link.close()

    @staticmethod
    def _send(link: asyncio.StreamWriter, message: Json) -> None:
        link.write(json.dumps(message).encode() + b"\n")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for link in self._links.values():
                self._send(link, {"kind": "beat"})

    def _lose(self, text: str) -> None:
        if self._lost is None and not self._leaving:
            self._lost = text

    async def _follow(self, peer: int, name: str, reader: asyncio.StreamReader) -> None:
        """Read a connection to its end. Every way in which it can end but `done` is a loss."""
        why = f"pod {name} closed its connection"
        try:
            while line := await asyncio.wait_for(reader.readline(), self._dead_seconds):
                message = json.loads(line)
                if message["kind"] == "go":
                    self._together.set()
                elif message["kind"] == "done":
                    self._finished.add(peer)
                elif message["kind"] == "failed":
                    self._crashed = self._crashed or (self._lost is None and bool(message.get("crashed")))
                    self._lose(f"pod {name} failed: {message['message']}")
        except TimeoutError:
            why = f"pod {name} has not been heard of for {self._dead_seconds:g} s"
        except (OSError, ValueError) as error:
            why = f"the connection to pod {name} broke: {error}"
        self._links.pop(peer, None)
        if peer not in self._finished and (self.together or self._lost):
            self._lose(why)

    async def _listen(self) -> None:
        while True:
            try:
                await asyncio.start_server(self._accept, host=None, port=self._address[1])
                return
            except OSError as error:
                self._say(f"cannot listen on port {self._address[1]}: {error}; trying again")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hello = json.loads(await asyncio.wait_for(reader.readline(), self._dead_seconds))
            peer, name = int(hello["rank"]), str(hello["name"])
            if hello["group"] != self._group or not 0 < peer < self._pods:
                self._send(writer, {"kind": "refused", "message": f"this is {self._group}"})
                await writer.drain()
                writer.close()
                return
        except (OSError, TimeoutError, ValueError, KeyError, TypeError):
            writer.close()  # a port scanner or a health check
            return
        self._links[peer] = writer
        self._send(writer, {"kind": "welcome", "name": self._name})
        self._say(f"pod {name} is here ({len(self._links)} of {self._pods - 1})")
        if len(self._links) == self._pods - 1:
            self._together.set()
            for link in self._links.values():
                self._send(link, {"kind": "go"})
        await self._follow(peer, name, reader)

    async def _connect(self) -> None:
        """Until pod 0 is there, of this attempt, and says welcome. A pod of an earlier attempt may still be going down."""
        while True:
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(*self._address), self._dead_seconds)
                self._send(writer, {"kind": "hello", "group": self._group, "rank": self._node_rank, "name": self._name})
                answer = json.loads(await asyncio.wait_for(reader.readline(), self._dead_seconds) or b"{}")
                if answer.get("kind") == "welcome":
                    self._links[0] = writer
                    await self._follow(0, str(answer["name"]), reader)
                    if self.together or self._lost:
                        return
                    self._problem = "pod 0 closed the connection before all pods were there"
                else:
                    self._problem = f"pod 0 is of another attempt: {answer.get('message', 'it closed the connection')}"
                    writer.close()
            except (OSError, TimeoutError, ValueError) as error:
                self._problem = f"{self._address[0]}:{self._address[1]}: {str(error) or type(error).__name__}"
            await asyncio.sleep(_RETRY_SECONDS)


def wait_together(peers: Peers, deadline: float, stop: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> bool:
    """Wait until all pods are there; False when `deadline` seconds passed, one was lost or `stop` came."""
    until = clock() + deadline
    while not peers.together:
        if stop() or peers.lost is not None or clock() >= until:
            return False
        time.sleep(0.1)
    return True
