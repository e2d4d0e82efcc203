"""The signal log's writer: trigger inputs and fires of a drive, into small files of a folder.

Guarantees: never more than `quota_bytes` (whole files go, oldest first, never the one being
written; a file ends at an eighth of the quota), never into the disk's floor. A failure is
logged, counted in `lost_ticks`, and never stops the drive; what was written before it stays
readable. A killed agent loses at most `CHUNK_TICKS` ticks.

A header holds for all ticks of its file: when what runs changes, the drive goes on in a new one.

It does not sync: after a power cut the file system may lose what the kernel had not written,
and the log then reads up to its last whole chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import structlog

from contracts import SOFTWARE_VERSION
from contracts.errors import LongtailError
from contracts.signal_log import (
    SIGNAL_LOG_SUFFIX,
    LoggedFire,
    LoggedLimits,
    LoggedSpec,
    LoggedThreshold,
    SignalLogHeader,
)
from contracts.signals import CATALOGUE
from edge_agent.disk import Disk
from edge_agent.ports import PerceptionModel, SourceDescription
from edge_agent.selection.budget import VehicleLimits
from kernels.signal_log import SignalChunk, encode_chunk, encode_end, encode_header
from kernels.triggers.adapt import NO_THRESHOLDS, Thresholds
from kernels.triggers.engine import TickInputs

CHUNK_TICKS = 500
"""Ten seconds of ticks: what a crash may take, and what compresses well."""

FILES_IN_QUOTA = 8

log = structlog.get_logger(__name__)


class SignalLog(Protocol):
    """Where a drive's ticks and fires go."""

    lost_ticks: int

    def begin(self, header: SignalLogHeader) -> None: ...

    def change(self, header: SignalLogHeader) -> None: ...

    def tick(self, inputs: TickInputs) -> None: ...

    def fire(self, fire: LoggedFire) -> None: ...

    def close(self) -> None: ...

    def writing(self) -> Path | None:
        """The file that is open now. Any thread."""
        ...


class NoSignalLog:
    """Writes nothing: a quota of nothing asks for this."""

    lost_ticks = 0

    def begin(self, header: SignalLogHeader) -> None:
        pass

    def change(self, header: SignalLogHeader) -> None:
        pass

    def tick(self, inputs: TickInputs) -> None:
        pass

    def fire(self, fire: LoggedFire) -> None:
        pass

    def close(self) -> None:
        pass

    def writing(self) -> Path | None:
        return None


def open_unbuffered(path: Path) -> IO[bytes]:
    """A file whose writes reach the kernel at once, so that a killed agent loses none."""
    return path.open("wb", buffering=0)


