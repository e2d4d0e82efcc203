"""The unit vectors of one space in a file, in order of arrival, read as a mapped matrix.

Files of a folder: `vectors` (float32 [n, d]), `rows` (int64 [n]: the clip's `mining_row`, -1
for a vector that was taken out, whose values are then zeros), `ids` (32 bytes of clip id each),
and `state.json`, which tells how many vectors are whole and up to which of the database's
snapshots they go.

After a crash only what `state.json` counts is used: it is replaced (temp file, fsync, rename)
after the others have been synced. What came later is cut off and read from the database again;
what was taken out later is taken out again. Files of another database, space, length or format
are dropped: all in them is in the database.

One writer, guarded by its owner; readers use a `View`, which stays whole while vectors are
added, and in which a vector that is taken out becomes zeros with row -1.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_ingest.mining.ports import Int64s
from contracts.samples import Float32s

ID_BYTES = 32
"""A clip id, which is a SHA-256, as bytes."""
_FORMAT = 2
_ROW_BYTES = 8
_FLOAT_BYTES = 4
_GROWTH = 1.25
_LEAST_GROWTH = 4096
_ABSENT = -1

Int32s = NDArray[np.int32]
U8s = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Arrived:
    """Vectors to be held.

    Attributes:
        rows: int64 [m], `clips.mining_row`.
        ids: uint8 [m, 32].
        vectors: float32 [m, d] of length 1.
    """

    rows: Int64s
    ids: U8s
    vectors: Float32s

    def taken(self, numbers: NDArray[np.int64]) -> Arrived:
        """Some of them."""
        return Arrived(self.rows[numbers], self.ids[numbers], self.vectors[numbers])


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose vectors: `database` names the cluster and its timeline."""

    database: str
    space: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class View:
    """One moment of the file.

    Attributes:
        matrix: float32 [n, d]; a row's length is 1, or 0 when it was taken out.
        rows: int64 [n].
        ids: uint8 [n, 32].
        slot_of: int32 [highest mining_row + 1], -1 for none.
        dead: how many were taken out.
    """

    matrix: Float32s
    rows: Int64s
    ids: U8s
    slot_of: Int32s
    dead: int


