"""The link between a vehicle and its cloud: a TCP relay that takes virtual time.

Guarantees: bytes arrive after the time that the trace's rate, loss and delay ask for; when the
link ends or changes, connections over it are broken at once, and none is made without a link;
every byte it carries is counted under the link that carried it (`journal.ByteCounts`). Bytes
reach the other side unchanged, in order, unless a fault says otherwise.

It follows HTTP's framing only to know whether the real server owes an answer, so that virtual
time stands still meanwhile, and to place faults in the body of a part. A server that is away is
away for `OUTAGE_S` of virtual time; after that the relay waits for it in real time.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from contracts.errors import TransientError
from sim_fleet.fleet.framing import Framing
from sim_fleet.fleet.journal import ByteCounts
from sim_fleet.fleet.links import LinkTrace
from sim_fleet.fleet.virtual_loop import VirtualLoop

CHUNK_BYTES = 32 * 1024
PACKET_BYTES = 1400
RETRANSMIT_S = 0.25
OUTAGE_S = 40.0
SERVER_BACK_S = 90.0
_BUFFER_BYTES = 64 * 1024


@dataclass(slots=True)
class Passage:
    """Bytes of a request's body that are about to go on, for whoever wants to harm them."""

    start_line: str
    passed_bytes: int
    left_bytes: int
    data: bytearray

    @property
    def share(self) -> float:
        """How much of the body has passed once this piece has."""
        passed_bytes = self.passed_bytes + len(self.data)
        return passed_bytes / max(1, self.passed_bytes + self.left_bytes)


@dataclass(frozen=True, slots=True)
class _Sent:
    """Bytes on their way, and when they arrive on the loop's time. None of them: the end."""

    due_s: float
    data: bytearray


Harm = Callable[[Passage], None]


