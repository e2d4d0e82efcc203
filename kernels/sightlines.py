"""What the beams of a sweep tell of boxes: whether they met something there, or passed through.

Each box is judged by the beams of its direction only: returns are sorted by sectors around the
sensor once, since a sweep has tens of thousands and a box covers a few degrees.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s

_SECTORS = 512

Int64s = NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def looked_through(
    returns: Float64s, first: Int64s, pose: Float64s, boxes: Float64s, margin_m: Float64s
) -> Int64s:
    """Counts [4, k] for boxes [k, 7], of a sweep's returns as `by_sector` gives them: those that
    lie in the box, grown by its margins [k, 2] along and across; beams that went through its middle
    to something behind it; those that met something on their way there; all in its direction at
    whatever height.
    """
    counts = np.zeros((4, len(boxes)), np.int64)
    sx, sy, sz = pose[0, 3], pose[1, 3], pose[2, 3]
    for k in range(len(boxes)):
        bx, by = boxes[k, 0] - sx, boxes[k, 1] - sy
        away = np.hypot(bx, by)
        if away < 1.0:
            continue
        ux, uy = bx / away, by / away
        cos, sin = np.cos(boxes[k, 6]), np.sin(boxes[k, 6])
        long_m, wide_m = 0.5 * boxes[k, 3] + margin_m[k, 0], 0.5 * boxes[k, 4] + margin_m[k, 1]
        radius = 0.5 * np.hypot(boxes[k, 3], boxes[k, 4])
        high, low = boxes[k, 2] + 0.5 * boxes[k, 5], boxes[k, 2] - 0.5 * boxes[k, 5]
        start, sectors = _seen_in(bx, by, away, np.hypot(long_m, wide_m))
        for sector in range(start, start + sectors):
            at = sector % _SECTORS
            for n in range(first[at], first[at + 1]):
                x, y, z = returns[n, 0], returns[n, 1], returns[n, 2]
                along, across = ux * (x - sx) + uy * (y - sy), -uy * (x - sx) + ux * (y - sy)
                if along < 1.0:
                    continue
                dx, dy = x - boxes[k, 0], y - boxes[k, 1]
                if (abs(cos * dx + sin * dy) <= long_m and abs(cos * dy - sin * dx) <= wide_m
                        and low + 0.15 < z < high + 0.4):  # fmt: skip
                    counts[0, k] += 1
                    continue
                # Where the beam crosses the middle of the box; its inner half must be crossed.
                height = sz + (z - sz) * away / along
                left = across * away / along
                if abs(left) > 0.25 * boxes[k, 4]:
                    continue
                counts[3, k] += 1
                if low + 0.3 * boxes[k, 5] < height < high - 0.2 * boxes[k, 5]:
                    counts[1, k] += along > away + radius + 1.0
                    counts[2, k] += along < away - radius - 0.5
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def _seen_in(x: float, y: float, away: float, half_m: float) -> tuple[int, int]:
    """First sector and number of sectors in which a box is seen: all of it lies within `half_m` of
    its middle, and a beam that crosses its inner half is nearer to the line of sight still.
    """
    if half_m >= away:
        return 0, _SECTORS
    middle, wide = np.arctan2(y, x), np.arcsin(half_m / away)
    start = _sector(np.cos(middle - wide), np.sin(middle - wide)) - 1  # one more for rounding
    end = _sector(np.cos(middle + wide), np.sin(middle + wide)) + 1
    return start, min((end - start) % _SECTORS + 1, _SECTORS)


@njit(cache=True, nogil=True, error_model="numpy")
def by_sector(xyz: Float32s, pose: Float64s, step: int) -> tuple[Float64s, Int64s]:
    """Every `step`-th return of a sweep [n, 3] (sensor's frame, which `pose` puts into the ego's)
    in the ego's frame [m, 3], sector by sector around the sensor, and where each sector begins,
    [sectors + 1]. What is not finite is left out.
    """
    size = (len(xyz) + step - 1) // step
    sectors = np.empty(size, np.int32)
    placed = np.empty((size, 3))
    first = np.zeros(_SECTORS + 1, np.int64)
    for n in range(size):
        a, b, c = float(xyz[n * step, 0]), float(xyz[n * step, 1]), float(xyz[n * step, 2])
        for axis in range(3):
            placed[n, axis] = pose[axis, 0] * a + pose[axis, 1] * b + pose[axis, 2] * c
        dx, dy = placed[n, 0], placed[n, 1]
        sectors[n] = _sector(dx, dy) if np.isfinite(dx + dy) else -1
        if sectors[n] >= 0:
            first[sectors[n] + 1] += 1
    for sector in range(_SECTORS):
        first[sector + 1] += first[sector]
    following = first[:-1].copy()
    ordered = np.empty((first[-1], 3))
    for n in range(size):
        if sectors[n] >= 0:
            at = following[sectors[n]]
            following[sectors[n]] += 1
            for axis in range(3):
                ordered[at, axis] = placed[n, axis] + pose[axis, 3]
    return ordered, first


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _sector(x: float, y: float) -> int:
    """Of a direction, growing with its angle; cheap, and so not of equal angles."""
    length = abs(x) + abs(y)
    turn = y / length if length > 0.0 else 0.0  # -1 .. 1 in front, from the right to the left
    if x < 0.0:
        turn = 2.0 - turn if y >= 0.0 else -2.0 - turn
    return min(int((turn + 2.0) * (_SECTORS / 4)), _SECTORS - 1)
