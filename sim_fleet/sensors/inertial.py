"""Signals of the car's own sensors: IMU, wheels, steering, pedals, GNSS, radar's nearest lead.

One draw of noise for each sensor and tick, from streams of their own. Values are clipped to
nothing: what a real sensor could say lies within the catalogue's ranges anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import FixSample, Float64s, PoseSample, SignalSample
from edge_agent.sources.geodesy import ecef_from_geodetic, geodetic_from_ecef, rotation_to_enu
from sim_fleet.drive import Tick
from sim_fleet.drivers.ego import GRAVITY_MPS2, STEERING_RATIO, TRACK_M, WHEELBASE_M
from sim_fleet.seeds import generator

EVERY_TICK = (
    "ego.speed_mps", "ego.accel_mps2", "ego.lat_accel_mps2", "ego.yaw_rate_radps",
    "ego.steering_angle_rad", "ego.wheel_fl_mps", "ego.wheel_fr_mps", "ego.wheel_rl_mps",
    "ego.wheel_rr_mps", "imu.accel_x_mps2", "imu.accel_y_mps2", "imu.accel_z_mps2",
    "imu.gyro_x_radps", "imu.gyro_y_radps", "imu.gyro_z_radps", "driver.brake_pressed",
    "driver.gas_pressed", "driver.steer_override", "autonomy.engaged", "autonomy.fault",
    "autonomy.emergency_stop",
)  # fmt: skip
SIGNALS = frozenset({*EVERY_TICK, "gnss.bearing_rad", "lead.distance_m", "lead.closing_mps"})
_NOISE = np.array(
    [0.02, 0.06, 0.05, 0.002, 0.004, 0.02, 0.02, 0.02, 0.02, 0.10, 0.10, 0.10, 0.003, 0.003,
     0.003, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
)  # fmt: skip
_ORIGINS_DEG = {
    "city": (48.1372, 11.5756), "suburb": (48.0780, 11.5200), "motorway": (48.2630, 11.6680),
    "country": (47.8570, 11.3100),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GnssError:
    """A bias that wanders slowly about zero, east, north and up."""

    sigma_m: tuple[float, float, float] = (1.2, 1.2, 2.5)
    memory_s: float = 90.0


class Inertial:
    """All of the car's own sensors; made once for a drive."""

    def __init__(self, seed: int, region: str, gnss: GnssError | None = None) -> None:
        self._noise = generator(seed, "imu and can")
        self._gnss_noise = generator(seed, "gnss")
        bias = generator(seed, "imu bias")
        self._bias = np.zeros(len(EVERY_TICK))
        self._bias[9:12] = bias.normal(0, 0.05, 3)
        self._bias[12:15] = bias.normal(0, 0.001, 3)
        self._gnss = gnss or GnssError()
        self._drift_m = self._gnss_noise.normal(0, 1, 3) * self._gnss.sigma_m
        lat, lon = np.deg2rad(_ORIGINS_DEG[region])
        self._origin_m = ecef_from_geodetic(np.array(lat), np.array(lon), np.array(515.0))
        self._ecef_R_enu = rotation_to_enu(self._origin_m).T

    def signals(self, tick: Tick, mono_ns: int) -> list[SignalSample]:
        """The values of one tick."""
        ego, command, wheel = tick.ego, tick.command, tick.wheel
        bend, speed = ego.curvature_per_m, ego.speed_mps
        lateral, yaw_rate = ego.lat_accel_mps2, ego.yaw_rate_radps
        inner, outer = speed * (1 - bend * TRACK_M / 2), speed * (1 + bend * TRACK_M / 2)
        human = not wheel.engaged
        values = np.array(
            [speed, ego.accel_mps2, lateral, yaw_rate,
             STEERING_RATIO * np.arctan(WHEELBASE_M * bend), inner, outer, inner, outer,
             ego.accel_mps2 + GRAVITY_MPS2 * _pitch(ego.accel_mps2), lateral, GRAVITY_MPS2,
             0.01 * lateral, 0.004 * ego.accel_mps2, yaw_rate,
             human and command.accel_mps2 < -0.25, human and command.accel_mps2 > 0.15,
             tick.steering_override, wheel.engaged, 0.0, 0.0]
        )  # fmt: skip
        noisy = values + self._bias + _NOISE * self._noise.standard_normal(values.size)
        if speed == 0.0:  # wheels that stand give no pulses
            noisy[[0, 5, 6, 7, 8]] = 0.0
        return [
            SignalSample(name, mono_ns, value)
            for name, value in zip(EVERY_TICK, noisy.tolist(), strict=True)
        ]

    def pose(self, tick: Tick, mono_ns: int) -> PoseSample:
        """The pose as a good odometry has it: exact."""
        half = tick.ego.yaw_rad / 2
        return PoseSample(
            mono_ns, np.array([tick.ego.x_m, tick.ego.y_m, 0.0]),
            np.array([0.0, 0.0, np.sin(half), np.cos(half)]),
        )  # fmt: skip

    def fix(
        self, tick: Tick, mono_ns: int, utc_ns: int, step_s: float = 1.0
    ) -> tuple[FixSample, SignalSample]:
        """A GNSS fix with its bias, and the course over ground."""
        keep = float(np.exp(-step_s / self._gnss.memory_s))
        spread = np.sqrt(1 - keep * keep) * np.array(self._gnss.sigma_m)
        self._drift_m = self._drift_m * keep + spread * self._gnss_noise.standard_normal(3)
        jitter = self._gnss_noise.normal(0, 0.15, 3)
        local = np.array([tick.ego.x_m, tick.ego.y_m, 0.0]) + self._drift_m + jitter
        fix: tuple[Float64s, Float64s, Float64s] = geodetic_from_ecef(
            self._origin_m + self._ecef_R_enu @ local
        )
        bearing = float(np.angle(np.exp(1j * (np.pi / 2 - tick.ego.yaw_rad))))
        return (
            FixSample(mono_ns, float(np.rad2deg(fix[0])), float(np.rad2deg(fix[1])),
                      float(fix[2]), utc_ns),
            SignalSample("gnss.bearing_rad", mono_ns, bearing + float(jitter[0]) * 0.02),
        )  # fmt: skip


def _pitch(accel_mps2: float) -> float:
    """Sine of the body's pitch when it squats or dives."""
    return 0.006 * accel_mps2


def lead_signals(tracks: Float64s, mono_ns: int) -> list[SignalSample]:
    """The nearest radar track in the path, as two signals; none when there is none."""
    if not tracks.shape[0]:
        return []
    ahead = (np.abs(tracks[:, 2]) < 1.4) & (tracks[:, 1] > 2.0)
    if not ahead.any():
        return []
    lead = tracks[ahead][np.argmin(tracks[ahead, 1])]
    gap = max(0.0, float(lead[1]) - 3.6)
    return [
        SignalSample("lead.distance_m", mono_ns, min(gap, 500.0)),
        SignalSample("lead.closing_mps", mono_ns, float(np.clip(lead[3], -120, 120))),
    ]
