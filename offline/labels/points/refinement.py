"""Courses made better by what lidar points say of each object's box.

Where the box lies: what stands in a world that is known is fitted once, to all points of the
clip; what moves, or whose world is an estimate, in each frame by itself. Boxes that were
detected, points and the motion's own stiffness are weighed against each other by how sure each
is; where points say little, the course stays what the smoother made of the boxes. Then the size,
from the frames that show it best; and all of it once more from there. Heights stay the boxes'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.kinds import MODEL_CLASSES
from offline.labels.auto.parameters import ClassParameters
from offline.labels.auto.smoothing import faced, smoothed_axis
from offline.labels.auto.tracks import Course, Sightings, anchored_xy, noise_of
from offline.labels.points.fusion import fused
from offline.labels.points.gather import ObjectPoints
from offline.labels.points.registration import (
    BODIES,
    LEAST_POINTS,
    Body,
    Registered,
    fitted,
    registered,
    unbiased,
    upright,
)
from offline.labels.points.sizes import seen_size

_BODY = (0.15, 0.75)
"""Which part of a vehicle's height its box's sides are at."""
_ROUNDS = 2
_WHOLE = 3000
_VIEWS = 4.0
_ONE_PLACE_M = 0.4


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one track is known by: its boxes, their course, and its points."""

    track: Sightings
    course: Course
    points: ObjectPoints


def improved(
    evidence: Evidence, parameters: ClassParameters, poses: Float64s, known_world: bool
) -> Course:
    """The course with what the points add.

    Args:
        evidence: of one track.
        parameters: of its class.
        poses: `world_SE2_sensor` [frames, 3].
        known_world: whether the sensor's poses are known, so that what stands is one place.
    """
    course, points = evidence.course, evidence.points
    if len(points) < LEAST_POINTS:
        return course
    body = BODIES[MODEL_CLASSES[parameters.class_name]]
    if body.has_sides:
        points = points.take(_at_body_height(points, course))
    track, boxes, size = evidence.track, course.xy_m, course.size_m
    noise = noise_of(track, parameters.association, course.motion)
    whole_noise = float((noise**-2.0).sum() ** -0.5)
    viewer = poses[course.first : course.first + boxes.shape[0], :2]
    for _ in range(_ROUNDS):
        one_place = (
            body.depth is None
            and known_world
            and np.hypot(*np.ptp(course.xy_m, axis=0)) < _ONE_PLACE_M
        )
        told = _all_at_once(points, course, body) if one_place else None
        stands = told is not None
        if told is None and body.depth is not None:
            told = upright(points, course, body.depth)
        elif told is None:
            told = registered(
                points, course.first, course.xy_m, course.yaw_rad, course.size_m, body
            )
        if body.depth is None:
            told = unbiased(told, boxes, viewer, whole_noise, body)
        course = _fused(track, course, told, noise)
        if body.has_sides:
            as_boxes = replace(course, size_m=size)
            course = replace(course, size_m=seen_size(points, as_boxes, stands))
    return course


def _at_body_height(points: ObjectPoints, course: Course) -> Bools:
    low, high = (share * course.size_m[2] for share in _BODY)
    return np.asarray((points.up_m >= low) & (points.up_m <= high))


def _all_at_once(points: ObjectPoints, course: Course, body: Body) -> Registered | None:
    """One place for the whole clip; every frame with points tells its share of it."""
    count = course.yaw_rad.size
    if len(points) < LEAST_POINTS:
        return None
    middle = count // 2
    some = points.take(np.arange(0, len(points), 1 + len(points) // _WHOLE))
    views = min(_VIEWS, float(np.unique(points.frame).size))
    start = np.array([*course.xy_m[middle], course.yaw_rad[middle]])
    told = fitted(some.xy_m, some.viewer_m, course.size_m, start, views, body)
    if told is None:
        return None
    (place, info), (yaw, yaw_info) = told
    result = Registered(
        course.xy_m.copy(), np.zeros((count, 2, 2)), course.yaw_rad.copy(), np.zeros(count)
    )
    rows = np.unique(points.frame) - course.first
    result.xy_m[rows], result.xy_info[rows] = place, info / rows.size
    result.yaw_rad[rows], result.yaw_info[rows] = yaw, yaw_info / rows.size
    return result


def _fused(track: Sightings, course: Course, told: Registered, noise: Float64s) -> Course:
    motion = course.motion
    place: Int64s = track.frame - course.first
    count = course.yaw_rad.size
    anchored = anchored_xy(track, course.size_m, motion.anchor)
    boxes, boxes_info = np.zeros((count, 2)), np.zeros((count, 2, 2))
    boxes[place] = anchored
    boxes_info[place] = np.eye(2) / noise[:, None, None] ** 2
    xy = fused(
        [(boxes, boxes_info), (told.xy_m, told.xy_info)],
        motion.static_drift_m if course.is_static else motion.acceleration_m,
        "place" if course.is_static else "speed",
    )

    yaw_info = np.zeros(count)
    yaw_info[place] = np.maximum(track.probability, 0.05) / motion.yaw_noise_rad**2
    seen_yaw = course.yaw_rad.copy()
    seen_yaw[place] = _same_way(track.yaw_rad, course.yaw_rad[place])
    both = yaw_info + told.yaw_info
    turn = wrapped(told.yaw_rad - seen_yaw)
    mean = seen_yaw + np.where(both > 0, told.yaw_info / np.maximum(both, 1e-12), 0) * turn
    drift = motion.static_yaw_drift_rad if course.is_static else motion.yaw_drift_rad
    with np.errstate(divide="ignore"):
        axis = smoothed_axis(mean, 1 / np.sqrt(both), drift)
    residual = course.residual_m.copy()
    residual[place] = np.hypot(*(xy[place] - anchored).T)
    return replace(
        course, xy_m=xy, yaw_rad=faced(axis, course.yaw_rad, np.ones(count)),
        velocity_m=np.gradient(xy, axis=0) if count > 1 else np.zeros((1, 2)), residual_m=residual,
    )  # fmt: skip


def _same_way(yaw_rad: Float64s, like_rad: Float64s) -> Float64s:
    """Headings [h] turned about where that brings them nearer to others."""
    turned = np.abs(wrapped(yaw_rad - like_rad)) > np.pi / 2
    return wrapped(yaw_rad + np.where(turned, np.pi, 0.0))
