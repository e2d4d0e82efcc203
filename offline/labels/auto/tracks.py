"""One track over the whole clip: standing or moving, smooth, of one size, facing one way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.parameters import Association, Motion
from offline.labels.auto.planar import turned
from offline.labels.auto.smoothing import faced, fitting_step, smoothed, smoothed_axis

_LEAST_AT_REST, _PARTS, _PART_HITS = 8, 10, 4
_SAME_SIGMAS, _SAME_M = 3.0, 0.1
_CREEPS_M, _FIXED_M = 0.1, 0.0006


@dataclass(frozen=True, slots=True)
class Sightings:
    """What was detected of one object, h boxes by rising frame: `frame` int64 [h]; `xy_m` float64
    [h, 2] and `yaw_rad` [h] in the world; `z_m` [h] over the sensor; `size_m` [h, 3];
    `probability`, `range_m` [h]; `bearing_rad` [h] of the object from the sensor in the world.
    """

    frame: Int64s
    xy_m: Float64s
    z_m: Float64s
    size_m: Float64s
    yaw_rad: Float64s
    probability: Float64s
    range_m: Float64s
    bearing_rad: Float64s

    def __len__(self) -> int:
        return int(self.frame.shape[0])


@dataclass(frozen=True, slots=True)
class Course:
    """An object in every frame of `first` .. `first + t - 1`: `xy_m` [t, 2], `z_m`, `yaw_rad`
    [t], one `size_m` [3]; `velocity_m` [t, 2] in m a frame; `seen` bool [t]; `residual_m` [t],
    NaN where unseen; `is_static`: does not drive; `motion`: how restless it was taken to be.
    """

    first: int
    xy_m: Float64s
    z_m: Float64s
    yaw_rad: Float64s
    size_m: Float64s
    velocity_m: Float64s
    seen: Bools
    residual_m: Float64s
    is_static: bool
    motion: Motion


def refined(
    track: Sightings, motion: Motion, association: Association, known_world: bool = False
) -> Course:
    """The course from the first to the last sighting; `known_world`: poses are no estimate."""
    first = int(track.frame[0])
    place = track.frame - first
    count = int(place[-1]) + 1
    noise = association.noise_m(track.range_m, track.probability)
    size = size_of(track)
    anchored = anchored_xy(track, size, motion.anchor)

    xy = _spread_out(anchored, place, count)
    xy_noise = np.full(count, np.inf)
    xy_noise[place] = noise
    bottom = _spread_out((track.z_m - track.size_m[:, 2] / 2)[:, None], place, count)
    yaw_noise = np.full(count, np.inf)
    yaw_noise[place] = motion.yaw_noise_rad / np.sqrt(np.maximum(track.probability, 0.05))
    yaw_seen = _spread_out(track.yaw_rad[:, None], place, count)[:, 0]
    is_static = False
    if known_world:
        motion = calmed(motion, (xy, xy_noise), bottom, (yaw_seen, yaw_noise))
        is_static = rests(place, anchored, noise)
    course = smoothed(xy, xy_noise, motion.acceleration_m, "speed")
    is_static = is_static or stands(course, motion)
    if known_world and (is_static or creeps(course, motion)) and motion.one_place_m > 0:
        is_static, motion = True, fixed(motion)
        xy_noise[place] = noise_of(track, association, motion)
    if is_static:
        course = smoothed(xy, xy_noise, motion.static_drift_m, "place")
    velocity = np.gradient(course, axis=0) if count > 1 else np.zeros((1, 2))

    z = smoothed(bottom, 0.5 * xy_noise, motion.height_drift_m, "place")[:, 0] + size[2] / 2

    drift = motion.static_yaw_drift_rad if is_static else motion.yaw_drift_rad
    axis = smoothed_axis(yaw_seen, yaw_noise, drift)
    vote, heading = np.zeros(count), yaw_seen.copy()
    vote[place] = track.probability
    speed = np.hypot(*velocity.T)
    if not is_static:
        # What drives, drives ahead: its motion outvotes what the detector takes for the front.
        drives = speed > motion.turn_speed_m
        heading[drives] = np.arctan2(velocity[drives, 1], velocity[drives, 0])
        vote[drives] = np.maximum(vote[drives], 0.5)
    yaw = faced(axis, heading, vote)

    seen: Bools = np.zeros(count, dtype=np.bool_)
    seen[place] = True
    residual = np.full(count, np.nan)
    residual[place] = np.hypot(*(course[place] - anchored).T)
    return Course(first, course, z, yaw, size, velocity, seen, residual, is_static, motion)


def stands(course: Float64s, motion: Motion) -> bool:
    """Whether a smooth course [t, 2] is that of a thing which does not move."""
    count = course.shape[0]
    if count < 2:
        return True
    length = float(np.hypot(*(course[-1] - course[0])))
    extent = float(np.hypot(*np.ptp(course, axis=0)))
    slow = length / (count - 1) < motion.static_speed_m
    return slow and bool(extent < motion.static_extent_m + motion.static_speed_m / 2 * count)


def creeps(course: Float64s, motion: Motion) -> bool:
    """Whether a smooth course [t, 2] stays within `motion.one_place_m`, far slower than what drives
    would leave it.
    """
    count = course.shape[0]
    slow = float(np.hypot(*(course[-1] - course[0]))) < _CREEPS_M * (count - 1)
    near = bool(np.hypot(*np.ptp(course, axis=0)) < motion.one_place_m)
    return count > _LEAST_AT_REST and slow and near


def fixed(motion: Motion) -> Motion:
    """Of what stands in one place all along."""
    return motion.model_copy(update={"static_drift_m": _FIXED_M, "one_place_m": 0.0})


def is_fixed(motion: Motion) -> bool:
    """Whether it is that of something `fixed`."""
    return motion.static_drift_m == _FIXED_M


def noise_of(track: Sightings, association: Association, motion: Motion) -> Float64s:
    """Standard deviations [h] of places. Of what is `fixed`, far views count even less: their
    errors are alike, and do not cancel out.
    """
    noise = association.noise_m(track.range_m, track.probability)
    return noise * noise / noise.min() if is_fixed(motion) else noise


def rests(place: Int64s, xy_m: Float64s, noise_m: Float64s) -> bool:
    """Whether sightings [h] at frames `place` are of one place: means of parts of the clip differ
    from that of all by no more than their noise [h], whatever the speed that would explain them.
    """
    if place.size < _LEAST_AT_REST:
        return False
    parts = min(_PARTS, place.size // _PART_HITS)
    part = np.arange(place.size) * parts // place.size
    trust = noise_m**-2.0
    weight = np.bincount(part, trust)
    means = np.column_stack([np.bincount(part, axis * trust) / weight for axis in xy_m.T])
    middle = np.median(means, axis=0)
    away = np.hypot(*(means - middle).T)
    return bool((away < _SAME_SIGMAS / np.sqrt(weight) + _SAME_M).all())


def calmed(
    motion: Motion, xy: tuple[Float64s, Float64s], bottom: Float64s,
    yaw: tuple[Float64s, Float64s],
) -> Motion:  # fmt: skip
    """How restless one object is, where the sensor's own motion is no part of it: at most as its
    class is.

    Args:
        motion: of the class.
        xy: what was seen of its place [t, 2], and the noise [t], infinite where unseen.
        bottom: its lower end [t, 1], half as noisy.
        yaw: of its heading [t], and the noise [t].
    """
    place, noise = xy
    doubled = np.column_stack([np.cos(2 * yaw[0]), np.sin(2 * yaw[0])])
    turn = fitting_step(doubled, 2 * yaw[1], 2 * motion.yaw_drift_rad, "place") / 2
    height = fitting_step(bottom, 0.5 * noise, motion.height_drift_m, "place")
    return motion.model_copy(update={
        "acceleration_m": fitting_step(place, noise, motion.acceleration_m, "speed"),
        "static_drift_m": fitting_step(place, noise, motion.static_drift_m, "place"),
        "height_drift_m": height, "yaw_drift_rad": turn,
        "static_yaw_drift_rad": min(turn, motion.static_yaw_drift_rad),
    })  # fmt: skip


def size_of(track: Sightings) -> Float64s:
    """The mean of what was measured [3], by trust: near and sure views count most."""
    weight = track.probability**2 / (5.0 + track.range_m) ** 2
    return np.asarray(np.exp(np.average(np.log(track.size_m), axis=0, weights=weight)))


def anchored_xy(track: Sightings, size_m: Float64s, share: float) -> Float64s:
    """Centres [h, 2] of boxes of one size, whose sides towards the sensor stay where they were
    seen, since those are what was measured; `share` of the whole shift.
    """
    towards = wrapped(track.bearing_rad + np.pi - track.yaw_rad)
    side = np.column_stack([np.cos(towards), np.sin(towards)])
    # A side seen at a flat angle tells little of where it is: no jump from one side to another.
    side = np.clip(side / 0.35, -1, 1)
    shift = side * (track.size_m[:, :2] - size_m[:2]) / 2 * share
    return np.asarray(track.xy_m + turned(shift, track.yaw_rad))


def _spread_out(value: Float64s, place: Int64s, count: int) -> Float64s:
    table = np.zeros((count, value.shape[1]))
    table[place] = value
    return table
