"""How a lidar is turned and raised, by the ground that it sees.

The ego frame stands on the ground (`contracts.geometry`), so the ground near the vehicle lies in
z = 0 where the declared mount is right. A plane through the road's points beside and under the
ego tells what is not: roll, pitch and height. What the body does on its springs (braking, load)
is in it too; over a clip braking averages out, load does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from contracts.geometry import Int64s
from contracts.samples import Float64s

BESIDE_M = 5.0
"""The road that the ego is on: further out lie kerbs and slopes."""
_NEAREST_M = 3.0
_FARTHEST_M = 25.0
_STAGES = (
    (6.0, 0.6), (6.0, 0.6), (8.0, 0.4), (8.0, 0.25), (12.0, 0.2), (18.0, 0.15),
    *((_FARTHEST_M, 0.12),) * 4,
)  # fmt: skip
"""Reach and half width of the robust fit, both in metres: from near and wide to far and narrow."""
_CELL_M, _COLUMNS = 1.0, 100_000
_LOW = 0.3
"""Of what lies around the vehicle so much is about as low as the road, whatever stands there."""
_LEAST_CELLS, _LEAST_SPREAD_M = 30, 1.0


@dataclass(frozen=True, slots=True)
class Tilt:
    """Beside the declared mount, in ego axes: `roll_rad` left side up, `pitch_rad` nose down, as
    a positive turn about x and about y; `height_m` how much higher the lidar sits.
    """

    roll_rad: float
    pitch_rad: float
    height_m: float

    def righted(self, ego_SE3_lidar: Float64s) -> Float64s:
        """The declared mount float64 [4, 4] with this taken into account."""
        mount = ego_SE3_lidar.copy()
        turn = Rotation.from_euler("xy", (self.roll_rad, self.pitch_rad)).as_matrix()
        mount[:3, :3] = turn @ mount[:3, :3]
        mount[2, 3] += self.height_m
        return mount


def ground_tilt(points_m: Float64s, lidar_m: Float64s) -> Tilt | None:
    """None where too little road is seen.

    Args:
        points_m: one sweep in the ego frame by the declared mount, float64 [n, 3]; each point as
            it was taken, since what is told to another instant by a tilted mount is bent.
        lidar_m: where the lidar sits by it, float64 [3].
    """
    away = points_m[:, :2] - lidar_m[:2]
    reach = np.hypot(away[:, 0], away[:, 1])
    beside = (np.abs(points_m[:, 1]) < BESIDE_M) & (reach > _NEAREST_M) & (reach < _FARTHEST_M)
    away, reach, height = away[beside], reach[beside], points_m[beside, 2]
    if not _enough(away):
        return None
    under = height[reach < _STAGES[0][0]]
    plane = np.array([np.quantile(under, _LOW) if under.size else 0.0, 0.0, 0.0])
    for most_m, width_m in _STAGES:
        off = height - plane[0] - away @ plane[1:]
        held = (reach < most_m) & (np.abs(off) < width_m)
        if not _enough(away[held]):
            return None
        trust = (1 - (off[held] / width_m) ** 2) ** 2 / _crowd(away[held])
        rows = np.column_stack([np.ones(trust.size), away[held]])
        weighted = rows * trust[:, None]
        plane = np.linalg.solve(weighted.T @ rows, weighted.T @ height[held])
    return Tilt(-float(np.arctan(plane[2])), float(np.arctan(plane[1])), -float(plane[0]))


def _crowd(away_m: Float64s) -> Float64s:
    """How many points share each one's cell: near rings are no more than far ones."""
    _, place, count = np.unique(_cells(away_m), return_inverse=True, return_counts=True)
    return np.asarray(count[place], dtype=np.float64)


def _cells(away_m: Float64s) -> Int64s:
    """The cell of each place, by number."""
    column, row = np.floor(away_m.T / _CELL_M).astype(np.int64)
    return np.asarray(column * _COLUMNS + row)


def _enough(away_m: Float64s) -> bool:
    """Whether a plane through these is settled both ways."""
    if len(away_m) < _LEAST_CELLS or (away_m.std(axis=0) < _LEAST_SPREAD_M).any():
        return False
    return np.unique(_cells(away_m)).size >= _LEAST_CELLS
