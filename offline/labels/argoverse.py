"""Logs of Argoverse 2: annotations, ego poses and sweeps, as the labeller takes them.

Everything is told in a levelled ego frame: the ego frame turned and moved so that its x and y
axes are horizontal and its height is that of a world whose origin lies under the log's first
pose. A planar pose then leads to that world exactly, and what stands there stands still.

Only what the taxonomy has a word for is an object here: bollards, cones, barriers and strollers
are left out. Sweeps are published with the vehicle's motion already taken out.
(Wilson et al. 2021, Argoverse 2; av2-api.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s, apply_SE3, flat_SE3, wrapped, yaw_of
from contracts.samples import Float64s
from kernels.lidar.objects import crop
from offline.labels.kitti import CLASSES, TrackedBoxes
from offline.labels.points.deskew import Trajectory
from offline.labels.points.sweep import Sweep

CLASS_OF = {
    "REGULAR_VEHICLE": "Car", "LARGE_VEHICLE": "Truck", "BOX_TRUCK": "Truck", "TRUCK": "Truck",
    "TRUCK_CAB": "Truck", "VEHICULAR_TRAILER": "Truck", "BUS": "Bus", "SCHOOL_BUS": "Bus",
    "ARTICULATED_BUS": "Bus", "RAILED_VEHICLE": "Tram", "PEDESTRIAN": "Pedestrian",
    "OFFICIAL_SIGNALER": "RoadWorker", "BICYCLE": "Cyclist", "BICYCLIST": "Cyclist",
    "WHEELED_RIDER": "Cyclist", "MOTORCYCLE": "Motorcycle", "MOTORCYCLIST": "Motorcycle",
    "DOG": "Animal", "ANIMAL": "Animal",
}  # fmt: skip
"""Of `kitti.CLASSES`, by the log's category."""
_POSE = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
_BESIDE_M = 0.3
_SIZE = ("length_m", "width_m", "height_m")


@dataclass(frozen=True, slots=True)
class ArgoverseLog:
    """`stamp_ns` int64 [frames] of the annotated sweeps; `truth` boxes in the levelled ego frame;
    `interior_points` int64 [n] of each, as annotated; `level_SE3_ego` float64 [frames, 4, 4];
    `world_SE2_level` float64 [frames, 3]; `trajectory` of the ego frame in the world;
    `sweep_files` by frame.
    """

    stamp_ns: Int64s
    truth: TrackedBoxes
    interior_points: Int64s
    level_SE3_ego: Float64s
    world_SE2_level: Float64s
    trajectory: Trajectory
    sweep_files: dict[int, Path]

    @property
    def frames(self) -> int:
        return int(self.stamp_ns.size)

    def get(self, frame: int, /) -> Sweep | None:
        """As `Sweeps.get`, in the levelled ego frame."""
        path = self.sweep_files.get(frame)
        if path is None:
            return None
        raw = read_sweep(path)
        return Sweep(apply_SE3(self.level_SE3_ego[frame], raw.xyz_m), raw.intensity)

    def covered(self, frame: int) -> Bools:
        """Which points of the frame's sweep lie in or beside an annotated box, as read: [n]."""
        raw = read_sweep(self.sweep_files[frame])
        here = self.truth.take(self.truth.frame == frame)
        level = apply_SE3(self.level_SE3_ego[frame], raw.xyz_m)
        half = here.size_m / 2 + _BESIDE_M
        _, point = crop(level, here.centre_m, here.yaw_rad, half)
        result: Bools = np.zeros(raw.laser.size, dtype=np.bool_)
        result[point] = True
        return result


