"""A made-up street for measuring what points are worth: bodies of several shapes, their truth,
and the sweeps of a lidar that drives past them.

A body is a stack of slabs, each with its own part of the length and width (bonnet, cabin, load),
and paint of its own brightness. Each sweep samples the sides that face the sensor and are not
behind another body, by solid angle, with noise; the vehicle moves while the lidar turns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.kinds import log_odds
from offline.labels.auto.planar import inverse, placed
from offline.labels.kitti import CLASSES, TrackedBoxes
from offline.labels.points.sweep import Sweep

SENSOR_M = 1.8
_STEP_S = 0.1
_POINTS_PER_M2 = 30_000.0
"""Points on a surface of a square metre that is a metre away."""
_RANGE_NOISE_M = 0.02
_ROUND_M = 0.12


@dataclass(frozen=True, slots=True)
class Bodies:
    """k bodies: `size_m` float64 [k, 3]; `slabs` [k, s, 3]: from which share of the length, to
    which, up to which share of the height, from the lowest on; `paint` [k] in 0..1.
    """

    size_m: Float64s
    slabs: Float64s
    paint: Float64s


@dataclass(frozen=True, slots=True)
class Street:
    """`world_SE2_sensor` float64 [frames, 3]; `truth` boxes in the sensor's frame, z from the
    ground; `sweeps` by frame.
    """

    world_SE2_sensor: Float64s
    truth: TrackedBoxes
    sweeps: dict[int, Sweep]

    @property
    def frames(self) -> int:
        return int(self.world_SE2_sensor.shape[0])


def street(seed: int, frames: int = 80, standing: int = 12, moving: int = 10) -> Street:
    """Two rows of parked cars, and traffic in both lanes, seen from a car that drives by."""
    rng = np.random.default_rng(seed)
    count = standing + moving
    bodies = _bodies(rng, count)
    time = np.arange(frames) * _STEP_S
    ego = np.column_stack([6.0 * time, 0.3 * np.sin(time / 3), 0.1 * np.cos(time / 3)])
    course = np.zeros((frames, count, 3))
    for k in range(standing):
        side = 1 if k % 2 else -1
        x = 5.0 + 7.5 * (k // 2) + rng.uniform(-0.8, 0.8)
        course[:, k] = x, side * (6.0 + rng.uniform(-0.2, 0.2)), rng.normal(0, 0.04)
    for k in range(standing, count):
        towards = k % 2 == 0
        speed = rng.uniform(4, 9) * (-1 if towards else 1)
        place = (k - standing) // 2 * 14.0 + rng.uniform(0, 3)
        start = 35.0 + place if towards else 8.0 + place
        turn = rng.uniform(-0.15, 0.15)
        course[:, k, 0] = start + speed * time + 0.5 * rng.normal(0, 0.5) * time**2 / 4
        course[:, k, 1] = (3.0 if towards else -2.5) + turn * np.sin(time / 2)
        slope = np.gradient(course[:, k, :2], axis=0)
        course[:, k, 2] = np.arctan2(slope[:, 1], slope[:, 0])
    sweeps = {
        frame: _sweep(rng, bodies, course[frame], ego[frame]) for frame in range(frames)
    }  # fmt: skip
    return Street(ego, _truth(bodies, course, ego), sweeps)


def noised(
    truth: TrackedBoxes, seed: int, sigma_m: float = 0.3, sigma_rad: float = np.radians(5),
    dropout: float = 0.1,
) -> tuple[TrackedBoxes, Int64s]:  # fmt: skip
    """As a detector might tell the boxes, without tracks: and which of `truth`'s rows are left."""
    rng = np.random.default_rng(seed)
    n = len(truth)
    kept = np.flatnonzero(rng.random(n) >= dropout)
    shaken = replace(
        truth,
        centre_m=truth.centre_m + rng.normal(0, sigma_m, (n, 3)),
        yaw_rad=wrapped(truth.yaw_rad + rng.normal(0, sigma_rad, n)),
        track_id=np.full(n, -1), score=log_odds(np.full(n, 0.9)),
    )  # fmt: skip
    return shaken.take(kept), kept


def _bodies(rng: np.random.Generator, count: int) -> Bodies:
    sizes, slabs = np.empty((count, 3)), np.empty((count, 3, 3))
    for k in range(count):
        kind = rng.integers(3)
        length, height = ((4.4, 1.5), (4.2, 1.6), (5.3, 2.2))[kind]
        sizes[k] = (
            length + rng.normal(0, 0.25),
            1.85 + rng.normal(0, 0.06),
            (height + rng.normal(0, 0.08)),
        )
        cabin = ((0.12, 0.7), (0.02, 0.72), (0.0, 0.85))[kind]
        shift = rng.normal(0, 0.03)
        waist = np.clip(0.58 + rng.normal(0, 0.05), 0.45, 0.7)
        slabs[k] = (
            (0.0, 1.0, waist), (max(cabin[0] + shift, 0), cabin[1] + shift, 1.0), (0, 0, 1.0),
        )  # fmt: skip
    return Bodies(sizes, slabs, rng.uniform(0.05, 0.95, count))


