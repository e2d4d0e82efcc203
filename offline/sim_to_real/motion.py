"""How a vehicle moved from sweep to sweep, where a recording does not tell: what stands is laid
over itself (iterative closest points in the plane, Besl and McKay 1992), begun from the step
before. Good enough to lay three sweeps over each other; over a whole drive it would drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.spatial import KDTree

from contracts.errors import InputError
from contracts.samples import Float64s
from offline.labels.auto.planar import composed, placed

_LOW_M, _HIGH_M, _NEAR_M, _FAR_M = 0.4, 3.0, 3.0, 50.0
_CELL_M = 0.3
_COLUMNS = np.array([100_000, 1])
_GATES_M = (2.0,) * 10 + (1.0,) * 10 + (0.4,) * 10
_FIRST_STEPS_M = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Where a first step is looked for: ahead, up to 20 m/s at ten sweeps a second."""
_LEAST = 50


def planar_course(ego_sweeps_m: Sequence[Float64s]) -> Float64s:
    """Poses (x, y, yaw) float64 [sweeps, 3], the first of all zeros.

    Args:
        ego_sweeps_m: points [n, 3] of the ego frame of each sweep.

    Raises `InputError` where too little stands around.
    """
    standing = [_standing(each) for each in ego_sweeps_m]
    poses, step = [np.zeros(3)], np.zeros(3)
    for number, (before, now) in enumerate(pairwise(standing)):
        if min(len(before), len(now)) < _LEAST:
            raise InputError(f"too little stands around in sweep {number}: its motion is unknown")
        tree = KDTree(before)
        begins = [step] if number else [np.array([x, 0.0, 0.0]) for x in _FIRST_STEPS_M]
        step = min((_laid(tree, before, now, begin) for begin in begins), key=_by_cost)[0]
        poses.append(composed(poses[-1], step))
    return np.stack(poses)


def _by_cost(found: tuple[Float64s, float]) -> float:
    return found[1]


def _standing(points_m: Float64s) -> Float64s:
    """One place a cell of what stands up, [n, 2]."""
    reach = np.hypot(points_m[:, 0], points_m[:, 1])
    kept = (points_m[:, 2] > _LOW_M) & (points_m[:, 2] < _HIGH_M)
    kept &= (reach > _NEAR_M) & (reach < _FAR_M)
    upright = points_m[kept, :2]
    cells = np.floor(upright / _CELL_M).astype(np.int64)
    return np.asarray(upright[np.unique(cells @ _COLUMNS, return_index=True)[1]])


def _laid(tree: KDTree, before: Float64s, now: Float64s, begin: Float64s
          ) -> tuple[Float64s, float]:  # fmt: skip
    """The step that lays `now` over `before`, and how badly it does."""
    step = begin
    for gate in _GATES_M:
        gap, nearest = tree.query(placed(step, now), distance_upper_bound=gate)
        held = np.isfinite(gap)
        if held.sum() < _LEAST:
            return step, float("inf")
        step = _rigid(now[held], before[nearest[held]])
    gap, _ = tree.query(placed(step, now), distance_upper_bound=_GATES_M[-1])
    return step, float(np.minimum(gap, _GATES_M[-1]).mean())


def _rigid(one: Float64s, two: Float64s) -> Float64s:
    """The motion (x, y, yaw) that brings points onto others best (Kabsch, in the plane)."""
    from_middle, to_middle = one.mean(axis=0), two.mean(axis=0)
    a, b = one - from_middle, two - to_middle
    yaw = float(np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum()))
    turned = placed(np.array([0.0, 0.0, yaw]), from_middle[None])[0]
    return np.array([*(to_middle - turned), yaw])
