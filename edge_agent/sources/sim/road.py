"""A gently curving road: arc length and lateral offset to the plane, and back to curvature.

`s_m` runs along the centre line, `d_m` is positive to the left of it. The heading is a sum of
two sines of the arc length, so curvature is smooth and bounded (radius above 250 m).
"""

from __future__ import annotations

import numpy as np

from contracts.samples import Float64s

LANE_WIDTH_M = 3.5
HALF_ROAD_M = LANE_WIDTH_M
PAVEMENT_M = 3.0
_STEP_M = 0.5


class Road:
    """One road of `length_m`, fixed by its random generator; extends 300 m before 0."""

    def __init__(self, length_m: float, rng: np.random.Generator) -> None:
        self._start_m = -300.0
        self._s_m = np.arange(self._start_m, length_m + 300.0, _STEP_M)
        waves = rng.uniform((0.14, 350.0, 0.0), (0.18, 450.0, 2 * np.pi))
        ripples = rng.uniform((0.02, 140.0, 0.0), (0.03, 180.0, 2 * np.pi))
        self._waves = np.array([waves, ripples])
        heading = self.heading_rad(self._s_m)
        self._x_m = np.concatenate(([0.0], np.cumsum(np.cos(heading[:-1]) * _STEP_M)))
        self._y_m = np.concatenate(([0.0], np.cumsum(np.sin(heading[:-1]) * _STEP_M)))

    def heading_rad(self, s_m: Float64s) -> Float64s:
        """Direction of the centre line, positive left of the world's x axis."""
        total = np.zeros_like(s_m, dtype=np.float64)
        for size_rad, length_m, phase in self._waves:
            total += size_rad * np.sin(2 * np.pi * s_m / length_m + phase)
        return total

    def curvature_per_m(self, s_m: Float64s) -> Float64s:
        """Change of heading per metre, positive in a left bend."""
        total = np.zeros_like(s_m, dtype=np.float64)
        for size_rad, length_m, phase in self._waves:
            rate = 2 * np.pi / length_m
            total += size_rad * rate * np.cos(rate * s_m + phase)
        return total

    def position_m(self, s_m: Float64s, d_m: Float64s) -> Float64s:
        """World positions [..., 2] of road coordinates."""
        heading = self.heading_rad(s_m)
        place = (np.asarray(s_m) - self._start_m) / _STEP_M
        low = np.clip(place.astype(np.int64), 0, self._s_m.size - 2)
        part = place - low
        x = self._x_m[low] * (1 - part) + self._x_m[low + 1] * part
        y = self._y_m[low] * (1 - part) + self._y_m[low + 1] * part
        return np.stack([x - np.sin(heading) * d_m, y + np.cos(heading) * d_m], axis=-1)