class SignalLogWriter:
    """Writes one drive into `folder`. Used by the drive's thread alone.

    `begin` comes first; fires belong to the tick given last.
    """

    def __init__(
        self,
        folder: Path,
        quota_bytes: int,
        floor_free_bytes: int,
        disk: Disk,
        opener: Callable[[Path], IO[bytes]] = open_unbuffered,
    ) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._floor_free_bytes = floor_free_bytes
        self._disk = disk
        self._opener = opener
        self._header: SignalLogHeader | None = None
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self._file_bytes = 0
        self._file_ticks = 0
        self._next_tick = 0
        self._filled = 0
        self._fires: list[LoggedFire] = []
        self._failures = 0
        self.lost_ticks = 0

    def begin(self, header: SignalLogHeader) -> None:
        """Take the drive's head; `drive_start_mono_ns` is set by the first tick."""
        self._header = header
        signals, classes = len(header.signals), max(1, len(header.class_names))
        self._now_ns = np.zeros(CHUNK_TICKS, np.int64)
        self._values = np.zeros((CHUNK_TICKS, signals))
        self._scores = np.zeros((CHUNK_TICKS, classes))
        self._frames = np.zeros(CHUNK_TICKS, np.int64)
        self._horizon_s = np.zeros(CHUNK_TICKS)

    def change(self, header: SignalLogHeader) -> None:
        """Go on with another head from the next tick on. Nothing happens when it says the same."""
        old = self._header
        if old is None:
            self.begin(header)
            return
        header = header.model_copy(update={"drive_start_mono_ns": old.drive_start_mono_ns})
        if header == old:
            return
        if self._filled:
            self._flush()
        self._end_file()
        self._header = header
        self._scores = np.zeros((CHUNK_TICKS, max(1, len(header.class_names))))

    def tick(self, inputs: TickInputs) -> None:
        """Take one tick's inputs, before they are evaluated."""
        if self._header is None:
            return
        if self._filled == CHUNK_TICKS:
            self._flush()
        if self._next_tick == 0 and self._filled == 0:
            self._header = self._header.model_copy(update={"drive_start_mono_ns": inputs.now_ns})
        row = self._filled
        self._now_ns[row] = inputs.now_ns
        self._values[row] = inputs.values
        self._scores[row] = inputs.class_scores
        self._frames[row] = inputs.frame_number
        self._horizon_s[row] = inputs.horizon_s
        self._filled += 1

    def fire(self, fire: LoggedFire) -> None:
        """Take a fire of the last tick with what became of it."""
        self._fires.append(fire)

    def writing(self) -> Path | None:
        return self._path if self._file is not None else None

    def close(self) -> None:
        """Write what waits, and the end mark."""
        if self._filled:
            self._flush()
        self._end_file()

    def _flush(self) -> None:
        n = self._filled
        chunk = SignalChunk(
            self._next_tick, self._now_ns[:n], self._values[:n], self._scores[:n],
            self._frames[:n], self._horizon_s[:n], tuple(self._fires),
        )  # fmt: skip
        self._next_tick += n
        self._filled = 0
        self._fires = []
        try:
            self._write(chunk)
        except (OSError, LongtailError) as error:
            self.lost_ticks += n
            self._failures += 1
            self._abandon_file()
            # The first failure is news; after that every power of ten is.
            if str(self._failures).strip("0") == "1":
                log.warning("signal log lost ticks", reason=str(error), ticks=self.lost_ticks)

    def _write(self, chunk: SignalChunk) -> None:
        content = encode_chunk(chunk)
        if self._file is not None:
            full = self._file_bytes + len(content) > self._quota_bytes // FILES_IN_QUOTA
            if full:
                self._end_file()
        if self._file is None:
            self._start_file(int(chunk.now_ns[0]))
        self._make_room(len(content))
        self._append(content)
        self._file_ticks += len(chunk)

    def _append(self, content: bytes) -> None:
        if self._file is None:
            return
        written = self._file.write(content)
        if written != len(content):  # a raw file may take less than it was given
            raise OSError(f"{written} of {len(content)} bytes were written")
        self._file_bytes += len(content)

    def _start_file(self, start_ns: int) -> None:
        if self._header is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / f"{self._header.boot_id}-{start_ns}{SIGNAL_LOG_SUFFIX}"
        head = encode_header(self._header)
        self._make_room(len(head))
        self._file = self._opener(self._path)
        self._file_bytes = self._file_ticks = 0
        self._append(head)

    def _end_file(self) -> None:
        if self._file is None:
            return
        try:
            self._append(encode_end(self._file_ticks))
            self._file.close()
        except OSError as error:
            log.warning("signal log has no end mark", reason=str(error))
        self._file = None

    def _abandon_file(self) -> None:
        """After a failure: cut the file after its last whole chunk; the next gets a new one."""
        if self._file is None:
            return
        with suppress(OSError):
            self._file.truncate(self._file_bytes)
        with suppress(OSError):
            self._file.close()
        self._file = None
        if self._path is not None and self._file_ticks == 0:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _make_room(self, size_bytes: int) -> None:
        """Remove oldest files until `size_bytes` more fit. Raises `OSError` when they cannot."""
        files = []
        for path in self._folder.glob(f"*{SIGNAL_LOG_SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime_ns, path.name, status.st_size, path))
        files.sort()
        total = sum(size for _, _, size, _ in files)
        for _, _, size, path in files:
            if total + size_bytes <= self._quota_bytes:
                break
            if path != self._path or self._file is None:
                path.unlink(missing_ok=True)
                total -= size
        if total + size_bytes > self._quota_bytes:
            raise OSError(f"{size_bytes} bytes do not fit the quota of {self._quota_bytes}")
        if self._disk.free_bytes(self._folder) < self._floor_free_bytes + size_bytes:
            raise OSError("the disk has no room above its floor")


def open_signal_log(folder: Path, quota_bytes: int, floor_free_bytes: int, disk: Disk) -> SignalLog:
    """The log that a configuration asks for."""
    if quota_bytes == 0:
        return NoSignalLog()
    return SignalLogWriter(folder, quota_bytes, floor_free_bytes, disk)


def log_header(
    vehicle_id: str,
    description: SourceDescription,
    specs: Iterable[LoggedSpec],
    model: PerceptionModel | None,
    score_names: tuple[str, ...],
    limits: VehicleLimits,
    thresholds: Thresholds = NO_THRESHOLDS,
) -> SignalLogHeader:
    """The head of a drive's log, before its first tick."""
    return SignalLogHeader(
        software_version=SOFTWARE_VERSION,
        vehicle_id=vehicle_id,
        boot_id=description.boot_id,
        drive_id=description.drive_id,
        utc_minus_mono_ns=description.utc_minus_mono_ns,
        drive_start_mono_ns=0,
        signals=tuple(signal.name for signal in CATALOGUE),
        class_names=score_names if score_names != ("",) else (),
        model_digest=model.digest if model is not None else None,
        specs=tuple(specs),
        limits=LoggedLimits(
            clips_per_day=limits.clips_per_day,
            bytes_per_day=limits.bytes_per_day,
            safety_reserve_ratio=limits.safety_reserve_ratio,
            random_reserve_ratio=limits.random_reserve_ratio,
        ),
        thresholds=tuple(
            LoggedThreshold(digest=digest, **asdict(known))
            for digest, known in sorted(thresholds.items())
        ),
    )
