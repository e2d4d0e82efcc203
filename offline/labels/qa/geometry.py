"""One box of several annotators' boxes of the same object, however one of them may be off.

Centre: the geometric median, which a minority cannot pull away (breakdown point 1/2), by
Weiszfeld's iteration, distances rounded off at a millimetre so that it passes through points.
Size: the median of each side. Yaw: boxes look the same turned by half a turn, so first the axis,
as a Huber mean on the half circle from the circular median on; then front or back by the majority,
which with a tie is said to be undecided. (Weiszfeld 1937; Huber 1964; Fisher 1993.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Boxes, wrapped
from contracts.samples import Float64s

_ROUNDS = 500
_STILL_M = 1e-6
_ROUND_M = 1e-3
_HUBER_RAD = float(np.radians(5))
"""Deviation from which an annotator's axis counts by its side only, not by how far it is off."""


@dataclass(frozen=True, slots=True)
class Fused:
    """One box: `centre_m`, `size_m` float64 [3], `yaw_rad`; and how far the annotators' boxes lie
    from it at the median: centres in metres, sides as a ratio (0.1: a tenth), axes in radians.
    `front_decided` is false where as many saw front as back, then the first one's word is kept.
    """

    centre_m: Float64s
    size_m: Float64s
    yaw_rad: float
    front_decided: bool
    centre_spread_m: float
    size_spread: float
    axis_spread_rad: float


def fused(boxes: Boxes) -> Fused:
    """The consensus of at least one box, a row for each annotator. Raises `InputError`."""
    if not len(boxes):
        raise InputError("there is no box to fuse")
    centre = geometric_median(boxes.centre_m)
    size = np.median(boxes.size_m, axis=0)
    yaw, decided = fused_yaw(boxes.yaw_rad)
    return Fused(
        centre, size, yaw, decided,
        float(np.median(np.linalg.norm(boxes.centre_m - centre, axis=1))),
        float(np.median(np.abs(np.log(boxes.size_m / size)).max(axis=1))),
        float(np.median(np.abs(_off_axis(boxes.yaw_rad - yaw)))),
    )  # fmt: skip


def geometric_median(points_m: Float64s) -> Float64s:
    """The point [d] whose distances to points [n, d] have the least sum, to within a millimetre
    of that sum for each point. Of two points every point between is one; theirs is the middle.
    """
    here: Float64s = points_m.mean(axis=0)
    if len(points_m) <= 2:
        return here
    for _ in range(_ROUNDS):
        weight = 1 / np.sqrt(((points_m - here) ** 2).sum(axis=1) + _ROUND_M**2)
        there = (points_m * weight[:, None]).sum(axis=0) / weight.sum()
        step = float(np.linalg.norm(there - here))
        here = there
        if step < _STILL_M:
            break
    return here


def fused_yaw(yaw_rad: Float64s) -> tuple[float, bool]:
    """The heading of several [n], and whether the front is decided by a majority."""
    away = np.abs(_off_axis(yaw_rad[:, None] - yaw_rad[None])).sum(axis=1)
    axis = float(yaw_rad[int(np.argmin(away))])
    for _ in range(_ROUNDS):
        off = _off_axis(yaw_rad - axis)
        weight = np.minimum(1.0, _HUBER_RAD / np.maximum(np.abs(off), 1e-12))
        step = float((weight * off).sum() / weight.sum())
        axis += step
        if abs(step) < 1e-9:
            break
    forward = np.cos(yaw_rad - axis) >= 0
    votes = int(forward.sum()) * 2 - yaw_rad.size
    keeps = votes > 0 or (votes == 0 and bool(forward[0]))
    heading = wrapped(np.array([axis if keeps else axis + np.pi]))
    return float(heading[0]), votes != 0


def _off_axis(angle_rad: Float64s) -> Float64s:
    """Angles between axes, in (-pi/2, pi/2]."""
    return np.asarray(wrapped(2 * angle_rad) / 2)