def read_log(folder: Path) -> ArgoverseLog:
    """Raises `InputError` with the file."""
    path = folder / "city_SE3_egovehicle.feather"
    table = _table(path, ("timestamp_ns", *_POSE))
    pose_ns, order = np.unique(_whole(table, "timestamp_ns"), return_index=True)
    if pose_ns.size < 2:
        raise InputError("has fewer than two poses", str(path))
    city = _transforms(table)[order]
    origin = city[0, :3, 3].copy()
    city[:, :3, 3] -= origin
    trajectory = Trajectory(pose_ns, city)

    path = folder / "annotations.feather"
    names = ("timestamp_ns", "track_uuid", "category", *_SIZE, *_POSE, "num_interior_pts")
    table = _table(path, names)
    every_ns = _whole(table, "timestamp_ns")
    stamps = np.unique(every_ns)
    if not stamps.size:
        raise InputError("has no annotation", str(path))
    world_SE3_ego = trajectory.at(stamps)
    planar = np.stack([
        np.array([pose[0, 3], pose[1, 3], yaw_of(pose)]) for pose in world_SE3_ego
    ])  # fmt: skip
    level = np.stack([
        flat_SE3(0.0, 0.0, -turn) @ flat_SE3(-x, -y, 0.0) @ pose
        for pose, (x, y, turn) in zip(world_SE3_ego, planar, strict=True)
    ])  # fmt: skip
    truth, rows = _boxes(table, np.searchsorted(stamps, every_ns), level)
    sweeps = {
        int(np.searchsorted(stamps, int(each.stem))): each
        for each in sorted((folder / "sensors" / "lidar").glob("*.feather"))
        if each.stem.isdecimal() and int(each.stem) in set(stamps.tolist())
    }
    inside = _whole(table, "num_interior_pts")[rows]
    return ArgoverseLog(stamps, truth, inside, level, planar, trajectory, sweeps)


@dataclass(frozen=True, slots=True)
class RawSweep:
    """`xyz_m` float64 [n, 3] in the ego frame at the sweep's stamp; `intensity` float64 [n] in
    0..1; `offset_ns` int64 [n] from the stamp to when each point was taken; `laser` int64 [n]:
    0..31 of the upper sensor, 32..63 of the lower.
    """

    xyz_m: Float64s
    intensity: Float64s
    offset_ns: Int64s
    laser: Int64s


def read_sweep(path: Path) -> RawSweep:
    """Raises `InputError` with the file."""
    table = _table(path, ("x", "y", "z", "intensity", "laser_number", "offset_ns"))
    xyz = np.column_stack([_real(table, name) for name in ("x", "y", "z")])
    return RawSweep(
        xyz, _real(table, "intensity") / 255, _whole(table, "offset_ns"),
        _whole(table, "laser_number"),
    )  # fmt: skip


def _boxes(table: Any, frame: Int64s, level: Float64s) -> tuple[TrackedBoxes, Int64s]:
    category = table.column("category").to_pylist()
    kind = np.array([
        CLASSES.index(CLASS_OF[name]) if name in CLASS_OF else -1 for name in category
    ])  # fmt: skip
    uuids: Sequence[str] = table.column("track_uuid").to_pylist()
    number = {uuid: k for k, uuid in enumerate(sorted(set(uuids)))}
    rows = np.flatnonzero(kind >= 0)
    rows = rows[np.argsort(frame[rows], kind="stable")]
    at = level[frame[rows]] @ _transforms(table)[rows]
    n = rows.size
    track = np.array([number[uuids[k]] for k in rows.tolist()], dtype=np.int64)
    return TrackedBoxes(
        frame=frame[rows], kind=kind[rows], track_id=track,
        occlusion=np.zeros(n, dtype=np.int64), truncation=np.zeros(n), alpha_rad=np.zeros(n),
        box_px=np.zeros((n, 4)), centre_m=at[:, :3, 3],
        size_m=np.column_stack([_real(table, name)[rows] for name in _SIZE]),
        yaw_rad=wrapped(np.arctan2(at[:, 1, 0], at[:, 0, 0])), score=np.full(n, np.nan),
    ), rows  # fmt: skip


def _table(path: Path, names: Sequence[str]) -> Any:
    try:
        table = feather.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None
    lost = [name for name in names if name not in table.column_names]
    if lost:
        raise InputError(f"lacks {', '.join(lost)}", str(path))
    return table


def _real(table: Any, name: str) -> Float64s:
    return np.asarray(table.column(name).to_numpy()).astype(np.float64)


def _whole(table: Any, name: str) -> Int64s:
    return np.asarray(table.column(name).to_numpy()).astype(np.int64)


def _transforms(table: Any) -> Float64s:
    """Of unit quaternions and translations: [n, 4, 4]."""
    w, x, y, z, *place = (_real(table, name) for name in _POSE)
    result = np.tile(np.eye(4), (w.size, 1, 1))
    result[:, :3, 0] = np.column_stack([
        1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
    ])  # fmt: skip
    result[:, :3, 1] = np.column_stack([
        2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)
    ])  # fmt: skip
    result[:, :3, 2] = np.column_stack([
        2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)
    ])  # fmt: skip
    result[:, :3, 3] = np.column_stack(place)
    return result