@dataclass(eq=False, slots=True)
class _Pair:
    """One connection of the vehicle and the one to the server that belongs to it."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    up: Framing = field(default_factory=lambda: Framing(is_request=True))
    down: Framing = field(default_factory=lambda: Framing(is_request=False))
    is_asked_to_go_on: bool = False
    is_closed: bool = False
    is_cut: bool = False

    def owes(self) -> bool:
        """Whether the server has all that it needs to say something."""
        if self.is_closed:
            return False
        return self.up.finished > self.down.finished or self.is_asked_to_go_on

    def abort(self) -> None:
        self.is_cut = True
        for writer in (self.near, self.far):
            writer.transport.abort()


class Relay:
    """One vehicle's link.

    Args:
        upstream: the receiver's host and port.
        trace, now_s: which link there is, and the fleet's time.
        harm: sees each piece of a request's body before it goes on; may change it, or kill.
        told: gets (status line, request line) of every answer.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        upstream: tuple[str, int],
        trace: LinkTrace,
        now_s: Callable[[], float],
        counts: ByteCounts,
        rng: np.random.Generator,
        harm: Harm = lambda _: None,
        told: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._loop = loop
        self._upstream = upstream
        self._trace = trace
        self._now_s = now_s
        self._counts = counts
        self._rng = rng
        self._harm = harm
        self._told = told
        self._pairs: set[_Pair] = set()
        self._free_at_s = [0.0, 0.0]
        self._down_until_s = 0.0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_the_way = 0
        loop.owing = self.owes
        loop.carrying = lambda: self._on_the_way > 0

    def owes(self) -> bool:
        return any(pair.owes() for pair in self._pairs)

    async def start(self, port: int) -> int:
        """Listen on loopback, on `port` if it is free; the port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Small buffers: what the vehicle thinks it has sent, the link has nearly carried.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=CHUNK_BYTES)
        return int(listener.getsockname()[1])

    def cut(self) -> None:
        """The link has ended or changed: nothing survives on it."""
        self._free_at_s = [0.0, 0.0]
        for pair in list(self._pairs):
            pair.abort()

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        link = self._trace.at(self._now_s())
        if link.kind == "none" or self._now_s() < self._down_until_s:
            writer.transport.abort()
            return
        try:
            await self._pass(2 * link.delay_s)
            far_reader, far = await self._connect()
        except (OSError, TransientError):
            self._server_lost()
            writer.transport.abort()
            return
        pair = _Pair(writer, far)
        self._pairs.add(pair)
        given = asyncio.StreamReader(limit=CHUNK_BYTES)
        queues: tuple[asyncio.Queue[_Sent], asyncio.Queue[_Sent]] = asyncio.Queue(), asyncio.Queue()
        ends = [asyncio.create_task(self._up(pair, queues[0])),
                asyncio.create_task(self._down(pair, queues[1]))]  # fmt: skip
        ways = [*ends, asyncio.create_task(self._listen(pair, far_reader, given)),
                asyncio.create_task(self._carry(reader, 0, queues[0])),
                asyncio.create_task(self._carry(given, 1, queues[1]))]  # fmt: skip
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._pairs.discard(pair)
            pair.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._down_until_s:
            # The outage is over as far as the vehicle goes: the real server must be back.
            await self._loop.run_in_executor(None, wait_for_listener, *self._upstream)
            self._down_until_s = 0.0
        return await asyncio.open_connection(*self._upstream, limit=1024 * 1024)

    def _server_lost(self) -> None:
        if not self._down_until_s:
            self._down_until_s = self._now_s() + OUTAGE_S

    async def _carry(
        self, reader: asyncio.StreamReader, way: int, queue: asyncio.Queue[_Sent]
    ) -> None:
        """Take bytes up as fast as the link carries them; they arrive a delay later."""
        while True:
            link = self._trace.at(self._now_s())
            rate_bps = max(1.0, link.down_bps if way else link.up_bps)
            data = bytearray()
            with suppress(OSError):
                data += await reader.read(_piece(rate_bps))
            if not data or self._trace.at(self._now_s()).kind == "none":
                data.clear()
                queue.put_nowait(_Sent(self._loop.time(), data))
                return
            packets = -(-len(data) // PACKET_BYTES)
            lost = int(self._rng.binomial(packets, link.loss)) if link.loss else 0
            again_bytes = lost * min(PACKET_BYTES, len(data))
            now_s = self._loop.time()
            free_s = max(now_s, self._free_at_s[way]) + (len(data) + again_bytes) * 8 / rate_bps
            self._free_at_s[way] = free_s
            await self._pass(free_s - now_s)
            name = "metered wifi" if link.metered and link.kind == "wifi" else link.kind
            self._counts.add(name, way, len(data))
            self._counts.add(name, 2, again_bytes)
            again_s = RETRANSMIT_S if lost else 0.0
            queue.put_nowait(_Sent(free_s + link.delay_s + again_s, data))

    async def _up(self, pair: _Pair, queue: asyncio.Queue[_Sent]) -> None:
        while (sent := await self._arrived(queue)).data:
            if pair.up.is_in_body:
                left = pair.up.body_left_bytes
                self._harm(Passage(pair.up.start_line, pair.up.body_bytes, left, sent.data))
            before = pair.up.heads
            pair.up.feed(bytes(sent.data))
            if pair.up.heads > before:
                pair.down.asked_heads.append(pair.up.start_line.startswith("HEAD "))
            pair.is_asked_to_go_on = pair.up.expects_continue and pair.up.body_bytes == 0
            try:
                pair.far.write(sent.data)
                await pair.far.drain()
            except OSError:
                if not pair.is_cut:
                    self._server_lost()
                return

    async def _down(self, pair: _Pair, queue: asyncio.Queue[_Sent]) -> None:
        while (sent := await self._arrived(queue)).data:
            with suppress(OSError):
                pair.near.write(sent.data)
                await pair.near.drain()

    async def _arrived(self, queue: asyncio.Queue[_Sent]) -> _Sent:
        sent = await queue.get()
        await self._pass(sent.due_s - self._loop.time())
        return sent

    async def _pass(self, duration_s: float) -> None:
        """Let time pass with bytes on the way."""
        self._on_the_way += 1
        try:
            await asyncio.sleep(max(0.0, duration_s))
        finally:
            self._on_the_way -= 1

    async def _listen(
        self, pair: _Pair, reader: asyncio.StreamReader, given: asyncio.StreamReader
    ) -> None:
        """Read the real server at once, whatever the link: what it owes is known by that."""
        while True:
            data = b""
            with suppress(OSError):
                data = await reader.read(CHUNK_BYTES)
            if not data:
                if pair.owes() and not pair.is_cut:
                    self._server_lost()
                given.feed_eof()
                pair.is_closed = True
                return
            before = pair.down.heads
            pair.down.feed(data)
            if pair.down.heads > before:
                pair.is_asked_to_go_on = False
                self._told(pair.down.start_line, pair.up.start_line)
            given.feed_data(data)


def _piece(rate_bps: float) -> int:
    """Bytes that a link carries in a twentieth of a second, within bounds."""
    return int(min(CHUNK_BYTES, max(PACKET_BYTES, rate_bps / 160)))


def wait_for_listener(host: str, port: int) -> None:
    """Block until somebody listens there. Raises `TransientError` after `SERVER_BACK_S`."""
    end_s = time.monotonic() + SERVER_BACK_S
    pause = threading.Event()
    while True:
        try:
            socket.create_connection((host, port), timeout=1.0).close()
            return
        except OSError as error:
            if time.monotonic() > end_s:
                raise TransientError("the receiver did not come back", f"{host}:{port}") from error
            pause.wait(0.1)
