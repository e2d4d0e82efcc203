"""An organised sweep: slant ranges in steps of 2 mm, row by row; angles kept as tables.

Error bound: 1 mm in range up to 131.07 m; beyond that, and for negative or infinite ranges,
the float32 range is kept exactly. Azimuth and elevation are kept exactly. No-returns (0 or
NaN) come back as what they were.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import CorruptError
from kernels.arrays import read_only
from kernels.lidar.cloud import LidarGrid, LidarPoints
from kernels.lidar.container import Content, Flag, Header, Kind, Layout, Sections
from kernels.lidar.outliers import outlier_sections, repeat_left, restore_outliers
from kernels.lidar.scratch import scratch
from kernels.lidar.streams import delta_sections, read_delta, read_words, word_planes
from kernels.lidar.weave import unwoven, woven

STEPS_PER_M = 500.0
REACH_M = 131.07
# Anything shorter would become step 0, which is how a no-return reads.
SHORTEST_M = 0.001

Float32s = NDArray[np.float32]


def grid_sections(grid: LidarGrid) -> tuple[Header, list[tuple[Kind, Content]]]:
    """Header and sections of a grid."""
    rings, columns = grid.range_m.shape
    flat = read_only(grid.range_m).reshape(-1)
    steps = scratch("grid steps", np.uint16, flat.shape[0])
    odd = scratch("grid odd", np.uint8, flat.shape[0])
    found: list[tuple[Kind, Content]] = [
        (Kind.AZIMUTH_TABLE, grid.azimuth_rad.astype("<f4").tobytes()),
        (Kind.ELEVATION_TABLE, grid.elevation_rad.astype("<f4").tobytes()),
    ]
    if _quantise(flat, steps, odd):
        marked = np.flatnonzero(odd.view(np.bool_))
        found += outlier_sections(flat.reshape(-1, 1), odd, marked)
        repeat_left(marked, steps)
    found += delta_sections(Kind.RANGE_DELTA, Kind.RANGE_ESCAPE, steps)
    found.append((Kind.INTENSITY, woven("intensity", read_only(grid.intensity).reshape(-1))))
    if grid.column_time_ns is not None:
        found.append((Kind.TIME, word_planes(read_only(grid.column_time_ns).view(np.uint32))))
    return Header(Layout.GRID, Flag.NONE, flat.shape[0], rings, columns), found


def read_grid(sections: Sections) -> LidarGrid:
    """The grid of a payload whose layout is a grid.

    Raises:
        CorruptError: a section is missing or has another size, or an angle is not finite.
    """
    header = sections.header
    count = header.points
    azimuth = _angles(sections, Kind.AZIMUTH_TABLE, header.columns)
    elevation = _angles(sections, Kind.ELEVATION_TABLE, header.rings)
    steps = read_delta(sections, Kind.RANGE_DELTA, Kind.RANGE_ESCAPE, count)
    range_m = (steps / np.float32(STEPS_PER_M)).astype(np.float32, copy=False)
    restore_outliers(sections, range_m.reshape(-1, 1))
    intensity = unwoven(sections.read(Kind.INTENSITY, count))
    time_ns: NDArray[np.int32] | None = None
    if Kind.TIME in sections:
        planes = sections.read(Kind.TIME, 4 * header.columns)
        time_ns = read_words(planes, header.columns).view(np.int32)
    shape = (header.rings, header.columns)
    return LidarGrid(range_m.reshape(shape), intensity.reshape(shape), azimuth, elevation, time_ns)


def grid_points(grid: LidarGrid) -> LidarPoints:
    """The returns of a grid as points, row by row; cells without a finite return are left out."""
    held = np.isfinite(grid.range_m) & (grid.range_m != 0)
    ring, column = np.nonzero(held)
    range_m = grid.range_m[held].astype(np.float64)
    elevation = grid.elevation_rad.astype(np.float64)[ring]
    azimuth = grid.azimuth_rad.astype(np.float64)[column]
    level = range_m * np.cos(elevation)
    xyz = np.stack(
        [level * np.cos(azimuth), level * np.sin(azimuth), range_m * np.sin(elevation)], axis=1
    )
    time_ns = None if grid.column_time_ns is None else grid.column_time_ns[column]
    return LidarPoints(
        xyz.astype(np.float32), grid.intensity[held], ring.astype(np.uint16), time_ns
    )


def _angles(sections: Sections, kind: Kind, count: int) -> Float32s:
    angles = np.frombuffer(sections.read(kind, 4 * count), "<f4").astype(np.float32)
    if not bool(np.isfinite(angles).all()):
        raise CorruptError("holds an angle that is not finite", f"lidar sweep section {kind.name}")
    return angles


@njit(nogil=True, cache=True, error_model="numpy")
def _quantise(range_m: Float32s, steps: NDArray[np.uint16], odd: NDArray[np.uint8]) -> int:
    """Steps of each range and a mark where they cannot hold it; returns the marks' number."""
    marked = np.int32(0)
    for i in range(range_m.shape[0]):
        value = range_m[i]
        held = (value >= np.float32(SHORTEST_M)) & (value < np.float32(REACH_M))
        safe = value if held else np.float32(0)
        steps[i] = np.uint16(np.int32(safe * np.float32(STEPS_PER_M) + np.float32(0.5)))
        odd[i] = np.uint8(0) if held else np.uint8(1)
        marked += np.int32(0) if held else np.int32(1)
    return int(marked)
