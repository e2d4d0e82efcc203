"""Where the sensor was, frame by frame, from detections alone: causal.

Objects that stand still move all alike in the sensor's eyes. Between two frames every pair of
boxes near each other proposes a motion; the one that most boxes agree with, and that the motion
before does not contradict, is refined by iteratively reweighted least squares. Where all that
is seen moves alike (a motorway), the world moves with it: tracks stay smooth, which is what the
poses are for. They are no odometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s
from offline.labels.auto.planar import composed, placed

_NOISE_M, _NOISE_PER_M = 0.10, 0.006
_ROBUST = 2.5
_SPEED_STEP_M, _SIDE_M, _TURN_STEP_RAD = 0.10, 0.05, 0.006
_FIRST_SPEED_M, _FIRST_TURN_RAD = 1.5, 0.03
_REACH_M = 4.0
_ROUNDS = 6
_MAX_BOXES = 25


@dataclass(slots=True)
class EgoEstimator:
    """Fed with one frame after the other; holds the newest pose."""

    world_SE2_sensor: Float64s
    _step: Float64s
    _known: bool
    _before: Float64s
    _weight: Float64s

    @classmethod
    def at_rest(cls) -> EgoEstimator:
        return cls(np.zeros(3), np.zeros(3), False, np.zeros((0, 2)), np.zeros(0))

    def step(self, xy_m: Float64s, probability: Float64s) -> Float64s:
        """The pose [3] at this frame's boxes [n, 2], seen from the sensor."""
        best = np.argsort(-probability, kind="stable")[:_MAX_BOXES]
        xy_m, probability = xy_m[best], probability[best]
        if self._before.shape[0] and xy_m.shape[0]:
            self._step = self._motion(xy_m, probability)
            self._known = True
        self.world_SE2_sensor = composed(self.world_SE2_sensor, self._step)
        self._before, self._weight = xy_m, probability
        return self.world_SE2_sensor

    def _motion(self, xy_m: Float64s, weight: Float64s) -> Float64s:
        wide = (_SPEED_STEP_M, _SIDE_M, _TURN_STEP_RAD)
        first = (_FIRST_SPEED_M, _SIDE_M, _FIRST_TURN_RAD)
        spread = np.array(wide if self._known else first)
        noise = _NOISE_M + _NOISE_PER_M * np.hypot(*xy_m.T)
        expected = placed(self._step, xy_m)
        away = self._before[:, None] - expected[None]
        near = np.argwhere(np.hypot(away[..., 0], away[..., 1]) < _REACH_M)
        moves = np.concatenate([np.zeros((1, 2)), away[near[:, 0], near[:, 1]]])
        proposed = np.tile(self._step, (moves.shape[0], 1))
        proposed[:, :2] += moves
        cost = self._costs(proposed, xy_m, weight, noise) + _prior(proposed, self._step, spread)
        return self._refined(proposed[np.argmin(cost)], xy_m, weight, noise, spread)

    def _costs(self, steps: Float64s, xy_m: Float64s, weight: Float64s, noise: Float64s
               ) -> Float64s:  # fmt: skip
        there = placed(steps[:, None], xy_m[None])
        gap = there[:, :, None] - self._before[None, None]
        square = (gap**2).sum(axis=-1) / noise[:, None] ** 2
        square = square / (1 + square / _ROBUST**2)
        return np.asarray((square.min(axis=2) * weight).sum(axis=1))

    def _refined(
        self, step: Float64s, xy_m: Float64s, weight: Float64s, noise: Float64s, spread: Float64s
    ) -> Float64s:
        expected = self._step
        for _ in range(_ROUNDS):
            there = placed(step, xy_m)
            gap = self._before[:, None] - there[None]
            nearest = np.argmin((gap**2).sum(axis=-1), axis=0)
            residual = gap[nearest, np.arange(xy_m.shape[0])]
            square = (residual**2).sum(axis=1) / noise**2
            trust = weight * self._weight[nearest] / noise**2 / (1 + square / _ROBUST**2) ** 2
            turn = there - step[:2]
            rows = np.zeros((xy_m.shape[0], 2, 3))
            rows[:, 0, 0] = rows[:, 1, 1] = 1
            rows[:, 0, 2], rows[:, 1, 2] = -turn[:, 1], turn[:, 0]
            normal = np.einsum("nki,n,nkj->ij", rows, trust, rows) + np.diag(spread**-2.0)
            right = np.einsum("nki,n,nk->i", rows, trust, residual)
            right += (expected - step) * spread**-2.0
            step = step + np.linalg.solve(normal, right)
        return np.asarray(step)


def _prior(steps: Float64s, expected: Float64s, spread: Float64s) -> Float64s:
    return np.asarray((((steps - expected) / spread) ** 2).sum(axis=1))
