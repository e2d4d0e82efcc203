"""Log files put together to drives.

A long drive has several files, so has one during which specs or the model changed, and a fleet
has many drives. Files that are damaged, overlap or have a gap are used as far as they go, and
each such thing is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.errors import CorruptError
from contracts.signal_log import SignalLogHeader
from kernels.signal_log import SignalChunk, read_chunks, read_header


@dataclass(slots=True)
class LoggedDrive:
    """One drive's files in the order of time. `notes` grow while its chunks are read.

    `header` is the first file's, `headers` are those of all files.
    """

    header: SignalLogHeader
    files: tuple[Path, ...]
    headers: tuple[SignalLogHeader, ...]
    notes: list[str] = field(default_factory=list)

    def chunks(self) -> Iterator[tuple[SignalLogHeader, SignalChunk]]:
        """All ticks that are there, none twice, with the header that holds for them."""
        next_tick = 0
        for file, header in zip(self.files, self.headers, strict=True):
            try:
                for chunk in read_chunks(file):
                    if chunk.first_tick < next_tick:
                        continue  # the same ticks in a second copy of the file
                    if chunk.first_tick > next_tick:
                        self.notes.append(f"{file.name}: {chunk.first_tick - next_tick} ticks lost")
                    next_tick = chunk.first_tick + len(chunk)
                    yield header, chunk
            except CorruptError as error:
                self.notes.append(str(error))


def logged_drives(files: Sequence[Path]) -> list[LoggedDrive]:
    """The drives of log files, by vehicle and time.

    Raises `CorruptError` for a file without a whole header, `InputError` for one that cannot
    be read.
    """
    groups: dict[tuple[str, str, int], list[tuple[int, Path, SignalLogHeader]]] = defaultdict(list)
    for file in files:
        header = read_header(file)
        key = (header.vehicle_id, header.boot_id, header.drive_start_mono_ns)
        groups[key].append((_first_tick(file), file, header))
    drives = []
    for _, parts in sorted(groups.items()):
        parts.sort(key=lambda part: part[:2])
        headers = tuple(header for _, _, header in parts)
        drives.append(LoggedDrive(headers[0], tuple(file for _, file, _ in parts), headers))
    return drives


def _first_tick(file: Path) -> int:
    try:
        chunk = next(read_chunks(file), None)
    except CorruptError:
        return 0  # told again when the drive's chunks are read
    return chunk.first_tick if chunk is not None else 0
