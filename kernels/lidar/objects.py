"""Loops over points, compiled. A file of its own, so that callers do not stale its cache."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Array = Any  # numba compiles for whatever arrays it is called with

_CELL_M = 2.0
_OUT_M, _IN_M = 0.15, 0.10
_IN_SHARE = 0.25
_WIDE, _NARROWER = 4.0, 0.6
_BESIDE_M = 0.5
_FLAT = 0.06
_CLOSE = 1e-3


@numba.njit(cache=True)
def crop(xyz: Array, centre: Array, yaw: Array, half: Array) -> tuple[Array, Array]:
    """Which points [n, 3] lie in which boxes.

    Args:
        xyz: points.
        centre: of the boxes, [k, 3].
        yaw: [k].
        half: half of length, width and height, as grown, [k, 3].

    Returns:
        Pairs: box int64 [p] and point int64 [p], points rising.
    """
    boxes, count = yaw.size, 0
    box_of = np.empty(1024, dtype=np.int64)
    point_of = np.empty(1024, dtype=np.int64)
    if boxes == 0:
        return box_of[:0], point_of[:0]
    reach = np.sqrt(half[:, 0] ** 2 + half[:, 1] ** 2)
    low_x, low_y = (centre[:, 0] - reach).min(), (centre[:, 1] - reach).min()
    high_x, high_y = (centre[:, 0] + reach).max(), (centre[:, 1] + reach).max()
    rows, columns = int((high_x - low_x) / _CELL_M) + 1, int((high_y - low_y) / _CELL_M) + 1
    near = np.zeros((rows, columns), dtype=np.bool_)
    for k in range(boxes):
        i, j = centre[k, 0] - reach[k] - low_x, centre[k, 1] - reach[k] - low_y
        wide = 2 * reach[k]
        near[
            int(i / _CELL_M) : int((i + wide) / _CELL_M) + 1,
            int(j / _CELL_M) : int((j + wide) / _CELL_M) + 1,
        ] = True
    cos, sin = np.cos(yaw), np.sin(yaw)
    for p in range(xyz.shape[0]):
        x, y, z = xyz[p, 0], xyz[p, 1], xyz[p, 2]
        if not (low_x <= x <= high_x and low_y <= y <= high_y):
            continue
        if not near[int((x - low_x) / _CELL_M), int((y - low_y) / _CELL_M)]:
            continue
        for k in range(boxes):
            ax, ay = x - centre[k, 0], y - centre[k, 1]
            if abs(ax) > reach[k] or abs(ay) > reach[k] or abs(z - centre[k, 2]) > half[k, 2]:
                continue
            if abs(cos[k] * ax + sin[k] * ay) > half[k, 0]:
                continue
            if abs(cos[k] * ay - sin[k] * ax) > half[k, 1]:
                continue
            if count == box_of.size:
                box_of = np.concatenate((box_of, np.empty(count, dtype=np.int64)))
                point_of = np.concatenate((point_of, np.empty(count, dtype=np.int64)))
            box_of[count], point_of[count] = k, p
            count += 1
    return box_of[:count], point_of[:count]


@numba.njit(cache=True)
def fit_box(
    xy: Array, viewer: Array, half: Array, start: Array, prior: Array, sure: float, most: float,
    steps: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Where a box of known size lies, from points on the sides that the sensor sees.

    Gauss-Newton on the distance of each point from the nearest side that faces the sensor, or
    from any side that it lies beyond. Errors have heavy tails that narrow as the box settles,
    and points inside count less than points outside: bodies are round, and no label's box cuts
    off what belongs to its object.

    Args:
        xy: points [n, 2].
        viewer: where the sensor was when it saw each, [n, 2].
        half: half of length and width [2].
        start: x, y, yaw [3] to begin from.
        prior: information [3] that `start` has of x, y and yaw.
        sure: information of one point of weight 1, 1/m2.
        most: points of one surface err alike: what all weigh together at most.
        steps: of Gauss-Newton, at most.

    Returns:
        x, y, yaw; the points' own information [3, 3] about them; and the sum of weights, and of
        distances squared by weight [2].
    """
    at = start.copy()
    info = np.zeros((3, 3))
    quality = np.zeros(2)
    wide = _WIDE
    for _ in range(steps):
        wide = max(1.0, wide * _NARROWER)
        right = _normal_equations(xy, viewer, half, at, wide, info, quality)
        factor = sure * min(1.0, most / max(quality[0], 1e-9))
        info *= factor
        system = info.copy()
        for k in range(3):
            system[k, k] += prior[k]
            right[k] = factor * right[k] + prior[k] * (start[k] - at[k])
        change = np.linalg.solve(system, right)
        at += change
        if wide == 1.0 and np.abs(change).max() < _CLOSE:
            break
    return at, info, quality


@numba.njit(cache=True)
def _normal_equations(
    xy: Array, viewer: Array, half: Array, at: Array, wide: float, info: Array, quality: Array
) -> Array:
    """Fills `info` [3, 3] and `quality` [2]; returns the right side [3]."""
    cos, sin = np.cos(at[2]), np.sin(at[2])
    info[:] = 0.0
    quality[:] = 0.0
    right = np.zeros(3)
    slope = np.empty(3)
    for p in range(xy.shape[0]):
        ax, ay = xy[p, 0] - at[0], xy[p, 1] - at[1]
        u, v = cos * ax + sin * ay, cos * ay - sin * ax
        out_u, out_v = abs(u) - half[0], abs(v) - half[1]
        if out_u > _BESIDE_M or out_v > _BESIDE_M:
            continue
        bx, by = viewer[p, 0] - at[0], viewer[p, 1] - at[1]
        s, t = cos * bx + sin * by, cos * by - sin * bx
        # A side seen at a flat angle tells next to nothing of where it is.
        flat = _FLAT * np.sqrt(s * s + t * t)
        sees_u, sees_v = abs(s) - half[0] > flat, abs(t) - half[1] > flat
        gap_u = (u if s > 0 else -u) - half[0]
        gap_v = (v if t > 0 else -v) - half[1]
        if out_u > 0 and out_u >= out_v:
            lengthwise, sign, gap = True, np.sign(u), out_u
        elif out_v > 0:
            lengthwise, sign, gap = False, np.sign(v), out_v
        elif sees_u and (not sees_v or abs(gap_u) < abs(gap_v)):
            lengthwise, sign, gap = True, np.sign(s), gap_u
        elif sees_v:
            lengthwise, sign, gap = False, np.sign(t), gap_v
        else:
            continue
        if gap > 0:
            weight = 1.0 / (1.0 + (gap / (wide * _OUT_M)) ** 2) ** 2
        else:
            weight = _IN_SHARE / (1.0 + (gap / (wide * _IN_M)) ** 2) ** 2
        if lengthwise:
            slope[0], slope[1], slope[2] = -sign * cos, -sign * sin, sign * v
        else:
            slope[0], slope[1], slope[2] = sign * sin, -sign * cos, -sign * u
        for i in range(3):
            for j in range(3):
                info[i, j] += weight * slope[i] * slope[j]
            right[i] -= weight * slope[i] * gap
        quality[0] += weight
        quality[1] += weight * gap * gap
    return right
