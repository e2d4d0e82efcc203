"""Echoes of fog, rain and snow: lidar returns too few for a solid thing where they are.

A solid thing answers every beam that meets it; drops in the air answer a few. So returns are judged
by cells seen from above: hits against the beams that a surface as wide as the cell, and as high as
the hits in it are apart, would meet. Most beams that go up come back from nothing, so beams are not
counted where they pass but reckoned from how densely the lidar looks, which is read off the band
of elevations in which every beam meets the ground at last.

A lidar that looks densest ahead, or to one side only, is taken for a coarser one than it is: then
less is told apart, and no solid thing is lost.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s

CELL_M = 0.5
SOLID = 0.1
"""Hits for each beam from which a cell counts as solid: a leg fills but a part of one."""
_BAND_M = 0.15
"""Hits are as high as this above and below them."""
_STEEP, _FLAT = -0.36, -0.09
"""Slopes of the band that looks at the ground: 20 and 5 degrees down."""


@njit(cache=True, nogil=True, error_model="numpy")
def beams_per_sr(xyz: Float32s, pose: Float64s, step: int) -> float:
    """How densely a sweep [n, 3] (sensor's frame, which `pose` puts into the ego's) looks, by every
    `step`-th return.
    """
    count = 0
    for n in range(0, len(xyz), step):
        a, b, c = float(xyz[n, 0]), float(xyz[n, 1]), float(xyz[n, 2])
        dx = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c
        dy = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c
        dz = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c
        flat = np.sqrt(dx * dx + dy * dy)
        if _STEEP * flat < dz < _FLAT * flat:
            count += step
    band = np.sin(np.arctan(_FLAT)) - np.sin(np.arctan(_STEEP))
    return float(count / (2.0 * np.pi * band))


@njit(cache=True, nogil=True, error_model="numpy")
def thin_air(
    points: Float64s, beams_per_sr: float, eye_m: tuple[float, float], curvature: float,
    half_width_m: float, reach_m: float,
) -> NDArray[np.bool_]:  # fmt: skip
    """Which points [m, 3] (ego frame, in the path as `kernels.obstacles.obstacle_points` gives
    them) lie in cells that are mostly air. `eye_m` is where the lidar is, from above.
    """
    rows = int(np.ceil(reach_m / CELL_M)) + 1
    columns = int(np.ceil(2 * half_width_m / CELL_M)) + 1
    hits = np.zeros((rows, columns))
    low, high = np.full((rows, columns), np.inf), np.full((rows, columns), -np.inf)
    for i in range(len(points)):
        row, column = _cell(points, i, curvature, half_width_m)
        hits[row, column] += 1.0
        low[row, column] = min(low[row, column], points[i, 2] - _BAND_M)
        high[row, column] = max(high[row, column], points[i, 2] + _BAND_M)
    thin = np.zeros(len(points), np.bool_)
    for i in range(len(points)):
        row, column = _cell(points, i, curvature, half_width_m)
        away_m2 = (points[i, 0] - eye_m[0]) ** 2 + (points[i, 1] - eye_m[1]) ** 2
        surface_m2 = CELL_M * (high[row, column] - low[row, column])
        thin[i] = hits[row, column] * away_m2 < SOLID * beams_per_sr * surface_m2
    return thin


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _cell(points: Float64s, i: int, curvature: float, half_width_m: float) -> tuple[int, int]:
    x = points[i, 0]
    left = points[i, 1] - 0.5 * curvature * x * x + half_width_m
    return int(x / CELL_M), int(left / CELL_M)
