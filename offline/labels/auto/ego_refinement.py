"""Poses made better by what stands still in the whole clip: bundle adjustment in the plane.

Unknown are a pose a frame and a place a standing object. Each sighting ties one to the other,
with errors of heavy tails; between frames the pose's speed does a random walk, and its steps stay
near those of the first estimate. Solved by Gauss-Newton on the sparse normal equations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import spsolve

from contracts.geometry import Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.planar import composed, inverse, placed, turned

_FREEDOM = 4.0
_ROUNDS = 4
_STEP_M, _STEP_RAD = 0.10, 0.010
_WALK_M, _WALK_RAD = 0.05, 0.004
_HOLD = 1e3


def refined_poses(
    world_SE2_sensor: Float64s, frame: Int64s, landmark: Int64s, xy_m: Float64s, noise_m: Float64s
) -> Float64s:  # fmt: skip
    """Better poses, float64 [frames, 3]; the first stays where it is.

    Args:
        world_SE2_sensor: a first estimate, [frames, 3].
        frame: of each sighting, int64 [n].
        landmark: which standing object it is of, 0 .. k - 1, [n].
        xy_m: where the sensor saw it, [n, 2].
        noise_m: standard deviation, [n].
    """
    poses = world_SE2_sensor.copy()
    frames = poses.shape[0]
    if not frame.size or frames < 3:
        return poses
    steps = composed(inverse(poses[:-1]), poses[1:])
    count = int(landmark.max()) + 1
    places = np.stack([
        np.bincount(landmark, column / noise_m**2, count)
        / np.bincount(landmark, 1 / noise_m**2, count)
        for column in placed(poses[frame], xy_m).T
    ], axis=1)  # fmt: skip
    for _ in range(_ROUNDS):
        rows = _Rows(3 * frames + 2 * count)
        _sightings(rows, poses, places, frame, landmark, xy_m, noise_m)
        _odometry(rows, poses, steps)
        _walk(rows, poses)
        rows.add([(np.arange(3), np.full(3, _HOLD))], np.zeros(3))
        change = rows.solved()
        poses = poses + change[: 3 * frames].reshape(-1, 3)
        places = places + change[3 * frames :].reshape(-1, 2)
    poses[:, 2] = wrapped(poses[:, 2])
    return poses


class _Rows:
    """Weighted equations of a linear least-squares problem, gathered by the sparse triplet."""

    def __init__(self, unknowns: int) -> None:
        self.unknowns = unknowns
        self._count = 0
        self._row: list[Int64s] = []
        self._column: list[Int64s] = []
        self._factor: list[Float64s] = []
        self._right: list[Float64s] = []

    def add(self, terms: Sequence[tuple[Int64s, Float64s]], right: Float64s) -> None:
        """Equations [m]: the sum over terms of factor [m] times unknown [m] is `right` [m]."""
        row = np.arange(self._count, self._count + right.size)
        for column, factor in terms:
            self._row.append(row)
            self._column.append(column)
            self._factor.append(factor)
        self._right.append(right)
        self._count += right.size

    def solved(self) -> Float64s:
        """The unknowns."""
        places = np.concatenate(self._row), np.concatenate(self._column)
        factors = np.concatenate(self._factor)
        system = coo_matrix((factors, places), (self._count, self.unknowns)).tocsr()
        normal: csc_matrix = (system.T @ system).tocsc()
        return np.asarray(spsolve(normal, system.T @ np.concatenate(self._right)))


def _sightings(
    rows: _Rows, poses: Float64s, places: Float64s, frame: Int64s, landmark: Int64s,
    xy_m: Float64s, noise_m: Float64s,
) -> None:  # fmt: skip
    lever = turned(xy_m, poses[frame, 2])
    gap = places[landmark] - lever - poses[frame, :2]
    square = (gap**2).sum(axis=1) / noise_m**2
    sure = np.sqrt((_FREEDOM + 2) / (_FREEDOM + square)) / noise_m
    first = 3 * poses.shape[0]
    for axis, by_yaw in ((0, -lever[:, 1]), (1, lever[:, 0])):
        terms = [
            (3 * frame + axis, sure), (3 * frame + 2, by_yaw * sure),
            (first + 2 * landmark + axis, -sure),
        ]  # fmt: skip
        rows.add(terms, gap[:, axis] * sure)


def _odometry(rows: _Rows, poses: Float64s, steps: Float64s) -> None:
    """Steps in the frame of the earlier pose stay near the first estimate's."""
    k = np.arange(poses.shape[0] - 1)
    yaw = poses[:-1, 2]
    cos, sin = np.cos(yaw), np.sin(yaw)
    ahead = poses[1:, :2] - poses[:-1, :2]
    now = turned(ahead, -yaw)
    gap = steps - np.column_stack([now, wrapped(poses[1:, 2] - yaw)])
    gap[:, 2] = wrapped(gap[:, 2])
    for axis, (x, y), by_yaw in ((0, (cos, sin), now[:, 1]), (1, (-sin, cos), -now[:, 0])):
        terms = [
            (3 * k + 3, x), (3 * k, -x), (3 * k + 4, y), (3 * k + 1, -y), (3 * k + 2, by_yaw),
        ]  # fmt: skip
        rows.add([(c, f / _STEP_M) for c, f in terms], gap[:, axis] / _STEP_M)
    one = np.full(k.size, 1 / _STEP_RAD)
    rows.add([(3 * k + 5, one), (3 * k + 2, -one)], gap[:, 2] / _STEP_RAD)


def _walk(rows: _Rows, poses: Float64s) -> None:
    """Second differences are small: nobody brakes or steers at once."""
    k = np.arange(poses.shape[0] - 2)
    yaw = np.unwrap(poses[:, 2])
    course = np.column_stack([poses[:, :2], yaw])
    bend = course[2:] - 2 * course[1:-1] + course[:-2]
    for axis, sigma in ((0, _WALK_M), (1, _WALK_M), (2, _WALK_RAD)):
        one = np.full(k.size, 1 / sigma)
        terms = [(3 * k + axis, one), (3 * k + 3 + axis, -2 * one), (3 * k + 6 + axis, one)]
        rows.add(terms, -bend[:, axis] / sigma)
