"""What stands around the ego car at one instant, in its own frame (x forward, y left, z up).

The ego frame's origin is on the ground under the rear axle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from edge_agent.sources.sim.actors import BUILDING, CAR, PEDESTRIAN, TRUCK
from edge_agent.sources.sim.drive import LANE_D_M, Drive

NEAR_M = 110.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Columns over the actors within `NEAR_M`: `row` in `Actors`, `kind`, centre on the ground
    `xy_m` [n, 2], `yaw_rad`, velocity relative to the ground `velocity_mps` [n, 2], `size_m`
    [n, 3], `colour` [n, 3]. `centre_line_m` is the road's centre, y at x = 0, 1, 2 ... m.
    """

    row: NDArray[np.int64]
    kind: NDArray[np.int64]
    xy_m: Float64s
    yaw_rad: Float64s
    velocity_mps: Float64s
    size_m: Float64s
    colour: Float64s
    centre_line_m: Float64s
    ego_s_m: float
    ego_mps: float
    ego_yaw_rate_radps: float


def scene_at(drive: Drive, index: int) -> Scene:
    """The surroundings at column `index` of the drive."""
    actors, road = drive.actors, drive.road
    t_s, ego_s = float(drive.t_s[index]), float(drive.s_m[index])
    s_m, d_m = actors.road_positions(t_s)
    s_m[0] = drive.lead_s_m[index]
    near = np.flatnonzero(np.abs(s_m - ego_s) < NEAR_M)
    s_m, d_m = s_m[near], d_m[near]
    ego_heading = float(road.heading_rad(np.array(ego_s)))
    origin_m = road.position_m(np.array(ego_s), np.array(LANE_D_M))
    cos, sin = np.cos(ego_heading), np.sin(ego_heading)
    ego_R_world = np.array([[cos, sin], [-sin, cos]])
    heading = road.heading_rad(s_m) - ego_heading
    along = actors.along_mps[near].copy()
    along[near == 0] = drive.lead_mps[index]
    across = np.where(
        np.abs(d_m - actors.d_end_m[near]) > 0.01,
        np.sign(actors.d_end_m[near] - d_m) * actors.across_mps[near],
        0.0,
    )
    across *= t_s > actors.across_from_s[near]
    velocity = np.stack(
        [
            along * np.cos(heading) - across * np.sin(heading),
            along * np.sin(heading) + across * np.cos(heading),
        ],
        axis=1,
    )
    ahead_m = np.arange(0.0, 140.0)
    line = (road.position_m(ego_s + ahead_m, np.zeros(140)) - origin_m) @ ego_R_world.T
    return Scene(
        near,
        actors.kind[near],
        (road.position_m(s_m, d_m) - origin_m) @ ego_R_world.T,
        heading + actors.yaw_rad[near],
        velocity,
        actors.size_m[near],
        actors.colour[near],
        np.interp(ahead_m, line[:, 0], line[:, 1]),
        ego_s,
        float(drive.speed_mps[index]),
        float(drive.speed_mps[index] * road.curvature_per_m(np.array(ego_s))),
    )


def _box(
    x0: float, x1: float, y0: float, y1: float, z0: float, z1: float, rgb: tuple[float, ...] | None
) -> list[float]:
    """A part as fractions of its actor's length, width and height; no colour: the actor's."""
    return [x0, x1, y0, y1, z0, z1, *(rgb or (-1.0, -1.0, -1.0))]


