"""The oracle's truth as labels: what a perfect labeller would say of one instant.

A box is ignored where nobody could judge it: no lidar point lies in it, or less than
`MIN_VISIBILITY` of it shows. Cones have no class in the taxonomy and become ignored debris, so
that nobody learns that they are nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contracts.geometry import TAXONOMY, BevGrid, Boxes, apply_SE3
from contracts.labels import (
    EgoPose,
    FrameLabels,
    FrameRecord,
    LabelledBox,
    LightState,
    Provenance,
)
from contracts.samples import Float64s, LidarSample, MountSample
from sim_fleet.classes import KIND_NAMES, Kind
from sim_fleet.drivers.perceivers import signal_ahead
from sim_fleet.sensors.ground import GroundWindow
from sim_fleet.sensors.mounts import EgoMotion
from sim_fleet.world.lanes import resampled
from sim_fleet.world.oracle import OracleFrame
from sim_fleet.world.roadmap import AMBER, GREEN, RED

MIN_VISIBILITY = 0.05
ORACLE = Provenance(source="oracle", made_by="sim_fleet")
_LIGHTS: dict[int | None, LightState] = {None: "none", GREEN: "green", AMBER: "amber", RED: "red"}
_REACH_M = 80.0
_CLASS_OF = {
    kind: "debris" if kind == Kind.CONE else KIND_NAMES[kind] for kind in Kind
}  # fmt: skip


def labels_of(
    truth: OracleFrame,
    points_m: Float64s,
    window: GroundWindow,
    grid: BevGrid,
    *,
    drive_id: str,
    mono_ns: int,
    tags: Mapping[str, str],
) -> FrameLabels:
    """Labels of one instant.

    `points_m` [p, 3] are the instant's lidar returns in the ego frame; `window` the ground about
    the ego; `grid` where the ground is labelled.
    """
    near = np.hypot(truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1]) < _REACH_M
    rows = np.flatnonzero(near)
    boxes = Boxes(
        truth.centre_ego_m[rows], truth.size_m[rows], truth.yaw_ego_rad[rows],
        truth.velocity_ego_mps[rows],
        np.array([TAXONOMY.index(_CLASS_OF[Kind(k)]) for k in truth.kind[rows].tolist()], np.int64),
        truth.track_id[rows],
    )  # fmt: skip
    points = boxes.contain(points_m, 0.1).sum(axis=1) if rows.size else np.zeros(0, np.int64)
    shown = np.nan_to_num(truth.visibility[rows], nan=0.0)
    unjudged = (points == 0) | (shown < MIN_VISIBILITY) | (truth.kind[rows] == Kind.CONE)
    half = truth.ego.yaw_rad / 2
    record = FrameRecord(
        drive_id=drive_id, mono_ns=mono_ns,
        boxes=tuple(
            LabelledBox(box=box, visibility=float(share), points=int(count), ignored=bool(ignored))
            for box, share, count, ignored in zip(
                boxes.as_records(), shown, points, unjudged, strict=True
            )
        ),
        light=_LIGHTS[signal_ahead(truth)], ground_grid=grid,
        ego_pose=EgoPose(
            position_m=(truth.ego.x_m, truth.ego.y_m, 0.0),
            orientation_xyzw=(0.0, 0.0, float(np.sin(half)), float(np.cos(half))),
        ),
        provenance=ORACLE, tags=dict(tags),
    )  # fmt: skip
    return FrameLabels(record, ground_of(truth, window, grid))


def ground_of(truth: OracleFrame, window: GroundWindow, grid: BevGrid) -> NDArray[np.uint8]:
    """`drivable` and `lane` of `contracts.labels.GROUND_LAYERS`, uint8 [2, rows, columns]."""
    x, y = (part.ravel() for part in np.meshgrid(*grid.centres(), indexing="ij"))
    world_x, world_y = _in_world(np.stack([x, y], axis=1), truth.ego).T
    ground = np.zeros((2, grid.rows, grid.columns), dtype=np.uint8)
    ground[0] = window.drivable(world_x, world_y).reshape(grid.rows, grid.columns)
    reach_m = float(np.hypot(max(abs(grid.x_min_m), abs(grid.x_max_m)), abs(grid.y_min_m)))
    for line in truth.lanes_ego(reach_m):
        dense = resampled(line, grid.cell_m / 2)
        inside = dense[grid.inside(dense)]
        cells = grid.places(inside).astype(np.int64)
        ground[1, cells[:, 0], cells[:, 1]] = 1
    return ground


def _in_world(xy_m: Float64s, ego: EgoMotion) -> Float64s:
    cos, sin = np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)
    return np.asarray(xy_m @ np.array([[cos, sin], [-sin, cos]]) + (ego.x_m, ego.y_m))


def ego_points(sweep: LidarSample, mount: MountSample) -> Float64s:
    """Returns of a sweep in the ego frame of its end, float64 [p, 3]; motion is not undone."""
    return apply_SE3(mount.ego_SE3_sensor, sweep.xyz_m.astype(np.float64))
