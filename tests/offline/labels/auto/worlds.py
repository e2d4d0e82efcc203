"""Streets with known truth, seen by a moving camera through a noisy detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.camera_view import CameraView
from offline.labels.auto.clip import Clip, boxes_of, in_order
from offline.labels.auto.planar import inverse, placed
from offline.labels.kitti import TrackedBoxes
from offline.labels.kitti_calibration import Calibration

SIZE_M = np.array([4.2, 1.7, 1.5])
SURE = 9.0
VIEW = CameraView(
    Calibration(
        np.eye(4),
        np.eye(4),
        np.tile([[700.0, 0, 620, 0], [0, 700, 187, 0], [0, 0, 1, 0]], (4, 1, 1)),
    ),
    (1241.0, 374.0),
)


@dataclass(frozen=True)
class Street:
    """`truth` with track ids in the sensor's frame, in view; the clip; the true poses."""

    truth: TrackedBoxes
    clip: Clip
    poses: Float64s


def standing(x: float, y: float, yaw: float, frames: int) -> Float64s:
    """A pose a frame, [frames, 3]."""
    return np.tile([x, y, yaw], (frames, 1))


def driving(start: Sequence[float], speed_m: float, turn_rad: float, frames: int) -> Float64s:
    """Constant speed and turn a frame, [frames, 3]."""
    yaw = start[2] + turn_rad * np.arange(frames)
    step = speed_m * np.column_stack([np.cos(yaw + turn_rad / 2), np.sin(yaw + turn_rad / 2)])
    place = np.array(start[:2]) + np.concatenate([np.zeros((1, 2)), np.cumsum(step, axis=0)[:-1]])
    return np.column_stack([place, yaw])


def street(
    objects: Sequence[Float64s], ego: Float64s, seed: int = 0, noise_m: float = 0.15,
    missed: Sequence[tuple[int, int, int]] = (), flips: float = 0.0, size_noise: float = 0.05,
) -> Street:  # fmt: skip
    """Cars [frames, 3] in the world, seen from `ego` [frames, 3].

    Args:
        objects: one course a car.
        ego: the sensor's.
        seed: of the noise.
        noise_m: standard deviation of detected places.
        missed: car, first frame and first frame after of what is not detected.
        flips: share of detections that face backward.
        size_noise: standard deviation of the logarithm of detected sizes.
    """
    rng = np.random.default_rng(seed)
    parts = [_seen(track, course, ego) for track, course in enumerate(objects)]
    truth = in_order(parts)
    n = len(truth)
    known: Bools = np.ones(n, dtype=np.bool_)
    for car, first, after in missed:
        known &= ~((truth.track_id == car) & (truth.frame >= first) & (truth.frame < after))
    told = replace(
        truth, track_id=np.full(n, -1),
        centre_m=truth.centre_m + rng.normal(0, noise_m, (n, 3)) * [1, 1, 0.3],
        size_m=truth.size_m * np.exp(rng.normal(0, size_noise, (n, 3))),
        yaw_rad=wrapped(
            truth.yaw_rad + rng.normal(0, 0.05, n) + np.pi * (rng.random(n) < flips)
        ),
        score=SURE + rng.normal(0, 1, n),
    ).take(known)  # fmt: skip
    return Street(truth, Clip(ego.shape[0], told, VIEW), ego)


def parked_row(frames: int, cars: int = 12) -> list[Float64s]:
    """Cars at both sides of a straight road."""
    return [standing(12.0 + 7 * (k // 2), 5.0 * (-1) ** k, 0.0, frames) for k in range(cars)]


def errors_m(truth: TrackedBoxes, found: TrackedBoxes) -> tuple[Float64s, Int64s, Int64s]:
    """Distance of each found box to the nearest true one of its frame, and both rows."""
    rows = []
    for row in range(len(found)):
        same = np.flatnonzero(truth.frame == found.frame[row])
        away = np.hypot(*(truth.centre_m[same, :2] - found.centre_m[row, :2]).T)
        rows.append((away.min(), same[np.argmin(away)]))
    table = np.array(rows).reshape(-1, 2)
    return table[:, 0], table[:, 1].astype(np.int64), np.arange(len(found))


def in_street(boxes: TrackedBoxes, poses: Float64s) -> Float64s:
    """Places [n, 2] in the world."""
    return placed(poses[boxes.frame], boxes.centre_m[:, :2])


def _seen(track: int, course: Float64s, ego: Float64s) -> TrackedBoxes:
    frames = course.shape[0]
    here = placed(inverse(ego), course[:, :2])
    boxes, shown = boxes_of(
        "Car", np.arange(frames), np.full(frames, track),
        np.column_stack([here, np.full(frames, -0.9)]), np.tile(SIZE_M, (frames, 1)),
        wrapped(course[:, 2] - ego[:, 2]), np.full(frames, SURE), VIEW,
    )  # fmt: skip
    return boxes.take(shown & (here[:, 0] > 4) & (here[:, 0] < 60))
