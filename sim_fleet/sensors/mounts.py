"""Where sensors sit, what is published of it, and how it drifts.

The *nominal* mount is what the vehicle's calibration says. The *true* one is what the sensor
is cast from. They differ by a `Drift`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s


@dataclass(frozen=True, slots=True)
class Drift:
    """Extrinsic drift: an offset in the ego frame and small turns, and turns for each hour."""

    offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    roll_rad: float = 0.0
    pitch_rad: float = 0.0
    yaw_rad: float = 0.0
    yaw_radph: float = 0.0

    def yaw_at(self, t_s: float) -> float:
        return self.yaw_rad + self.yaw_radph * t_s / 3600.0


NO_DRIFT = Drift()


@dataclass(frozen=True, slots=True)
class Mount:
    """Nominal position in the ego frame and direction to the left of forward."""

    x_m: float
    y_m: float
    z_m: float
    yaw_rad: float = 0.0

    def ego_SE3_sensor(self) -> Float64s:  # noqa: N802
        """Nominal transform of a sensor whose axes are x forward, y left, z up."""
        matrix = np.eye(4)
        matrix[:3, :3] = turn(0.0, 0.0, self.yaw_rad)
        matrix[:3, 3] = self.x_m, self.y_m, self.z_m
        return matrix


def turn(roll_rad: float, pitch_rad: float, yaw_rad: float) -> Float64s:
    """Rotation matrix of yaw, then pitch (nose down positive), then roll."""
    cr, sr = np.cos(roll_rad), np.sin(roll_rad)
    cp, sp = np.cos(pitch_rad), np.sin(pitch_rad)
    cy, sy = np.cos(yaw_rad), np.sin(yaw_rad)
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
    pitch = np.array([[cp, 0, sp], [0, 1.0, 0], [-sp, 0, cp]])
    roll = np.array([[1.0, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return np.asarray(yaw @ pitch @ roll)


OPTICAL: Float64s = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation from a camera's axes (right, down, forward) to x forward, y left, z up."""


@dataclass(frozen=True, slots=True)
class EgoMotion:
    """The ego's rear axle in the world, and how it moves: pose of the instant `t_s`."""

    t_s: float
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    yaw_rate_radps: float

    def poses(self, age_s: Float64s) -> tuple[Float64s, Float64s, Float64s]:
        """x, y and yaw at times near this one, to second order."""
        yaw = self.yaw_rad + self.yaw_rate_radps * age_s
        middle = self.yaw_rad + 0.5 * self.yaw_rate_radps * age_s
        return (
            self.x_m + self.speed_mps * age_s * np.cos(middle),
            self.y_m + self.speed_mps * age_s * np.sin(middle),
            yaw,
        )
