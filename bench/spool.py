"""The spool's writes, against O_DIRECT writes of the same bytes to the same disk.

A clip goes the whole way that it goes on a vehicle: begun, written in the pieces that the MCAP
writer makes, committed (data synced, sidecar written and synced, renamed, folders synced). The peer
writes the same bytes from one aligned buffer around the page cache, syncs, and does nothing else:
no file format, no digest, no sidecar. Both are timed to the moment that the bytes are durable; the
jobs take turns over clips of the same size, and the figures are medians.
"""

from __future__ import annotations

import mmap
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Figure, figure
from contracts.clip import ClipManifest, Window
from contracts.clock import ClockQuality, SystemClock
from contracts.errors import InputError
from contracts.ids import EventKey, PartHasher
from contracts.upload import UploadRequest
from edge_agent.disk import RealDisk
from edge_agent.ledger import Ledger
from edge_agent.spool import ClipDescription, Spool
from kernels.clip import schemas
from kernels.clip.encoding import EncodedMessage
from kernels.clip.writer import CHUNK_BYTES, write_clip

CLIP_BYTES = 64 * 1024 * 1024
"""About ten seconds of six cameras and a lidar, encoded."""
_MESSAGE_BYTES = 256 * 1024
_REPETITIONS = 6
_ALIGNED_BYTES = 4 * 1024 * 1024
"""Of one O_DIRECT write; larger ones are no faster on the disks seen."""


def run() -> list[Figure]:
    """Write under 1.4 GB below the working directory, and remove it again.

    Raises `InputError` where the file system knows no O_DIRECT.
    """
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-spool-") as name:
        folder = Path(name)
        content = random.Random(1).randbytes(CLIP_BYTES)
        spool = _open_spool(folder)
        jobs: dict[str, Callable[[int], int]] = {
            "direct": lambda number: _direct(folder / f"direct-{number}", content),
            "spool": lambda number: _spooled(spool, number, content),
            "packed": lambda number: _packed(spool, number, content),
        }
        speed = _median_mbps(jobs)
    return [
        figure(
            "a clip into the spool, durable", speed["spool"], "MB/s",
            reference="O_DIRECT write and sync", reference_value=speed["direct"],
            goal="ratio >= 0.8",
        ),
        figure(
            "the same, packed as MCAP and digested on the way", speed["packed"], "MB/s",
            reference="O_DIRECT write and sync", reference_value=speed["direct"],
        ),
    ]  # fmt: skip


def _open_spool(folder: Path) -> Spool:
    clock = SystemClock()
    ledger = Ledger(folder / "ledger.sqlite", clock, "bench")
    return Spool(folder / "spool", 10**10, 0, clock, RealDisk(), ledger, _describe)


def _describe(path: Path) -> ClipDescription:
    raise InputError("nothing is recovered here", str(path))


def _median_mbps(jobs: dict[str, Callable[[int], int]]) -> dict[str, float]:
    """Megabytes per second of each job, in turns; one round before the first warms up."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for repetition in range(_REPETITIONS + 1):
        for name, job in jobs.items():
            begin_ns = time.perf_counter_ns()
            size_bytes = job(repetition)
            took_ns = time.perf_counter_ns() - begin_ns
            if repetition:
                found[name].append(size_bytes / took_ns * 1e3)
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def _direct(path: Path, content: bytes) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_DIRECT", 0)
    if not hasattr(os, "O_DIRECT"):
        raise InputError("this system has no O_DIRECT to compare with")
    # Anonymous memory is page-aligned, as O_DIRECT asks for.
    with mmap.mmap(-1, _ALIGNED_BYTES) as aligned:
        descriptor = os.open(path, flags, 0o644)
        try:
            for offset in range(0, len(content), _ALIGNED_BYTES):
                aligned[:] = content[offset : offset + _ALIGNED_BYTES]
                os.write(descriptor, aligned)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    path.unlink()
    return len(content)


def _request(number: int, hasher: PartHasher) -> UploadRequest:
    return UploadRequest(
        clip_id=hasher.clip_id(),
        size_bytes=hasher.size_bytes,
        part_digests=tuple(digest.hex() for digest in hasher.part_digests()),
        event=EventKey(vehicle_id="v", boot_id="b", start_mono_ns=number, end_mono_ns=number + 1),
        window=Window(start_mono_ns=number, end_mono_ns=number + 1),
    )


_known: dict[int, PartHasher] = {}


def _spooled(spool: Spool, number: int, content: bytes) -> int:
    hasher = _known.get(len(content))
    if hasher is None:
        hasher = _known[len(content)] = PartHasher()
        hasher.update(content)
    path = spool.begin(f"plain-{number}", len(content))
    view = memoryview(content)
    with spool.create(path) as stream:
        for offset in range(0, len(content), CHUNK_BYTES):
            stream.write(view[offset : offset + CHUNK_BYTES])
    entry = spool.commit(path, _request(number, hasher), "normal", "forbidden", 1.0)
    spool.evict(entry.clip_id, "bench")
    return len(content)


def _packed(spool: Spool, number: int, content: bytes) -> int:
    messages = [
        EncodedMessage("/camera/front", schemas.IMAGE, n, content[at : at + _MESSAGE_BYTES])
        for n, at in enumerate(range(0, len(content), _MESSAGE_BYTES))
    ]
    event = EventKey(vehicle_id="v", boot_id="b", start_mono_ns=number, end_mono_ns=number + 1)
    window = Window(start_mono_ns=number, end_mono_ns=number + 1)
    manifest = ClipManifest(
        event=event, drive_id="d", software_version="bench", stream="triggered", causes=(),
        requested=window, actual=window, utc_minus_mono_ns=0,
        clock=ClockQuality(synchronised=True),
    )  # fmt: skip
    path = spool.begin(f"packed-{number}", len(content))
    with spool.create(path) as stream:
        written = write_clip(stream, manifest, messages, {})
    request = UploadRequest(
        clip_id=written.clip_id, size_bytes=written.size_bytes,
        part_digests=written.part_digests, event=event, window=window,
    )  # fmt: skip
    entry = spool.commit(path, request, "normal", "forbidden", 1.0)
    spool.evict(entry.clip_id, "bench")
    return written.size_bytes