_DARK, _GLASS, _RED, _LAMP = (25.0, 25.0, 28.0), (45.0, 55.0, 65.0), (215.0, 30.0, 25.0), (
    245.0, 240.0, 215.0,
)  # fmt: skip
_PARTS: dict[int, NDArray[np.float64]] = {
    CAR: np.array(
        [
            *(
                _box(x, x + 0.15, y, y + 0.12, 0.0, 0.42, _DARK)
                for x in (-0.40, 0.25)
                for y in (-0.50, 0.38)
            ),
            _box(-0.50, 0.50, -0.50, 0.50, 0.16, 0.60, None),
            _box(-0.38, 0.20, -0.43, 0.43, 0.60, 0.94, _GLASS),
            _box(-0.34, 0.14, -0.42, 0.42, 0.94, 1.00, None),
            *(_box(-0.505, -0.49, y, y + 0.16, 0.42, 0.55, _RED) for y in (-0.48, 0.32)),
            *(_box(0.49, 0.505, y, y + 0.16, 0.38, 0.50, _LAMP) for y in (-0.48, 0.32)),
        ]
    ),
    TRUCK: np.array(
        [
            *(
                _box(x, x + 0.12, y, y + 0.14, 0.0, 0.30, _DARK)
                for x in (-0.42, -0.25, 0.30)
                for y in (-0.50, 0.36)
            ),
            _box(-0.50, 0.50, -0.35, 0.35, 0.14, 0.22, _DARK),
            _box(-0.50, 0.24, -0.50, 0.50, 0.22, 1.00, None),
            _box(0.28, 0.50, -0.48, 0.48, 0.14, 0.50, (170.0, 60.0, 45.0)),
            _box(0.28, 0.48, -0.46, 0.46, 0.50, 0.76, _GLASS),
            *(_box(-0.505, -0.495, y, y + 0.08, 0.15, 0.21, _RED) for y in (-0.48, 0.40)),
            *(_box(0.495, 0.505, y, y + 0.12, 0.18, 0.25, _LAMP) for y in (-0.46, 0.34)),
        ]
    ),
    PEDESTRIAN: np.array(
        [
            _box(-0.40, -0.02, -0.30, -0.05, 0.0, 0.48, (40.0, 45.0, 70.0)),
            _box(0.02, 0.40, 0.05, 0.30, 0.0, 0.48, (40.0, 45.0, 70.0)),
            _box(-0.35, 0.35, -0.50, 0.50, 0.46, 0.84, None),
            _box(-0.25, 0.25, -0.18, 0.18, 0.86, 1.00, (205.0, 160.0, 130.0)),
        ]
    ),
    BUILDING: np.array(
        [
            _box(-0.5, 0.5, -0.5, 0.5, 0.0, 1.0, None),
            *(
                _box(x, x + 0.1, -0.503, 0.503, z, z + 0.14, (70.0, 85.0, 105.0))
                for x in (-0.42, -0.18, 0.08, 0.32)
                for z in (0.18, 0.46, 0.74)
            ),
        ]
    ),
}


def cuboids_of(scene: Scene, kinds: tuple[int, ...]) -> tuple[Float64s, NDArray[np.int64]]:
    """Painted parts: rows of x, y, z centre, half sizes, yaw, R, G, B [m, 10] and their owner.

    `owner` [m] is the index of the actor in the scene.
    """
    rows, owners = [], []
    for i in range(scene.kind.size):
        kind = int(scene.kind[i])
        if kind not in kinds:
            continue
        parts = _PARTS[kind]
        length, width, height = scene.size_m[i]
        centre = (parts[:, 0:6:2] + parts[:, 1:6:2]) / 2 * (length, width, height)
        half = (parts[:, 1:6:2] - parts[:, 0:6:2]) / 2 * (length, width, height)
        yaw = float(scene.yaw_rad[i])
        cos, sin = np.cos(yaw), np.sin(yaw)
        out = np.empty((parts.shape[0], 10))
        out[:, 0] = scene.xy_m[i, 0] + cos * centre[:, 0] - sin * centre[:, 1]
        out[:, 1] = scene.xy_m[i, 1] + sin * centre[:, 0] + cos * centre[:, 1]
        out[:, 2] = centre[:, 2]
        out[:, 3:6] = half
        out[:, 6] = yaw
        out[:, 7:10] = np.where(parts[:, 6:] < 0, scene.colour[i], parts[:, 6:])
        rows.append(out)
        owners.append(np.full(parts.shape[0], i, dtype=np.int64))
    if not rows:
        return np.empty((0, 10)), np.empty(0, dtype=np.int64)
    return np.concatenate(rows), np.concatenate(owners)
