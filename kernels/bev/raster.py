"""The bird's-eye raster of lidar sweeps, in the ego frame of now.

Each point is moved to where it lies now (motion of the ego during the sweep and since),
then counted in its cell. Channels, all in 0..1 and 0 in an empty cell:

| channel | holds |
|---|---|
| height_max, height_mean, height_min | height over `z_min_m`, as a share of the range told |
| density | logarithm of the number of points, 1 from 255 on |
| intensity | mean, 1 for 255 |
| age | mean age as a share of the window |
| recent_0 .. recent_{slots - 1} | density of the points of each slot of age, newest first |

Slots are what makes motion readable: a moving object leaves a trail over them.

Guarantees: the same points in the same order give the same raster, byte by byte, whether one
thread counts them or two; points off the grid or outside the range of heights change nothing; a
point that is not finite is refused, by its place, never skipped. Buffers are reused: an object
serves one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.geometry import checked_SE3
from contracts.model_manifest import LidarRasterInput
from contracts.samples import Float32s, Float64s
from kernels.arrays import read_only

LIDAR_STATISTICS = (
    "height_max", "height_mean", "height_min", "density", "intensity", "age",
)  # fmt: skip
FULL_COUNT = 255
COUNT_LOGS: Float32s = (np.log1p(np.arange(FULL_COUNT + 1)) / np.log1p(FULL_COUNT)).astype(
    np.float32
)
_SUMS = 5
"""Columns before the slots' counts: highest, lowest from the top, heights, intensity, age."""
_BLOCK = 1024
_NO_OFFSETS: NDArray[np.int32] = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep and how to bring it to now.

    `xyz_m` float32 [n, 3] in the sensor's frame; `intensity` uint8 [n]; `age_s` since the
    sweep's end; `now_SE3_end` maps the sensor's frame at that end to the ego frame of now.
    With `time_offset_ns` int32 [n] (0 at the end, negative before) and `now_SE3_start`, the
    sensor's frame `span_s` earlier, each point is moved by its own time.
    """

    xyz_m: Float32s
    intensity: NDArray[np.uint8]
    age_s: float
    now_SE3_end: Float64s
    now_SE3_start: Float64s | None = None
    time_offset_ns: NDArray[np.int32] | None = None
    span_s: float = 0.1


def lidar_channels(spec: LidarRasterInput) -> tuple[str, ...]:
    """Names of the raster's channels, in order."""
    return LIDAR_STATISTICS + tuple(f"recent_{slot}" for slot in range(spec.slots))


class LidarRaster:
    """Fills rasters of one specification."""

    def __init__(self, spec: LidarRasterInput) -> None:
        self.spec = spec
        self.shape = (len(lidar_channels(spec)), spec.grid.rows, spec.grid.columns)
        self._sums = _Sums(spec), _Sums(spec)

    def fill(self, sweeps: Sequence[Sweep], out: Float32s, beside: Executor | None = None) -> int:
        """Write the raster of all sweeps within the window into `out` float32 `shape`.

        Args:
            beside: counts the second half of each sweep, while this thread counts the first.

        Returns how many points it holds. Raises `InputError` for wrong shapes, a sweep from
        the future, or a point that is not finite; `out` is then unspecified.
        """
        if out.dtype != np.float32 or out.shape != self.shape or not out.flags.c_contiguous:
            raise InputError(
                f"the raster must be float32 {list(self.shape)}, contiguous, is {out.dtype} "
                f"{list(out.shape)}"
            )
        out[:] = 0
        mine, other = self._sums
        try:
            for number, sweep in enumerate(sweeps):
                _check(sweep, f"sweep {number}")
            if beside is None:
                mine.count(sweeps, 0)
                other.count(sweeps, 1)
            else:
                counted = beside.submit(other.count, sweeps, 1)
                try:
                    mine.count(sweeps, 0)
                finally:
                    wait([counted])  # nobody else may count there from here on
                counted.result()
            mine.take(other)
            points = mine.points
            mine.finish(out.reshape(out.shape[0], -1))
        except InputError:
            mine.clear()
            other.clear()
            raise
        return points