class VectorFile:
    """The files under `folder`, made when they are not there or not of `origin`."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._folder, self._origin = folder, origin
        self._row_bytes = _FLOAT_BYTES * origin.dimensions
        state = _read_state(folder, origin)
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.cursor: str | None = None if state is None else state[1]
        self._count = 0 if state is None else state[0]
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._vectors = os.open(folder / "vectors", flags, 0o600)
        self._row_file = os.open(folder / "rows", flags, 0o600)
        self._id_file = os.open(folder / "ids", flags, 0o600)
        held = min(
            os.fstat(self._vectors).st_size // self._row_bytes,
            os.fstat(self._row_file).st_size // _ROW_BYTES,
            os.fstat(self._id_file).st_size // ID_BYTES,
        )
        if held < self._count:  # cut by somebody else: start anew
            self._count, self.cursor = 0, None
        os.ftruncate(self._row_file, self._count * _ROW_BYTES)
        self._rows = np.fromfile(folder / "rows", np.int64, self._count)
        ids = np.fromfile(folder / "ids", np.uint8, self._count * ID_BYTES)
        self._ids: U8s = ids.reshape(-1, ID_BYTES)
        self._slot_of = np.full(_LEAST_GROWTH, _ABSENT, np.int32)
        self._capacity = 0
        self._dead = int((self._rows == _ABSENT).sum())
        self._is_dirty = state is None
        self._reserve(self._count, int(self._rows.max(initial=0)))
        alive = np.flatnonzero(self._rows >= 0)
        self._slot_of[self._rows[alive]] = alive

    @property
    def live(self) -> int:
        """Vectors that can be found."""
        return self._count - self._dead

    @property
    def dead(self) -> int:
        """Vectors that were taken out and still take room."""
        return self._dead

    @property
    def dimensions(self) -> int:
        return self._origin.dimensions

    def view(self) -> View:
        """The vectors as they are now."""
        return View(
            self._matrix[: self._count], self._rows[: self._count],
            self._ids[: self._count], self._slot_of, self._dead,
        )  # fmt: skip

    def add(self, arrived: Arrived) -> None:
        """Hold more vectors; a later one of a clip replaces an earlier."""
        count = arrived.rows.size
        if not count:
            return
        _, last = np.unique(arrived.rows[::-1], return_index=True)
        if last.size < count:
            arrived = arrived.taken(np.sort(count - 1 - last))
            count = arrived.rows.size
        self._reserve(self._count + count, int(arrived.rows.max()))
        self.remove(arrived.rows)
        first, end = self._count, self._count + count
        _write_all(self._vectors, np.ascontiguousarray(arrived.vectors), first * self._row_bytes)
        _write_all(self._row_file, arrived.rows, first * _ROW_BYTES)
        _write_all(self._id_file, np.ascontiguousarray(arrived.ids), first * ID_BYTES)
        self._rows[first:end], self._ids[first:end] = arrived.rows, arrived.ids
        self._slot_of[arrived.rows] = np.arange(first, end, dtype=np.int32)
        self._count = end
        self._is_dirty = True

    def remove(self, rows: Int64s) -> int:
        """Take vectors out and overwrite their values; how many there were."""
        known = rows[(rows >= 0) & (rows < self._slot_of.size)]
        slots = np.unique(self._slot_of[known])
        slots = slots[slots >= 0]
        zeros = bytes(self._row_bytes)
        absent = np.full(1, _ABSENT, np.int64)
        for slot in slots.tolist():
            self._slot_of[self._rows[slot]] = _ABSENT
            self._rows[slot] = _ABSENT
            _write_all(self._row_file, absent, slot * _ROW_BYTES)
            os.pwrite(self._vectors, zeros, slot * self._row_bytes)
        self._dead += slots.size
        self._is_dirty = self._is_dirty or bool(slots.size)
        return int(slots.size)

    def persist(self) -> None:
        """Make what is there outlive a crash; nothing to do when nothing has changed."""
        if not self._is_dirty:
            return
        os.fdatasync(self._row_file)
        os.fdatasync(self._id_file)
        os.fdatasync(self._vectors)
        state = asdict(self._origin) | {
            "format": _FORMAT, "count": self._count, "cursor": self.cursor,
        }  # fmt: skip
        fresh = self._folder / "state.new"
        with fresh.open("w") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._folder / "state.json")
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._is_dirty = False

    def close(self) -> None:
        """Give the files back. Views that are still held keep their mapping."""
        os.close(self._vectors)
        os.close(self._row_file)
        os.close(self._id_file)

    def _reserve(self, count: int, highest_row: int) -> None:
        """Room for `count` vectors and clips up to `highest_row`."""
        if count > self._capacity or not self._capacity:
            self._capacity = max(int(count * _GROWTH), count + _LEAST_GROWTH)
            os.ftruncate(self._vectors, self._capacity * self._row_bytes)
            mapping = mmap.mmap(self._vectors, 0, prot=mmap.PROT_READ)
            shape = (self._capacity, self._origin.dimensions)
            self._matrix: Float32s = np.frombuffer(mapping, np.float32).reshape(shape)
            grown = np.full(self._capacity, _ABSENT, np.int64)
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
            ids = np.zeros((self._capacity, ID_BYTES), np.uint8)
            ids[: self._count] = self._ids[: self._count]
            self._ids = ids
        if highest_row >= self._slot_of.size:
            size = max(int(highest_row * _GROWTH), highest_row + _LEAST_GROWTH)
            wider = np.full(size, _ABSENT, np.int32)
            wider[: self._slot_of.size] = self._slot_of
            self._slot_of = wider


def _read_state(folder: Path, origin: Origin) -> tuple[int, str | None] | None:
    """Count and cursor of files that can be used as they are, else None."""
    try:
        state = json.loads((folder / "state.json").read_text())
        count, cursor = state.pop("count"), state.pop("cursor")
    except (OSError, ValueError, KeyError):
        return None
    return (count, cursor) if state == asdict(origin) | {"format": _FORMAT} else None


def _write_all(descriptor: int, values: NDArray[Any], at_bytes: int) -> None:
    left = values.data.cast("B")
    while left:
        written = os.pwrite(descriptor, left, at_bytes)
        left, at_bytes = left[written:], at_bytes + written
