"""Clouds without beams: each axis in steps of 2 mm, left-deltas in byte planes.

Error bound: 1 mm in each axis, plus half a unit in the last place of float32 far out. A
point with a coordinate beyond 4000 km, or one that is not finite, is kept exactly.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.lidar.container import Content, Kind, Sections
from kernels.lidar.outliers import outlier_sections, restore_outliers
from kernels.lidar.streams import read_words, word_planes

STEPS_PER_M = 500.0
REACH_M = 4.0e6
_AXES = (Kind.AXIS_X, Kind.AXIS_Y, Kind.AXIS_Z)

Float32s = NDArray[np.float32]


def plain_sections(xyz_m: Float32s) -> list[tuple[Kind, Content]]:
    """The geometry sections of a cloud float32 [n, 3], in the order of its points."""
    count = xyz_m.shape[0]
    steps = np.empty((3, count), np.uint32)
    odd = np.empty(count, np.uint8)
    found: list[tuple[Kind, Content]] = []
    if _quantise(xyz_m, steps, odd):
        found += outlier_sections(xyz_m, odd, np.flatnonzero(odd))
    for axis, kind in enumerate(_AXES):
        found.append((kind, word_planes(steps[axis]).tobytes()))
    return found


def read_plain(sections: Sections) -> Float32s:
    """The cloud float32 [n, 3] of geometry sections."""
    count = sections.header.points
    xyz_m = np.empty((count, 3), np.float32)
    for axis, kind in enumerate(_AXES):
        steps = read_words(sections.read(kind, 4 * count), count).view(np.int32)
        xyz_m[:, axis] = steps / STEPS_PER_M
    restore_outliers(sections, xyz_m)
    return xyz_m


@njit(nogil=True, cache=True, error_model="numpy")
def _quantise(xyz_m: Float32s, steps: NDArray[np.uint32], odd: NDArray[np.uint8]) -> int:
    """Steps of each axis and a mark for the points out of reach; returns their number."""
    marked = 0
    for i in range(xyz_m.shape[0]):
        held = (
            (abs(xyz_m[i, 0]) < REACH_M)
            & (abs(xyz_m[i, 1]) < REACH_M)
            & (abs(xyz_m[i, 2]) < REACH_M)
        )
        odd[i] = 0 if held else 1
        marked += 0 if held else 1
        for axis in range(3):
            if held:
                step = np.int64(np.floor(np.float64(xyz_m[i, axis]) * STEPS_PER_M + 0.5))
                steps[axis, i] = np.uint32(step)
            else:
                steps[axis, i] = steps[axis, i - 1] if i > 0 else 0
    return marked
