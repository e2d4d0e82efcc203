"""What a vehicle's process writes down as it happens, so that a SIGKILL takes none of it.

The journal is a file of JSON lines, each one write to an appending descriptor. Bytes over the
link are counted in a small file that is mapped into memory: the kernel keeps both when the
process dies. They are the simulator's own observation, apart from what the agent says of itself.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINKS = ("wifi", "ethernet", "cellular", "none", "metered wifi")
_COUNT = struct.Struct("<Q")
_ROW = 3
_SIZE = len(LINKS) * _ROW * _COUNT.size


class Journal:
    """Appends records. `at_s` is the fleet's time."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def write(self, what: str, at_s: float, **more: Any) -> None:
        line = json.dumps({"what": what, "at_s": round(at_s, 3), **more}, default=str)
        os.write(self._descriptor, line.encode() + b"\n")

    def close(self) -> None:
        os.close(self._descriptor)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """All whole records; a process may die within its last line."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        yield json.loads(line)


@dataclass(frozen=True, slots=True)
class Carried:
    """Bytes that a link carried. `again_bytes` were lost on the way and sent once more."""

    up_bytes: int = 0
    down_bytes: int = 0
    again_bytes: int = 0

    @property
    def air_bytes(self) -> int:
        return self.up_bytes + self.down_bytes + self.again_bytes


class ByteCounts:
    """Bytes by kind of link, in a mapped file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)

    def add(self, link: str, row: int, count: int) -> None:
        """`row` 0 up, 1 down, 2 sent again."""
        at = (LINKS.index(link) * _ROW + row) * _COUNT.size
        (before,) = _COUNT.unpack_from(self._map, at)
        _COUNT.pack_into(self._map, at, before + count)

    def close(self) -> None:
        self._map.close()


def read_counts(path: Path) -> dict[str, Carried]:
    """By kind of link; empty when the vehicle never started."""
    if not path.exists():
        return {}
    numbers = struct.unpack(f"<{len(LINKS) * _ROW}Q", path.read_bytes())
    return {
        link: Carried(*numbers[i * _ROW : (i + 1) * _ROW])
        for i, link in enumerate(LINKS)
        if any(numbers[i * _ROW : (i + 1) * _ROW])
    }