def _truth(bodies: Bodies, course: Float64s, ego: Float64s) -> TrackedBoxes:
    frames, count = course.shape[:2]
    frame = np.repeat(np.arange(frames), count)
    track = np.tile(np.arange(count), frames)
    pose = inverse(ego)[frame]
    world = course.reshape(-1, 3)
    xy = placed(pose, world[:, :2])
    size = bodies.size_m[track]
    n = frame.size
    table = TrackedBoxes(
        frame=frame, kind=np.full(n, CLASSES.index("Car")), track_id=track,
        occlusion=np.zeros(n, dtype=np.int64), truncation=np.zeros(n), alpha_rad=np.zeros(n),
        box_px=np.zeros((n, 4)), centre_m=np.column_stack([xy, size[:, 2] / 2]), size_m=size,
        yaw_rad=wrapped(world[:, 2] - ego[frame, 2]), score=np.full(n, np.nan),
    )  # fmt: skip
    return table.take(np.hypot(xy[:, 0], xy[:, 1]) < 60)


def _sweep(rng: np.random.Generator, bodies: Bodies, course: Float64s, ego: Float64s) -> Sweep:
    """What faces the sensor of each body, less what another body hides."""
    count = bodies.paint.size
    place = placed(inverse(ego), course[:, :2])
    yaw = course[:, 2] - ego[2]
    points, paint, owner = [], [], []
    for k in range(count):
        for low, high, top in bodies.slabs[k]:
            if high <= low:
                continue
            bottom = 0.0 if low == 0 and high == 1 else bodies.slabs[k, 0, 2]
            middle = bodies.size_m[k, 0] * ((low + high) / 2 - 0.5)
            half = bodies.size_m[k, :2] / 2 * np.array([high - low, 1.0])
            if bottom:
                half[1] -= 0.1
            heights = bodies.size_m[k, 2] * np.array([bottom, top])
            local = _sides(rng, place[k], yaw[k], middle, half, heights)
            points.append(local)
            paint.append(np.full(len(local), bodies.paint[k] * (0.7 if bottom else 1.0)))
            owner.append(np.full(len(local), k))
    xyz, bright, whose = (np.concatenate(each) for each in (points, paint, owner))
    free = ~_hidden(xyz, whose, place, yaw, bodies.size_m)
    xyz, bright = xyz[free], bright[free]
    ground = rng.uniform(-40, 40, (1500, 2))
    xyz = np.concatenate([xyz, np.column_stack([ground, rng.normal(0, 0.02, 1500)])])
    bright = np.concatenate([bright, rng.uniform(0.1, 0.3, 1500)])
    bright = np.clip(bright + rng.normal(0, 0.08, bright.size), 0, 1)
    return Sweep(xyz, bright)


def _sides(
    rng: np.random.Generator, place: Float64s, yaw: float, middle: float, half: Float64s,
    heights: Float64s,
) -> Float64s:  # fmt: skip
    cos, sin = np.cos(yaw), np.sin(yaw)
    viewer = -np.array([cos * place[0] + sin * place[1], cos * place[1] - sin * place[0]])
    viewer[0] -= middle
    far = float(np.hypot(*place)) + 1.0
    made = [np.zeros((0, 3))]
    for axis in (0, 1):
        beyond = abs(viewer[axis]) - half[axis]
        if beyond <= 0:
            continue
        sign, wide = np.sign(viewer[axis]), 2 * half[1 - axis]
        area = wide * float(np.diff(heights)[0]) * beyond / far
        n = rng.poisson(min(area * _POINTS_PER_M2 / far**2, 600))
        along = rng.uniform(-1, 1, n)
        # Corners are round: the side falls back towards its ends.
        back = _ROUND_M * np.abs(along) ** 6
        side = np.empty((n, 3))
        side[:, axis] = sign * (half[axis] - back)
        side[:, 1 - axis] = along * half[1 - axis]
        side[:, 2] = rng.uniform(heights[0], heights[1], n)
        made.append(side)
    local = np.concatenate(made)
    x, y = local[:, 0] + middle, local[:, 1]
    world = np.column_stack([
        place[0] + cos * x - sin * y, place[1] + sin * x + cos * y, local[:, 2]
    ])  # fmt: skip
    ray = world[:, :2] / np.maximum(np.hypot(world[:, 0], world[:, 1]), 0.1)[:, None]
    world[:, :2] += ray * rng.normal(0, _RANGE_NOISE_M, (len(world), 1))
    return world


def _hidden(xyz: Float64s, whose: Int64s, place: Float64s, yaw: Float64s, size: Float64s) -> Bools:
    """Whose line of sight passes through another body, its height taken for all of it."""
    hidden = np.zeros(len(xyz), dtype=np.bool_)
    for k in range(place.shape[0]):
        cos, sin = np.cos(yaw[k]), np.sin(yaw[k])
        half = size[k, :2] / 2
        start = -np.array([cos * place[k, 0] + sin * place[k, 1],
                           cos * place[k, 1] - sin * place[k, 0]])  # fmt: skip
        along = np.column_stack([
            cos * xyz[:, 0] + sin * xyz[:, 1], cos * xyz[:, 1] - sin * xyz[:, 0]
        ])  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            one, two = (-half - start) / along, (half - start) / along
        enter = np.minimum(one, two).max(axis=1)
        leave = np.maximum(one, two).min(axis=1)
        crosses = (enter < leave) & (enter > 0) & (enter < 0.98) & (whose != k)
        height = SENSOR_M + (xyz[:, 2] - SENSOR_M) * np.clip(enter, 0, 1)
        hidden |= crosses & (height < size[k, 2])
    return hidden