class _Sums:
    """What the points of half sweeps come to, cell by cell; empty between two rasters."""

    def __init__(self, spec: LidarRasterInput) -> None:
        self._spec = spec
        cells = spec.grid.rows * spec.grid.columns
        self._sums: Float32s = np.zeros((cells, _SUMS + spec.slots), dtype=np.float32)
        self._touched: NDArray[np.int32] = np.zeros(cells, dtype=np.int32)
        self._cells = 0
        self.points = 0

    def clear(self) -> None:
        self._sums[:] = 0
        self._cells = self.points = 0

    def count(self, sweeps: Sequence[Sweep], half: int) -> None:
        """Add one half (0 or 1) of each sweep. Raises `InputError` for what is not finite."""
        for number, sweep in enumerate(sweeps):
            middle = len(sweep.xyz_m) // 2
            points = slice(middle) if half == 0 else slice(middle, None)
            bad = self._count(sweep, points)
            if bad >= 0:
                place = f"sweep {number}: point {bad + (points.start or 0)}"
                raise InputError("is not finite", place)

    def _count(self, sweep: Sweep, points: slice) -> int:
        """The first point among them that is not finite; -1: none."""
        spec = self._spec
        slot = int(sweep.age_s / spec.slot_s + 0.5)
        if slot >= spec.slots:
            return -1
        end = checked_SE3(sweep.now_SE3_end)[:3].astype(np.float32).ravel()
        start, offsets = end, _NO_OFFSETS
        if sweep.time_offset_ns is not None and sweep.now_SE3_start is not None:
            start = checked_SE3(sweep.now_SE3_start)[:3].astype(np.float32).ravel()
            offsets = sweep.time_offset_ns[points]
        grid = spec.grid
        self._cells, added, bad = _count(
            read_only(sweep.xyz_m[points]), read_only(sweep.intensity[points]),
            read_only(offsets), start, end,
            np.float32(1e-9 / sweep.span_s), np.float32(sweep.age_s), slot,
            np.float32(grid.x_min_m), np.float32(grid.y_min_m),
            np.float32(1 / grid.cell_m), grid.rows, grid.columns, np.float32(spec.z_min_m),
            np.float32(spec.z_max_m), self._sums, self._touched, self._cells,
        )  # fmt: skip
        self.points += added
        return bad

    def take(self, other: _Sums) -> None:
        """Add what another came to, which is empty then."""
        self._cells = _take(
            self._sums, self._touched, self._cells, other._sums, other._touched[: other._cells]
        )
        self.points += other.points
        other._cells = other.points = 0

    def finish(self, out: Float32s) -> None:
        """Write the channels [channels, cells] of what was counted, and begin anew."""
        spec = self._spec
        _finish(
            self._sums, self._touched[: self._cells], out, COUNT_LOGS,
            np.float32(spec.z_max_m) - np.float32(spec.z_min_m),
            np.float32(1 / (spec.slots * spec.slot_s)),
        )  # fmt: skip
        self._cells = self.points = 0


def _check(sweep: Sweep, place: str) -> None:
    n = sweep.xyz_m.shape[0]
    if sweep.xyz_m.dtype != np.float32 or sweep.xyz_m.shape != (n, 3):
        raise InputError(f"points must be float32 [n, 3], not {list(sweep.xyz_m.shape)}", place)
    if sweep.intensity.dtype != np.uint8 or sweep.intensity.shape != (n,):
        raise InputError("intensity must be uint8, one for each point", place)
    if not 0 <= sweep.age_s < 1e3 or not sweep.span_s > 0:
        raise InputError(f"age {sweep.age_s} s, span {sweep.span_s} s", place)
    offsets = sweep.time_offset_ns
    if offsets is not None and (offsets.dtype != np.int32 or offsets.shape != (n,)):
        raise InputError("time offsets must be int32, one for each point", place)


@njit(nogil=True, cache=True, error_model="numpy")
def _count(
    xyz: Float32s,
    intensity: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    start: Float32s,
    end: Float32s,
    per_ns: np.float32,
    age_s: np.float32,
    slot: int,
    x_min: np.float32,
    y_min: np.float32,
    per_m: np.float32,
    rows: int,
    columns: int,
    z_min: np.float32,
    z_max: np.float32,
    sums: Float32s,
    touched: NDArray[np.int32],
    cells: int,
) -> tuple[int, int, int]:
    """Cells touched so far, points counted here, first point that is not finite or -1."""
    cell = np.empty(_BLOCK, dtype=np.int32)
    # Rows: x and y in cells, height over `z_min`, age; and a point's part of the way to `start`.
    now = np.empty((4, _BLOCK), dtype=np.float32)
    raw = np.empty((4, _BLOCK), dtype=np.float32)
    full, points, one, zero = z_max - z_min, 0, np.float32(1), np.float32(0)
    # Neighbours in a ring fall into one cell, mostly: its sums stay in registers that long.
    here = np.int32(-1)
    highest = lowest = heights = levels = ages = count = zero
    for first in range(0, xyz.shape[0], _BLOCK):
        size = min(_BLOCK, xyz.shape[0] - first)
        _unpack(
            xyz[first : first + size], offsets[first : first + size], per_ns, age_s, raw, now[3]
        )
        _line(raw, start, end, 0, x_min, per_m, size, now[0])
        _line(raw, start, end, 4, y_min, per_m, size, now[1])
        _line(raw, start, end, 8, z_min, one, size, now[2])
        _cells(now, rows, columns, full, size, cell)
        for k in range(size):
            at = cell[k]
            if at < 0:
                # What is not finite fails every comparison, so it is found here only.
                i = first + k
                if not np.isfinite(xyz[i, 0] + xyz[i, 1] + xyz[i, 2]):
                    return cells, points, i
                continue
            if at != here:
                if here >= 0:
                    _keep(sums[here], slot, highest, lowest, heights, levels, ages, count)
                here = at
                row = sums[at]
                if row[0] + row[1] == zero:
                    touched[cells] = at
                    cells += 1
                highest, lowest, heights, levels = row[0], row[1], row[2], row[3]
                ages, count = row[4], row[_SUMS + slot]
            h = now[2, k]
            highest = max(highest, h)
            lowest = max(lowest, full - h)
            heights += h
            levels += np.float32(intensity[first + k])
            ages += now[3, k]
            count += one
            points += 1
    if here >= 0:
        _keep(sums[here], slot, highest, lowest, heights, levels, ages, count)
    return cells, points, -1


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _keep(
    row: Float32s,
    slot: int,
    highest: np.float32,
    lowest: np.float32,
    heights: np.float32,
    levels: np.float32,
    ages: np.float32,
    count: np.float32,
) -> None:
    row[0], row[1], row[2], row[3], row[4] = highest, lowest, heights, levels, ages
    row[_SUMS + slot] = count


