"""Which of two axes a standing vehicle lies along: its points show it.

A detector may take the long side of what stands across the road for the short one, frame after
frame, so no vote of its boxes helps. Points of the whole clip lie on the sides that were seen of
the right box; a box turned by a right angle has them well inside it or outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from kernels.lidar.objects import crop, fit_box
from offline.labels.auto.planar import inverse, placed, turned
from offline.labels.auto.tracks import Course, Sightings
from offline.labels.points.registration import Body
from offline.labels.points.sweep import Sweeps

_AROUND_M, _OWN_M = 0.4, 0.1
_HEIGHTS = (0.2, 0.8)
_MOST_IN_FRAME, _MOST, _LEAST = 200, 2000, 10
_LOOSE_M, _LOOSE_RAD, _ALIKE, _STEPS = 0.5, 0.1, 48.0, 12
_FAR_M, _FAR_RAD = 1.5, 0.4
_MOST_OFF_M = 0.3
_BETTER_M = 0.02
_ACROSS = 0.7
_DRIVES_M = 0.15
_ONE_PLACE_M = 1.0


def righted(
    tracks: Sequence[Sightings], courses: Sequence[Course], sweeps: Sweeps, poses: Float64s,
    body: Body,
) -> tuple[list[Sightings], list[Course]]:  # fmt: skip
    """Tracks and courses, those turned by a right angle whose points, or whose way, say so.

    Args:
        tracks: of one class, in a world that is known.
        courses: of each.
        sweeps: of the clip's frames, in the sensor's frame.
        poses: `world_SE2_sensor` [frames, 3].
        body: of the class; one without sides has no axis that points could tell.
    """
    turns = [_against_course(course) for course in courses]
    if body.has_sides:
        standing = [k for k, course in enumerate(courses) if _stays(course)]
        points = _around(courses, sweeps, poses)
        for k in standing:
            turns[k] = _lies_across(courses[k], *points[k], body)
    both = [
        _turned(track, course) if turn else (track, course)
        for track, course, turn in zip(tracks, courses, turns, strict=True)
    ]
    return [track for track, _ in both], [course for _, course in both]


def _stays(course: Course) -> bool:
    return course.is_static or bool(np.hypot(*np.ptp(course.xy_m, axis=0)) < _ONE_PLACE_M)


def _against_course(course: Course) -> bool:
    """Whether a thing that drives lies across its way for most of it."""
    drives = np.hypot(*course.velocity_m.T) > _DRIVES_M
    if _stays(course) or not drives.any():
        return False
    way = np.arctan2(course.velocity_m[drives, 1], course.velocity_m[drives, 0])
    return bool(np.median(np.abs(np.sin(course.yaw_rad[drives] - way))) > _ACROSS)


def _around(
    courses: Sequence[Course], sweeps: Sweeps, poses: Float64s
) -> list[tuple[Float64s, Float64s]]:
    """Points [n, 2] in the world within reach of either axis of each course, but for those in
    another one's box; and where the sensor saw each from [n, 2].
    """
    none = np.zeros((0, 2))
    parts: list[list[tuple[Float64s, Float64s]]] = [[(none, none)] for _ in courses]
    first = np.array([course.first for course in courses], dtype=np.int64)
    last = first + np.array([course.seen.size for course in courses], dtype=np.int64)
    for frame in range(poses.shape[0]):
        present = np.flatnonzero((first <= frame) & (frame < last)).tolist()
        sweep = sweeps.get(frame) if present else None
        if sweep is None:
            continue
        here = [courses[k] for k in present]
        world = np.stack([course.xy_m[frame - course.first] for course in here])
        size = np.stack([course.size_m for course in here])
        z = np.array([course.z_m[frame - course.first] for course in here])
        yaw = np.array([course.yaw_rad[frame - course.first] for course in here])
        bottom, low, high = z - size[:, 2] / 2, _HEIGHTS[0] * size[:, 2], _HEIGHTS[1] * size[:, 2]
        reach = size[:, :2].max(axis=1) / 2 + _AROUND_M
        centre = np.column_stack([placed(inverse(poses[frame]), world), bottom + (low + high) / 2])
        half = np.column_stack([reach, reach, (high - low) / 2])
        box, point = crop(sweep.xyz_m, centre, yaw - poses[frame, 2], half)
        slim = np.column_stack([size[:, :2] / 2 + _OWN_M, half[:, 2]])
        free = ~_of_others(box, point, crop(sweep.xyz_m, centre, yaw - poses[frame, 2], slim))
        box, point = box[free], point[free]
        at = placed(poses[frame], sweep.xyz_m[point, :2].astype(np.float64))
        away = np.abs(turned(at - world[box], -yaw[box])) - _AROUND_M
        long, wide = size[box, :2].max(axis=1) / 2, size[box, :2].min(axis=1) / 2
        cross = (away.min(axis=1) < wide) & (away.max(axis=1) < long)
        box, at = box[cross], at[cross]
        for k, part in enumerate(parts[each] for each in present):
            own = at[box == k]
            own = own[:: 1 + own.shape[0] // _MOST_IN_FRAME]
            part.append((own, np.tile(poses[frame, :2], (own.shape[0], 1))))
    return [
        (np.concatenate([xy for xy, _ in part]), np.concatenate([seen for _, seen in part]))
        for part in parts
    ]


def _of_others(box: Int64s, point: Int64s, own: tuple[Int64s, Int64s]) -> Bools:
    """Which pairs are of a point that lies in other boxes only."""
    most = 1 + int(point.max(initial=0))
    mine = np.isin(box * most + point, own[0] * most + own[1])
    return np.isin(point, own[1]) & ~mine


def _lies_across(course: Course, xy_m: Float64s, viewer_m: Float64s, body: Body) -> bool:
    if xy_m.shape[0] < _LEAST:
        return False
    some = slice(None, None, 1 + xy_m.shape[0] // _MOST)
    xy_m, viewer_m = xy_m[some], viewer_m[some]
    middle = course.yaw_rad.size // 2
    half = course.size_m[:2] / 2
    along, across = (
        _distance(xy_m, viewer_m, half, np.array([*course.xy_m[middle], yaw]), body)
        for yaw in (course.yaw_rad[middle], course.yaw_rad[middle] + np.pi / 2)
    )
    return along - across > _BETTER_M


def _distance(
    xy_m: Float64s, viewer_m: Float64s, half: Float64s, start: Float64s, body: Body
) -> float:
    """How far points are from the sides of the best box about one [x, y, yaw], on average, m."""
    prior = np.array([_LOOSE_M, _LOOSE_M, _LOOSE_RAD]) ** -2.0
    at, _, _ = fit_box(xy_m, viewer_m, half, start, prior, body.surface_m**-2.0, _ALIKE, _STEPS)
    if not np.hypot(*(at - start)[:2]) < _FAR_M or not abs(at[2] - start[2]) < _FAR_RAD:
        at = start
    turn = np.full(xy_m.shape[0], -at[2])
    local, viewer = turned(xy_m - at[:2], turn), turned(viewer_m - at[:2], turn)
    beyond = np.abs(local) - half
    outside = np.hypot(*np.maximum(beyond, 0).T)
    # From within, to the nearer one of the sides that the sensor sees.
    sees = np.abs(viewer) > half
    depth = np.where(sees, half - np.sign(viewer) * local, np.inf).min(axis=1)
    away = np.where((beyond <= 0).all(axis=1), depth, outside)
    return float(np.minimum(away, _MOST_OFF_M).mean())


def _turned(track: Sightings, course: Course) -> tuple[Sightings, Course]:
    """Turned by a right angle, facing as most of what was seen along that axis does."""
    axis = course.yaw_rad + np.pi / 2
    off = track.yaw_rad - axis[track.frame - course.first]
    seen = np.abs(np.sin(off)) < _ACROSS
    if (np.cos(off) * track.probability)[seen].sum() < 0:
        axis = axis + np.pi
        off = off - np.pi
    yaw = np.where(seen, track.yaw_rad, track.yaw_rad + np.pi / 2)
    return replace(track, yaw_rad=wrapped(yaw)), replace(course, yaw_rad=wrapped(axis))
