"""How high objects stand and reach, from points of the ground about them and of their tops.

A top lies between the highest point seen and where the next beam over it would have been, which
is as far up as the next beam below is down; on a roof both are next to nothing. Frames that tell
it finely decide, in so far as they are surer than the boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from contracts.geometry import Int64s
from contracts.samples import Float64s
from kernels.lidar.objects import crop
from offline.labels.auto.planar import inverse, placed, turned
from offline.labels.auto.smoothing import smoothed
from offline.labels.auto.tracks import Course
from offline.labels.points.gather import late_about
from offline.labels.points.sweep import Sweep, Sweeps

_AROUND_M, _BELOW_M, _BESIDE_M = 1.5, 0.5, 0.1
_GROUND_M, _GROUND_POINTS = 0.25, 5
_GROUND_NOISE_M, _GROUND_STEP_M = 0.05, 0.01
_BODY_M, _WITHIN_M, _COLUMN_RAD = 0.35, 0.05, 0.008
_COLUMNS = 1000
_BEAM_RAD = 0.0035
_LEAST_COLUMNS, _LEAST_FRAMES = 3, 3
_BOXES_SHARE, _FLOOR_M = 0.1, 0.03
_FINE_SHARE, _FINE_M = 1.5, 0.05
_HIGH, _LOW = 0.9, 0.1
_GROWN = 0.35
_TALLER, _LOWER = 1.15, 0.8


@dataclass(slots=True)
class _Told:
    """Of one course, by place in it: `ground` over its boxes' bottom; `top` over it, and `gap` to
    the next beam.
    """

    ground: dict[int, float] = field(default_factory=dict)
    top: dict[int, tuple[float, float]] = field(default_factory=dict)


def stood(
    courses: Sequence[Course], sweeps: Sweeps, poses: Float64s, nods: Float64s
) -> list[Course]:
    """The courses on the ground that points show, as high as points show them to be.

    Args:
        courses: in the world, of one class.
        sweeps: of the clip's frames, in the sensor's frame.
        poses: `world_SE2_sensor` [frames, 3].
        nods: of the sensor [frames], as the courses' class found them.
    """
    told = [_Told() for _ in courses]
    first = np.array([course.first for course in courses], dtype=np.int64)
    last = first + np.array([course.seen.size for course in courses], dtype=np.int64)
    for frame in range(poses.shape[0]):
        present = np.flatnonzero((first <= frame) & (frame < last)).tolist()
        sweep = sweeps.get(frame) if present else None
        if sweep is not None:
            here = [courses[k] for k in present]
            tilt = float(nods[frame])
            _look(here, [told[k] for k in present], tilt, frame, sweep, poses[frame])
    return [_raised(course, each) for course, each in zip(courses, told, strict=True)]


def _look(
    courses: Sequence[Course], told: Sequence[_Told], tilt: float, frame: int, sweep: Sweep,
    pose: Float64s,
) -> None:  # fmt: skip
    at = [frame - course.first for course in courses]
    pairs = list(zip(courses, at, strict=True))
    xy = placed(inverse(pose), np.stack([course.xy_m[k] for course, k in pairs]))
    speed = np.stack([course.velocity_m[k] for course, k in pairs])
    xy = xy + turned(speed, -pose[2]) * late_about(sweep, xy)[:, None]
    size = np.stack([course.size_m for course in courses])
    z = np.array([course.z_m[k] for course, k in pairs]) + tilt * np.hypot(xy[:, 0], xy[:, 1])
    yaw = np.array([course.yaw_rad[k] for course, k in pairs]) - pose[2]
    bottom, up = z - size[:, 2] / 2, (1 + _GROWN) * size[:, 2]
    centre = np.column_stack([xy, bottom + (up - _BELOW_M) / 2])
    half = np.column_stack([size[:, :2] / 2 + _AROUND_M, (up + _BELOW_M) / 2])
    box, point = crop(sweep.xyz_m, centre, yaw, half)
    seen = sweep.xyz_m[point].astype(np.float64)
    over = seen[:, 2] - bottom[box]
    out = np.abs(turned(seen[:, :2] - xy[box], -yaw[box])) - size[box, :2] / 2
    within = (out < -_WITHIN_M).all(axis=1) & (over > np.minimum(_BODY_M, 0.3 * size[box, 2]))
    # Beside it only: under it are its own sills.
    ground = (np.abs(over) < _GROUND_M) & (out > _BESIDE_M).any(axis=1)
    column = np.floor(np.arctan2(seen[:, 1], seen[:, 0]) / _COLUMN_RAD).astype(np.int64)
    for k, (own, place) in enumerate(zip(told, at, strict=True)):
        mine = box == k
        low = over[mine & ground]
        if low.size >= _GROUND_POINTS:
            own.ground[place] = float(np.median(low))
        away = float(np.hypot(*xy[k]))
        top = _top(over[mine & within], column[mine & within], _BEAM_RAD * away)
        if top is not None:
            own.top[place] = top


def _top(over: Float64s, column: Int64s, beam_m: float) -> tuple[float, float] | None:
    """The highest point but one column's, and how far below it that column's next beam is; beams
    are `beam_m` apart at least.
    """
    order = np.lexsort((-over, column))
    over, column = over[order], column[order]
    first = np.flatnonzero(np.diff(column, prepend=-_COLUMNS) != 0)
    if first.size < _LEAST_COLUMNS:
        return None
    best = first[np.argsort(-over[first])[1]]
    below = over[(column == column[best]) & (over < over[best] - beam_m)]
    return (float(over[best]), float(over[best] - below[0])) if below.size else None


def _raised(course: Course, told: _Told) -> Course:
    count, size = course.seen.size, course.size_m.copy()
    ground = np.zeros(count)
    if len(told.ground) >= _LEAST_FRAMES:
        noise = np.full(count, np.inf)
        places = np.array(list(told.ground), dtype=np.int64)
        ground[places], noise[places] = list(told.ground.values()), _GROUND_NOISE_M
        ground = smoothed(ground[:, None], noise, _GROUND_STEP_M, "place")[:, 0]
    height = _height(told, ground)
    # What is over a box by much is not its own, and what lacks much of it is hidden.
    if height is not None and _LOWER < height[0] / size[2] < _TALLER:
        tall, spread = height
        boxes, points = (_BOXES_SHARE * size[2]) ** -2.0, spread**-2.0
        size[2] = (boxes * size[2] + points * tall) / (boxes + points)
    bottom = course.z_m - course.size_m[2] / 2 + ground
    return replace(course, z_m=bottom + size[2] / 2, size_m=size)


def _height(told: _Told, ground: Float64s) -> tuple[float, float] | None:
    """Of the object, m, and its standard deviation."""
    if len(told.top) < _LEAST_FRAMES:
        return None
    places = np.array(list(told.top), dtype=np.int64)
    top, gap = np.array(list(told.top.values())).T
    fine = gap <= _FINE_SHARE * np.quantile(gap, _LOW) + _FINE_M
    if fine.sum() < _LEAST_FRAMES:
        return None
    top, gap = (top - ground[places])[fine], gap[fine]
    low = float(np.quantile(top, _HIGH))
    high = max(low, float(np.quantile(top + gap, _LOW)))
    return (low + high) / 2, float(np.hypot(_FLOOR_M, (high - low) / np.sqrt(12)))