# The loops of a block are kept apart and short, so that each runs in vector registers.


@njit(nogil=True, cache=True, error_model="numpy")
def _unpack(
    xyz: Float32s,
    offsets: NDArray[np.int32],
    per_ns: np.float32,
    age_s: np.float32,
    raw: Float32s,
    age: Float32s,
) -> None:
    zero, one, ns = np.float32(0), np.float32(1), np.float32(1e-9)
    for i in range(xyz.shape[0]):
        raw[0, i] = xyz[i, 0]
        raw[1, i] = xyz[i, 1]
        raw[2, i] = xyz[i, 2]
    if offsets.size == 0:
        for i in range(xyz.shape[0]):
            raw[3, i] = zero
            age[i] = age_s
        return
    for i in range(xyz.shape[0]):
        before = -np.float32(offsets[i])
        part = before * per_ns
        part = part if part > zero else zero
        raw[3, i] = part if part < one else one
        age[i] = age_s + before * ns


@njit(nogil=True, cache=True, error_model="numpy")
def _line(
    raw: Float32s,
    start: Float32s,
    end: Float32s,
    k: int,
    low: np.float32,
    scale: np.float32,
    size: int,
    out: Float32s,
) -> None:
    """One coordinate now: entries k .. k + 3 of the matrices, which run straight between the two
    ends. Over a sweep the ego turns by a few degrees at most: 2 cm for a point at 50 m.
    """
    m0, m1, m2, m3 = end[k], end[k + 1], end[k + 2], end[k + 3]
    d0, d1, d2, d3 = start[k] - m0, start[k + 1] - m1, start[k + 2] - m2, start[k + 3] - m3
    x, y, z, part = raw[0], raw[1], raw[2], raw[3]
    for i in range(size):
        p = part[i]
        place = (m0 + p * d0) * x[i] + (m1 + p * d1) * y[i] + (m2 + p * d2) * z[i] + m3 + p * d3
        out[i] = (place - low) * scale


@njit(nogil=True, cache=True, error_model="numpy")
def _cells(
    now: Float32s, rows: int, columns: int, full: np.float32, size: int, cell: NDArray[np.int32]
) -> None:
    """The cell of each point, -1 for one that is not counted."""
    zero, tall, wide = np.float32(0), np.float32(rows), np.float32(columns)
    across = np.int32(columns)
    x, y, h = now[0], now[1], now[2]
    for i in range(size):
        inside = (x[i] >= zero) & (y[i] >= zero) & (x[i] < tall) & (y[i] < wide)
        good = inside & (h[i] >= zero) & (h[i] <= full)
        at = np.int32(x[i]) * across + np.int32(y[i])
        cell[i] = at if good else np.int32(-1)


@njit(nogil=True, cache=True, error_model="numpy")
def _take(
    sums: Float32s,
    touched: NDArray[np.int32],
    cells: int,
    others: Float32s,
    theirs: NDArray[np.int32],
) -> int:
    """Add the sums of their cells, and empty those; the cells touched by either."""
    zero = np.float32(0)
    for k in range(theirs.size):
        cell = theirs[k]
        row, other = sums[cell], others[cell]
        if row[0] + row[1] == zero:
            touched[cells] = cell
            cells += 1
        row[0] = max(row[0], other[0])
        row[1] = max(row[1], other[1])
        for column in range(2, row.size):
            row[column] += other[column]
        other[:] = 0
    return cells


@njit(nogil=True, cache=True, error_model="numpy")
def _finish(
    sums: Float32s,
    touched: NDArray[np.int32],
    out: Float32s,
    logs: Float32s,
    full: np.float32,
    per_window: np.float32,
) -> None:
    one = np.float32(1)
    per_height = one / full
    for k in range(touched.size):
        cell = touched[k]
        row = sums[cell]
        count = np.float32(0)
        for channel in range(_SUMS, row.size):
            count += row[channel]
            slot = logs[min(int(row[channel]), logs.size - 1)]
            out[channel + 1, cell] = slot
        share = one / count
        out[0, cell] = row[0] * per_height
        out[1, cell] = min(row[2] * share * per_height, one)
        out[2, cell] = (full - row[1]) * per_height
        out[3, cell] = logs[min(int(count), logs.size - 1)]
        out[4, cell] = row[3] * share * np.float32(1 / 255)
        out[5, cell] = min(row[4] * share * per_window, one)
        row[:] = 0
