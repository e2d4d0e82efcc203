"""A clip over a long, lossy link: its spans side by side against one connection.

The whole way is real but the link: agent's client, HTTP, the receiver with its store and database.
The link is emulated between them, by what TCP makes of one: each connection has Reno's window (a
packet more each round trip, half after a loss), packets are lost by a seeded chance, and all share
one rate. A connection alone then gets about what Mathis, Semke, Mahdavi and Ott (1997) give for its
round trip and loss, however wide the link. Wall times are the emulated link's own, so their ratio
holds on a busy machine as well.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figure, figure
from bench.receiver_peers.servers import Longtail
from bench.upload import SendingVehicle
from contracts.errors import LongtailError
from contracts.ids import PART_BYTES
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey

CLIP_BYTES = 4 * PART_BYTES
SPANS = 4
_ROUNDS = 2
_PACKET_BYTES = 1400
_LEAST_WINDOW = 4
_MOST_WINDOW = 700


@dataclass(frozen=True)
class Link:
    """An uplink. `loss_ratio` is of packets."""

    name: str
    round_trip_s: float
    loss_ratio: float
    bytes_per_s: float


LINKS = (
    Link("80 ms, 0.1 % loss, 40 Mbit/s", 0.08, 0.001, 5e6),
    Link("80 ms, 0.3 % loss, 40 Mbit/s", 0.08, 0.003, 5e6),
    Link("20 ms, no loss, 40 Mbit/s", 0.02, 0.0, 5e6),
)


@dataclass
class _Wire:
    """The emulated link towards a port of loopback."""

    link: Link
    port: int
    chance: random.Random
    _free_at_s: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.link.round_trip_s)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        ways = [
            asyncio.ensure_future(self._up(reader, far_writer)),
            asyncio.ensure_future(self._down(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                end.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A window a round trip, and no faster than the rate that all share."""
        window = 10
        with suppress(OSError, asyncio.IncompleteReadError):
            while piece := await reader.read(window * _PACKET_BYTES):
                packets = -(-len(piece) // _PACKET_BYTES)
                now_s = time.monotonic()
                begin_s = max(now_s, self._free_at_s)
                self._free_at_s = begin_s + len(piece) / self.link.bytes_per_s
                is_full = packets >= window
                wait_s = self.link.round_trip_s if is_full else self.link.round_trip_s / 2
                await asyncio.sleep(max(wait_s, self._free_at_s - now_s))
                lost = any(self.chance.random() < self.link.loss_ratio for _ in range(packets))
                if lost:
                    window = max(_LEAST_WINDOW, window // 2)
                elif is_full:
                    window = min(_MOST_WINDOW, window + max(1, window // 8 if window < 64 else 1))
                writer.write(piece)
                await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(64 * 1024):
                await asyncio.sleep(self.link.round_trip_s / 2)
                writer.write(piece)
                await writer.drain()


def run() -> list[Figure]:
    """Wall time of a clip with spans and without, over each link."""
    figures = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-uplink-") as folder:
        key = VehicleKey.load_or_create(Path(folder) / "key.pem", "bench", RealDisk())
        server = Longtail(Path(folder) / "server", key)
        try:
            for number, link in enumerate(LINKS):
                place = Path(folder) / f"vehicle-{number}"
                place.mkdir()
                shutil.copy(Path(folder) / "key.pem", place)
                figures.append(asyncio.run(_over(link, place, server.port, number)))
        finally:
            server.stop()
    return figures


async def _over(link: Link, folder: Path, port: int, first: int) -> Figure:
    wire = _Wire(link, port, random.Random(7))
    listening = await asyncio.start_server(wire.accept, "127.0.0.1", 0, limit=2**20)
    vehicle = SendingVehicle(folder, listening.sockets[0].getsockname()[1], CLIP_BYTES)
    taken: dict[int, list[float]] = {1: [], SPANS: []}
    try:
        for turn in range(2 * _ROUNDS):
            spans = (1, SPANS)[turn % 2]
            uploader, _ = vehicle.uploader(spans)
            vehicle.add_clip(1000 * first + turn)
            begin_s = time.perf_counter()
            sent = (await uploader.drain()).uploaded
            taken[spans].append(time.perf_counter() - begin_s)
            await uploader.close()
            if len(sent) != 1:
                raise LongtailError(f"{len(sent)} clips were sent instead of one")
    finally:
        listening.close()
        await wire.close()
        vehicle.close()
    return figure(
        f"a clip of {CLIP_BYTES / 2**20:.0f} MiB in {SPANS} spans, {link.name}",
        statistics.median(taken[SPANS]),
        "s",
        reference="the same over one connection",
        reference_value=statistics.median(taken[1]),
    )
