"""A TCP proxy that behaves like a bad road: delay, loss, a rate, and cuts.

Loss is what TCP makes of it: a piece of which a packet was lost comes a retransmission later,
and holds up what is behind it. A cut resets every connection at once, every `cut_every_s`.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PACKET_BYTES = 1400
PIECE_BYTES = 16 * 1024


@dataclass(frozen=True)
class Road:
    """A link: round trip, loss of packets, rate, and how long a connection lives at most."""

    round_trip_s: float
    loss_ratio: float
    bytes_per_s: float
    cut_every_s: float
    retransmit_s: float


ROAD = Road(0.16, 0.05, 2_500_000, 8.0, 0.25)
"""What Longtail promises to work over."""
SHORT_ROAD = Road(0.02, 0.05, 5_000_000, 0.5, 0.03)
"""The same, an eighth as long, for tests of a second."""


@dataclass
class EmulatedLink:
    """Forwards to `target_url`; `cuts` counts connections that were broken."""

    target_url: str
    road: Road
    source: random.Random
    url: str = ""
    cuts: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, listening: threading.Event, stopped: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE_BYTES)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        listening.set()
        async with server:
            cutting = asyncio.create_task(self._cut())
            await stopped.wait()
            ending = [cutting, *self._tasks]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            for writer in list(self._open):
                writer.transport.abort()

    async def _cut(self) -> None:
        while True:
            await asyncio.sleep(self.road.cut_every_s)
            self.cuts += len(self._open) // 2
            for writer in list(self._open):
                writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.target_url)
        ends = [writer]
        self._open.add(writer)
        with suppress(OSError):
            await asyncio.sleep(self.road.round_trip_s)
            far_reader, far_writer = await asyncio.open_connection(
                parts.hostname, parts.port, limit=PIECE_BYTES
            )
            ends.append(far_writer)
            self._open.add(far_writer)
            ways = [
                asyncio.create_task(self._carry(reader, far_writer)),
                asyncio.create_task(self._carry(far_reader, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(ways, timeout=self.road.round_trip_s)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        for end in ends:
            self._open.discard(end)
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One way of a connection: in order, after its delay, late where a packet was lost."""
        road = self.road
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                packets = -(-len(piece) // PACKET_BYTES)
                lost = any(self.source.random() < road.loss_ratio for _ in range(packets))
                late_s = road.retransmit_s if lost else 0.0
                await asyncio.sleep(len(piece) / road.bytes_per_s + late_s)
                # The window of TCP is wider than a piece: not every one waits for the way.
                if self.source.random() < 0.2:
                    await asyncio.sleep(road.round_trip_s / 2)
                writer.write(piece)
                await writer.drain()


@contextmanager
def over(target_url: str, road: Road, seed: int = 1) -> Iterator[EmulatedLink]:
    """Run a link for the length of the block."""
    link = EmulatedLink(target_url, road, random.Random(seed))
    listening, loop = threading.Event(), asyncio.new_event_loop()
    stopped = asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(link.serve(listening, stopped),), daemon=True
    )
    thread.start()
    try:
        assert listening.wait(20)
        yield link
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(20)
        loop.close()
