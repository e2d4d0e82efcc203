"""The upload receiver beside what receives bytes otherwise: one client, one disk, one run.

The same clips go in parts of 8 MiB over four kept connections of loopback to: a bare Python process
that reads, hashes or not, writes and syncs; nginx with its DAV module; @tus/server over its file
store; and the receiver on its embedded default. Ours checks each part against its declared digest,
commits the clip to its catalog and syncs; what follows a commit is off. The bare process syncs too;
for the others the client syncs what they have written before it goes on. Servers take turns. CPU is
that of the server's process with all that it started, PostgreSQL among ours; a client's is in none.
Of the rounds the best one counts, of each server: what else the machine does, and memory that its
host has to supply first, only add.

Equal work: @tus/server hashes nothing, so what hashing costs the bare process in this run is taken
off ours where both are compared. Declarations a second and check-ins a second are of small
requests, with 100,000 vehicles enrolled.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figure, figure
from bench.receiver_peers.fleet import fleet_figures
from bench.receiver_peers.sender import Sender
from bench.receiver_peers.servers import (
    Longtail,
    Nginx,
    Raw,
    ReceivingServer,
    SourceClip,
    TusServer,
    tus_server_modules,
)
from contracts.clip import ClipManifest, Window
from contracts.clock import NS_PER_S, ClockQuality
from contracts.ids import EventKey
from contracts.upload import UploadRequest
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey
from kernels.clip import schemas
from kernels.clip.encoding import EncodedMessage
from kernels.clip.writer import write_clip

CONNECTIONS = 4
CLIP_BYTES = 64 * 2**20
CLIPS = 12
ROUNDS = 3
VEHICLE = "bench"
_MESSAGE_BYTES = 256 * 1024
_GB = 1e9


@dataclass
class Measured:
    """Of one server: megabytes a second and CPU seconds a gigabyte, a value for each round."""

    mbps: list[float] = field(default_factory=list)
    cpu_s_per_gb: list[float] = field(default_factory=list)
    database_s_per_gb: list[float] = field(default_factory=list)

    @property
    def speed(self) -> float:
        return max(self.mbps)

    @property
    def cpu(self) -> float:
        return min(self.cpu_s_per_gb)


def run(
    clips: int = CLIPS, clip_bytes: int = CLIP_BYTES, rounds: int = ROUNDS, vehicles: int = 100_000,
    modules: Path = Path("build") / "receiver-peers",
) -> list[Figure]:  # fmt: skip
    """All figures; writes up to 2 GB below the working directory at a time, and removes it.

    Args:
        modules: where @tus/server is installed.

    Raises `InputError` where a peer cannot be had.
    """
    modules = tus_server_modules(modules.resolve())
    # Short, for the database's socket lies in it; on the same disk, for all write to it.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".b-") as made_here:
        folder = Path(made_here)
        key = VehicleKey.load_or_create(folder / "key.pem", VEHICLE, RealDisk())
        kinds: dict[str, Callable[[Path], ReceivingServer]] = {
            "plain": lambda where: Raw(where, is_hashing=False),
            "hash": lambda where: Raw(where, is_hashing=True),
            "nginx": Nginx,
            "tus": lambda where: TusServer(where, modules),
            "ours": lambda where: Longtail(where, key),
        }
        measured = {name: Measured() for name in kinds}
        for number in range(rounds + 1):
            made = _clips(folder / "clips", clips + 1, clip_bytes, number)
            for name, kind in kinds.items():
                found = _round(kind, folder / name, made)
                if number:  # the first one warms the disk's cache
                    measured[name].mbps += found.mbps
                    measured[name].cpu_s_per_gb += found.cpu_s_per_gb
                    measured[name].database_s_per_gb += found.database_s_per_gb
            shutil.rmtree(folder / "clips")
        figures = _figures(measured)
        figures += fleet_figures(folder / "fleet", key, vehicles)
    return figures


def _round(
    kind: Callable[[Path], ReceivingServer], folder: Path, clips: Sequence[SourceClip]
) -> Measured:
    os.sync()
    server = kind(folder)
    try:
        with ExitStack() as stack, ThreadPoolExecutor(CONNECTIONS) as pool:
            senders = [Sender(server.port) for _ in range(CONNECTIONS)]
            for sender in senders:
                stack.callback(sender.close)
            _back_memory(folder, sum(clip.request.size_bytes for clip in clips))
            warming, *clips = clips
            server.put(senders[0], warming)
            cpu_s, database_s = server.cpu_s(), server.database_cpu_s()
            begin_s = time.perf_counter()
            jobs = [
                pool.submit(_send_all, server, sender, clips[number::CONNECTIONS])
                for number, sender in enumerate(senders)
            ]
            for job in jobs:
                job.result()
            took_s = time.perf_counter() - begin_s
            cpu_s, database_s = server.cpu_s() - cpu_s, server.database_cpu_s() - database_s
    finally:
        server.stop()
    sent_gb = sum(clip.request.size_bytes for clip in clips) / _GB
    return Measured([1e3 * sent_gb / took_s], [cpu_s / sent_gb], [database_s / sent_gb])


def _back_memory(folder: Path, length_bytes: int) -> None:
    """Have as much memory for the disk's cache free *and* there as will be written.

    A virtual machine's free memory goes back to its host within seconds, and whoever needs it again
    pays for the fetching in CPU of its own: up to 3 s/GB, more than a whole server costs.
    """
    filling = bytes(2**20)
    with (folder / "filling").open("wb", buffering=0) as file:
        for _ in range(length_bytes * 3 // 2 // len(filling)):
            file.write(filling)
    (folder / "filling").unlink()


def _send_all(server: ReceivingServer, sender: Sender, clips: Sequence[SourceClip]) -> None:
    for clip in clips:
        server.put(sender, clip)


def _figures(measured: dict[str, Measured]) -> list[Figure]:
    plain, hashed, ours = measured["plain"], measured["hash"], measured["ours"]
    nginx, tus = measured["nginx"], measured["tus"]
    hashing = hashed.cpu - plain.cpu
    bare = "raw receive, SHA-256, write, sync"
    return [
        figure("clips received, checked and committed", ours.speed, "MB/s", reference=bare,
               reference_value=hashed.speed),
        figure("the same", ours.speed, "MB/s", reference="@tus/server, which checks nothing",
               reference_value=tus.speed, goal="ratio >= 1"),
        figure("the same", ours.speed, "MB/s", reference="nginx dav, which checks nothing",
               reference_value=nginx.speed),
        figure("CPU of it", ours.cpu, "s/GB", reference=bare, reference_value=hashed.cpu,
               goal="ratio <= 2"),
        figure("CPU of it, hashing taken off", ours.cpu - hashing, "s/GB",
               reference="@tus/server", reference_value=tus.cpu, goal="ratio <= 1"),
        figure("of which PostgreSQL's", min(ours.database_s_per_gb), "s/GB"),
        figure("raw receive, write, sync: CPU", plain.cpu, "s/GB"),
        figure("nginx dav: CPU", nginx.cpu, "s/GB"),
        figure("what hashing costs", hashing, "s/GB"),
    ]  # fmt: skip


def _clips(folder: Path, count: int, size_bytes: int, seed: int) -> list[SourceClip]:
    """True clips of random payload, none like another."""
    folder.mkdir()
    noise = random.Random(seed).randbytes(size_bytes)
    return [_clip(folder, noise, seed * count + number) for number in range(count)]


def _clip(folder: Path, noise: bytes, number: int) -> SourceClip:
    start_ns = 100 * number * NS_PER_S
    window = Window(start_mono_ns=start_ns, end_mono_ns=start_ns + 10 * NS_PER_S)
    event = EventKey(
        vehicle_id=VEHICLE, boot_id="b", start_mono_ns=window.start_mono_ns,
        end_mono_ns=window.end_mono_ns,
    )  # fmt: skip
    manifest = ClipManifest(
        event=event, drive_id="d", software_version="bench", stream="triggered", causes=(),
        requested=window, actual=window, utc_minus_mono_ns=1_700_000_000 * NS_PER_S,
        clock=ClockQuality(synchronised=True),
    )  # fmt: skip
    turned = noise[number + 1 :] + noise[: number + 1]  # each part of each clip is another
    messages = [
        EncodedMessage(
            "/camera/front", schemas.IMAGE, start_ns + n, turned[at : at + _MESSAGE_BYTES]
        )
        for n, at in enumerate(range(0, len(turned), _MESSAGE_BYTES))
    ]
    path = folder / f"{number}.mcap"
    with path.open("wb") as stream:
        written = write_clip(stream, manifest, messages, {})
    return SourceClip(path, UploadRequest(
        clip_id=written.clip_id, size_bytes=written.size_bytes,
        part_digests=written.part_digests, event=event, window=window,
    ))  # fmt: skip
