"""Where an object's points put its box, frame by frame or in all frames at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from contracts.samples import Float64s
from kernels.lidar.objects import fit_box
from offline.labels.auto.planar import turned
from offline.labels.auto.tracks import Course
from offline.labels.points.gather import ObjectPoints

LEAST_POINTS = 6
_ALIKE = 12.0
"""As so many independent points all points of a frame count at most."""
_FLOOR_M, _FLOOR_RAD = 0.05, 0.01
_LOOSE_M, _LOOSE_RAD = 0.3, 0.06
_FAR_M, _FAR_RAD = 0.8, 0.3
_STEPS, _PASSES = 12, 2
_WEAK = 0.02
_ASIDE_M, _ENDS, _UPRIGHT_M = 0.25, (0.05, 0.95), 0.05


@dataclass(frozen=True, slots=True)
class Body:
    """How well a box describes a kind of object.

    `surface_m`: standard deviation of the surface's distance from the box that people would
    draw; `bias_m`: of what is common to all of one object's frames, seen along the line of
    sight; `has_sides`: whether its sides tell its heading; `depth`: of what is about as long as
    it is wide, how far its middle lies behind the mean of its points, as a share of its width.
    """

    surface_m: float
    bias_m: float
    has_sides: bool
    depth: float | None = None


BODIES = {
    "Car": Body(0.12, 0.05, True),
    "Pedestrian": Body(0.2, 0.3, False, 0.2),
    "Cyclist": Body(0.2, 0.3, False),
}
"""By model class (`kinds.MODEL_CLASSES`)."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What points tell of a course of t frames: `xy_m` float64 [t, 2] with information [t, 2, 2],
    `yaw_rad` [t] with information [t]; zeros where they tell nothing.
    """

    xy_m: Float64s
    xy_info: Float64s
    yaw_rad: Float64s
    yaw_info: Float64s


def registered(
    points: ObjectPoints, first: int, xy_m: Float64s, yaw_rad: Float64s, size_m: Float64s,
    body: Body,
) -> Registered:  # fmt: skip
    """Of each frame on its own.

    Args:
        points: of the object, by rising frame.
        first: frame of the course's first place.
        xy_m: the course [t, 2] to begin from.
        yaw_rad: [t].
        size_m: of the box, [3].
        body: its kind.
    """
    count = yaw_rad.size
    result = Registered(
        xy_m.copy(), np.zeros((count, 2, 2)), yaw_rad.copy(), np.zeros(count, dtype=np.float64)
    )
    edges = np.searchsorted(points.frame, np.arange(first, first + count + 1))
    for k in np.flatnonzero(np.diff(edges) >= LEAST_POINTS):
        rows = slice(int(edges[k]), int(edges[k + 1]))
        start = np.array([*xy_m[k], yaw_rad[k]])
        told = fitted(points.xy_m[rows], points.viewer_m[rows], size_m, start, 1.0, body)
        if told is None:
            continue
        (result.xy_m[k], result.xy_info[k]), (result.yaw_rad[k], result.yaw_info[k]) = told
    return result


def fitted(
    xy_m: Float64s, viewer_m: Float64s, size_m: Float64s, start: Float64s, views: float,
    body: Body,
) -> tuple[tuple[Float64s, Float64s], tuple[float, float]] | None:  # fmt: skip
    """Place [2] with information [2, 2], yaw with information, that points [n, 2] tell; None
    where they would have the box elsewhere altogether.

    Args:
        xy_m: of the points, [n, 2].
        viewer_m: where the sensor saw each from, [n, 2].
        size_m: of the box.
        start: x, y, yaw [3].
        views: as how many frames the points count.
        body: its kind.
    """
    prior = np.array([_LOOSE_M, _LOOSE_M, _LOOSE_RAD]) ** -2.0
    at, far = start, start
    # Begun anew from where it came to, so that where it began is forgotten.
    for _ in range(_PASSES):
        far = at
        at, info, _ = fit_box(
            xy_m, viewer_m, size_m[:2] / 2, far, prior, body.surface_m**-2.0, _ALIKE * views,
            _STEPS,
        )  # fmt: skip
    if not np.hypot(*(at - start)[:2]) < _FAR_M or not abs(at[2] - start[2]) < _FAR_RAD:
        return None
    step = at - far
    # What the points alone say, in information form: the prior was only there to begin from.
    told = info @ step + prior * step
    loose = info[2, 2] + prior[2]
    flat = info[:2, :2] - np.outer(info[:2, 2], info[2, :2]) / loose
    flat_told = told[:2] - info[:2, 2] * told[2] / loose
    held = info[:2, :2] + np.diag(prior[:2])
    turn = info[2, 2] - info[2, :2] @ np.linalg.solve(held, info[:2, 2])
    turn_told = told[2] - info[2, :2] @ np.linalg.solve(held, told[:2])
    # No matter how many points there are, bodies are no boxes.
    blunt = np.eye(2) + _FLOOR_M**2 * flat
    place = far[:2] + np.linalg.lstsq(flat, flat_told, rcond=_WEAK)[0]
    yaw = far[2] + turn_told / max(turn, 1e-9)
    if abs(yaw - start[2]) > _FAR_RAD or np.hypot(*(place - start[:2])) > _FAR_M:
        yaw, turn, place = start[2], 0.0, at[:2]
    if not body.has_sides:
        turn = 0.0
    return (
        (place, np.linalg.solve(blunt, flat)),
        (float(yaw), float(max(turn, 0.0) / (1 + _FLOOR_RAD**2 * max(turn, 0.0)))),
    )


def upright(points: ObjectPoints, course: Course, depth: float) -> Registered:
    """Of each frame on its own, of a body that looks alike from all sides: its middle is midway
    between the ends of what is seen, and `depth` of its width behind.
    """
    count = course.yaw_rad.size
    result = Registered(
        course.xy_m.copy(), np.zeros((count, 2, 2)), course.yaw_rad.copy(), np.zeros(count)
    )
    width = float(course.size_m[:2].mean())
    reach = width / 2 + _ASIDE_M
    edges = np.searchsorted(points.frame, np.arange(course.first, course.first + count + 1))
    for k in np.flatnonzero(np.diff(edges) >= LEAST_POINTS):
        rows = slice(int(edges[k]), int(edges[k + 1]))
        away = points.xy_m[rows] - course.xy_m[k]
        sight = course.xy_m[k] - points.viewer_m[rows][0]
        bearing = float(np.arctan2(sight[1], sight[0]))
        seen = turned(away, np.full(away.shape[0], -bearing))
        place = np.zeros(2)
        for _ in range(_PASSES):
            own = seen[(np.abs(seen - place) < reach).all(axis=1)]
            if own.shape[0] < LEAST_POINTS:
                break
            place = np.array(
                [own[:, 0].mean() + depth * width, np.quantile(own[:, 1], _ENDS).mean()]
            )
        else:
            result.xy_m[k] = course.xy_m[k] + turned(place, np.array(bearing))
            noise = _UPRIGHT_M**2 + (width / 2) ** 2 / own.shape[0]
            result.xy_info[k] = np.eye(2) / noise
    return result


def unbiased(
    told: Registered, xy_m: Float64s, viewer_m: Float64s, noise_m: float, body: Body
) -> Registered:
    """Without what all frames alike are off the boxes' course, along and across the line of
    sight: of a person only the front is seen, and boxes know better where the middle is.

    Args:
        told: by the points.
        xy_m: the boxes' course [t, 2].
        viewer_m: where the sensor was, [t, 2].
        noise_m: standard deviation of the whole course's own offset.
        body: its kind.
    """
    trust = told.xy_info.trace(axis1=1, axis2=2)
    if not trust.any():
        return told
    ahead = xy_m - viewer_m
    bearing = np.arctan2(ahead[:, 1], ahead[:, 0])
    off = np.average(turned(told.xy_m - xy_m, -bearing), axis=0, weights=trust)
    share = body.bias_m**2 / (body.bias_m**2 + noise_m**2)
    return replace(told, xy_m=told.xy_m - turned(np.tile(share * off, (bearing.size, 1)), bearing))
