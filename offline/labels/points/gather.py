"""Which points are whose: each track's, cut out of the sweeps where its course says it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from kernels.lidar.objects import crop
from offline.labels.auto.planar import inverse, placed, turned
from offline.labels.auto.tracks import Course
from offline.labels.points.sweep import Sweep, Sweeps

_MARGIN_M, _MARGIN_SHARE = 0.3, 0.15
_GROUND_M, _GROUND_SHARE = 0.3, 0.2
_SECTORS = 360
_MOST = 400
"""Of one object in one frame; the surface is known well before."""


@dataclass(frozen=True, slots=True)
class ObjectPoints:
    """Of one track, n points by rising frame: `frame` int64 [n]; `xy_m` float64 [n, 2] in the
    world, at the frame's instant; `up_m` [n] over the box's bottom; `viewer_m` [n, 2]: where the
    sensor was in the world; `intensity` [n]. The ground is left out.
    """

    frame: Int64s
    xy_m: Float64s
    up_m: Float64s
    viewer_m: Float64s
    intensity: Float64s

    def __len__(self) -> int:
        return int(self.frame.size)

    def take(self, rows: Int64s | Bools) -> ObjectPoints:
        """The chosen points."""
        return ObjectPoints(
            self.frame[rows], self.xy_m[rows], self.up_m[rows], self.viewer_m[rows],
            self.intensity[rows],
        )  # fmt: skip


def gathered(
    courses: Sequence[Course], sweeps: Sweeps, poses: Float64s, nods: Sequence[Float64s]
) -> list[ObjectPoints]:
    """Points of each course, where there are any.

    Args:
        courses: in the world, of any classes.
        sweeps: of the clip's frames, in the sensor's frame.
        poses: `world_SE2_sensor` [frames, 3].
        nods: of the sensor [frames], as each course's class found them.
    """
    parts: list[list[ObjectPoints]] = [[] for _ in courses]
    first = np.array([course.first for course in courses], dtype=np.int64)
    last = first + np.array([course.seen.size for course in courses], dtype=np.int64)
    for frame in range(poses.shape[0]):
        present = np.flatnonzero((first <= frame) & (frame < last)).tolist()
        if not present:
            continue
        sweep = sweeps.get(frame)
        if sweep is None:
            continue
        here = [courses[k] for k in present]
        tilt = np.array([nods[k][frame] for k in present])
        for k, points in zip(
            present, _cut_out(here, tilt, frame, sweep, poses[frame]), strict=True
        ):
            parts[k].append(points)
    return [_joined(each) for each in parts]


def _cut_out(
    courses: Sequence[Course], tilt: Float64s, frame: int, sweep: Sweep, pose: Float64s
) -> list[ObjectPoints]:
    at = [frame - course.first for course in courses]
    world = np.stack([course.xy_m[k] for course, k in zip(courses, at, strict=True)])
    xy = placed(inverse(pose), world)
    # Each object where it was when the beam swept over it, seen from where the ego is now.
    speed = np.stack([course.velocity_m[k] for course, k in zip(courses, at, strict=True)])
    xy = xy + turned(speed, -pose[2]) * late_about(sweep, xy)[:, None]
    size = np.stack([course.size_m for course in courses])
    z = np.array([course.z_m[k] for course, k in zip(courses, at, strict=True)])
    z = z + tilt * np.hypot(xy[:, 0], xy[:, 1])
    yaw = np.array([course.yaw_rad[k] for course, k in zip(courses, at, strict=True)]) - pose[2]
    grown = size / 2 + np.minimum(_MARGIN_M + _MARGIN_SHARE * size, 1.0)
    box, point = crop(sweep.xyz_m, np.column_stack([xy, z]), yaw, grown)
    box, point = _owned(box, sweep.xyz_m[point, :2].astype(np.float64), point, xy, yaw, size)
    up = sweep.xyz_m[point, 2] - (z - size[:, 2] / 2)[box]
    solid = up > np.minimum(_GROUND_M, _GROUND_SHARE * size[:, 2])[box]
    box, point, up = box[solid], point[solid], up[solid]
    order = np.argsort(box, kind="stable")
    box, point, up = box[order], point[order], up[order]
    edges = np.searchsorted(box, np.arange(len(courses) + 1))
    result = []
    for (start, end), own in zip(pairwise(edges.tolist()), speed, strict=True):
        stride = -(-(end - start) // _MOST) or 1
        rows = slice(start, end, stride)
        seen = point[rows]
        xy_m = placed(pose, sweep.xyz_m[seen, :2].astype(np.float64))
        if sweep.late is not None:
            xy_m -= sweep.late[seen, None] * own
        result.append(ObjectPoints(
            np.full(seen.size, frame), xy_m, up[rows],
            np.tile(pose[:2], (seen.size, 1)), sweep.intensity[seen],
        ))  # fmt: skip
    return result


def late_about(sweep: Sweep, xy_m: Float64s) -> Float64s:
    """How many frames late the beam was in the directions of places [k, 2]: [k]."""
    if sweep.late is None:
        return np.zeros(xy_m.shape[0])
    sector = _sector(sweep.xyz_m[:, :2].astype(np.float64))
    count = np.bincount(sector, minlength=_SECTORS)
    mean = np.bincount(sector, sweep.late, _SECTORS) / np.maximum(count, 1)
    return np.asarray(mean[_sector(xy_m)])


def _sector(xy_m: Float64s) -> Int64s:
    turn = np.arctan2(xy_m[:, 1], xy_m[:, 0]) / (2 * np.pi) % 1.0
    return np.minimum((turn * _SECTORS).astype(np.int64), _SECTORS - 1)


def _owned(
    box: Int64s, at: Float64s, point: Int64s, xy: Float64s, yaw: Float64s, size: Float64s
) -> tuple[Int64s, Int64s]:
    """Pairs of which each point is in one: with the box that it lies deepest in."""
    away = at - xy[box]
    cos, sin = np.cos(yaw)[box], np.sin(yaw)[box]
    u, v = cos * away[:, 0] + sin * away[:, 1], cos * away[:, 1] - sin * away[:, 0]
    out = np.maximum(np.abs(u) - size[box, 0] / 2, np.abs(v) - size[box, 1] / 2)
    order = np.lexsort((out, point))
    chosen = order[np.flatnonzero(np.diff(point[order], prepend=-1))]
    return box[chosen], point[chosen]


def _joined(parts: Sequence[ObjectPoints]) -> ObjectPoints:
    none = ObjectPoints(
        np.zeros(0, dtype=np.int64), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), np.zeros(0)
    )
    every = [none, *parts]
    return ObjectPoints(
        np.concatenate([part.frame for part in every]),
        np.concatenate([part.xy_m for part in every]),
        np.concatenate([part.up_m for part in every]),
        np.concatenate([part.viewer_m for part in every]),
        np.concatenate([part.intensity for part in every]),
    )
