"""How far a lidar is turned about the vertical, by how standing things pass.

A vehicle that drives on sees what stands come toward it against its own motion. A lidar whose
yaw is not the declared one sees it come from the side: two sweeps some metres apart, brought
together by the poses, fit only where the sweep is turned by what the mount is off. One angle is
searched for, over all pairs of sweeps; what moves by itself fits at no angle and is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.spatial import KDTree

from contracts.geometry import apply_SE3, inverse_SE3
from contracts.samples import Float64s

_LOW_M, _HIGH_M = 0.5, 3.5
_NEAR_M, _FAR_M = 4.0, 40.0
_CELL_M = 0.25
_COLUMNS = np.array([100_000, 1])
_STEPS_M = (5.0, 20.0)
"""How far apart two sweeps are taken: less says little, more shows other things."""
_MOST_PAIRS = 10
_LEAST_POINTS, _LEAST_PAIRS = 150, 3
_SEARCH = ((np.deg2rad(4.0), np.deg2rad(0.5), 1.0), (np.deg2rad(0.6), np.deg2rad(0.1), 0.4))
"""Half width, step, and from where on a point is cut off in metres: coarse, then fine."""


@dataclass(frozen=True, slots=True)
class PosedSweep:
    """`points_m` float64 [n, 3] in the ego frame of its instant, by the declared mount;
    `world_SE3_ego` float64 [4, 4].
    """

    points_m: Float64s
    world_SE3_ego: Float64s


def yaw_off(sweeps: Sequence[PosedSweep], lidar_m: Float64s) -> float | None:
    """Radians to the left of the declared mount; None where the ego hardly moved, or nothing
    upright stands around, or the best angle lies at the end of what is searched.

    Args:
        lidar_m: where the lidar sits by its declared mount, float64 [3].
    """
    standing = [_standing(each.points_m) for each in sweeps]
    pairs = _pairs(sweeps, standing)
    if len(pairs) < _LEAST_PAIRS:
        return None
    trees = {one: KDTree(standing[one][:, :2]) for one, _ in pairs}
    found = 0.0
    for half, step, cut_m in _SEARCH:
        angles = found + np.arange(-half, half + step / 2, step)
        costs = np.zeros(angles.size)
        for one, two in pairs:
            one_SE3_two = inverse_SE3(sweeps[one].world_SE3_ego) @ sweeps[two].world_SE3_ego
            for k, angle in enumerate(angles.tolist()):
                moved = _turned(standing[two], lidar_m, angle)
                moved = _turned(apply_SE3(one_SE3_two, moved), lidar_m, -angle)
                gap, _ = trees[one].query(moved[:, :2], distance_upper_bound=cut_m)
                costs[k] += float((np.minimum(gap, cut_m) ** 2).mean())
        best = int(costs.argmin())
        if best in (0, angles.size - 1):
            return None
        found = float(angles[best]) + step * _vertex(*costs[best - 1 : best + 2])
    return found


def _standing(points_m: Float64s) -> Float64s:
    """One point a cell of what stands up."""
    reach = np.hypot(points_m[:, 0], points_m[:, 1])
    kept = (points_m[:, 2] > _LOW_M) & (points_m[:, 2] < _HIGH_M)
    kept &= (reach > _NEAR_M) & (reach < _FAR_M)
    upright = points_m[kept]
    cells = np.floor(upright[:, :2] / _CELL_M).astype(np.int64)
    return np.asarray(upright[np.unique(cells @ _COLUMNS, return_index=True)[1]])


def _pairs(sweeps: Sequence[PosedSweep], standing: Sequence[Float64s]) -> list[tuple[int, int]]:
    """Pairs that lie well apart, evenly over the clip."""
    least, most = _STEPS_M
    found = [
        (one, two) for one, two in combinations(range(len(sweeps)), 2)
        if least <= _apart_m(sweeps[one], sweeps[two]) <= most
        and min(len(standing[one]), len(standing[two])) >= _LEAST_POINTS
    ]  # fmt: skip
    if len(found) <= _MOST_PAIRS:
        return found
    return [found[k] for k in np.linspace(0, len(found) - 1, _MOST_PAIRS).astype(int).tolist()]


def _apart_m(one: PosedSweep, two: PosedSweep) -> float:
    return float(np.linalg.norm(one.world_SE3_ego[:2, 3] - two.world_SE3_ego[:2, 3]))


def _turned(points_m: Float64s, about_m: Float64s, angle_rad: float) -> Float64s:
    """Turned to the left about the vertical through a place."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray((points_m - about_m) @ turn.T + about_m)


def _vertex(before: float, at: float, after: float) -> float:
    """Where a parabola through three costs is least, in steps from the middle one."""
    bend = before - 2 * at + after
    return 0.5 * (before - after) / bend if bend > 0 else 0.0
