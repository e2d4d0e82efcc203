"""The ego vehicle's motion: what its driver asks for, and what the car does.

A kinematic bicycle on the rear axle with lags in pedal and steering and a bound on grip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sim_fleet.sensors.mounts import EgoMotion

AXLE_TO_MIDDLE_M = 1.35
WHEELBASE_M = 2.75
STEERING_RATIO = 15.0
TRACK_M = 1.58
GRAVITY_MPS2 = 9.81
_PEDAL_LAG_S = 0.15
_STEER_LAG_S = 0.12
_MAX_CURVATURE = 0.19


@dataclass(frozen=True, slots=True)
class Command:
    """What a driver asks for."""

    accel_mps2: float
    curvature_per_m: float


@dataclass(frozen=True, slots=True)
class EgoState:
    """Rear axle in the world, and how it moves."""

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    accel_mps2: float = 0.0
    curvature_per_m: float = 0.0

    @property
    def yaw_rate_radps(self) -> float:
        return self.speed_mps * self.curvature_per_m

    @property
    def lat_accel_mps2(self) -> float:
        return self.speed_mps * self.speed_mps * self.curvature_per_m

    @property
    def middle_m(self) -> tuple[float, float]:
        """Middle of the footprint."""
        return (
            self.x_m + AXLE_TO_MIDDLE_M * float(np.cos(self.yaw_rad)),
            self.y_m + AXLE_TO_MIDDLE_M * float(np.sin(self.yaw_rad)),
        )

    def motion(self, t_s: float) -> EgoMotion:
        return EgoMotion(t_s, self.x_m, self.y_m, self.yaw_rad, self.speed_mps, self.yaw_rate_radps)

    def driven(self, command: Command, dt_s: float, friction: float) -> EgoState:
        """The state `dt_s` later."""
        most = 9.0 * friction
        wanted = min(2.6, max(-most, command.accel_mps2))
        accel = self.accel_mps2 + (wanted - self.accel_mps2) * min(1.0, dt_s / _PEDAL_LAG_S)
        speed = max(0.0, self.speed_mps + accel * dt_s)
        if speed == 0.0:
            accel = max(accel, 0.0)
        grip = most / max(speed * speed, 1.0)
        bound = min(_MAX_CURVATURE, grip)
        target = min(bound, max(-bound, command.curvature_per_m))
        bend = self.curvature_per_m + (target - self.curvature_per_m) * min(
            1.0, dt_s / _STEER_LAG_S
        )
        pace = 0.5 * (self.speed_mps + speed)
        yaw = self.yaw_rad + pace * bend * dt_s
        middle = 0.5 * (self.yaw_rad + yaw)
        return replace(
            self,
            x_m=self.x_m + pace * dt_s * float(np.cos(middle)),
            y_m=self.y_m + pace * dt_s * float(np.sin(middle)),
            yaw_rad=yaw, speed_mps=speed, accel_mps2=accel, curvature_per_m=bend,
        )  # fmt: skip
