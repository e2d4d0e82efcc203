"""The signal catalogue: every scalar that a trigger may read, with its unit and range.

Names carry their unit, so a rule reads without a manual (`ego.decel_mps2 > 2.0`). A source
publishes some of these; the agent derives others (`derived=True`). A value outside
`[low, high]`, or not finite, is rejected at the door and counted: a trigger never sees it.
A value older than `max_age_s` counts as absent.

Axes are those of ISO 8855: x forward, y left, z up; yaw is positive to the left.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from contracts.errors import InputError


@dataclass(frozen=True, slots=True)
class Signal:
    """One catalogued scalar. `unit` is '' for a ratio or count and 'bool' for 0 or 1."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str
    max_age_s: float = 0.5
    derived: bool = False


CATALOGUE: tuple[Signal, ...] = (
    Signal("ego.speed_mps", "m/s", -20.0, 120.0, "speed over ground, positive forward"),
    Signal(
        "ego.accel_mps2",
        "m/s^2",
        -40.0,
        40.0,
        "longitudinal acceleration; derived from speed where the vehicle does not measure it",
        derived=True,
    ),
    Signal(
        "ego.decel_mps2", "m/s^2", -40.0, 40.0, "deceleration: minus ego.accel_mps2", derived=True
    ),
    Signal(
        "ego.lat_accel_mps2",
        "m/s^2",
        -40.0,
        40.0,
        "lateral acceleration, positive left; derived "
        "as speed x yaw rate where the vehicle does not measure it",
        derived=True,
    ),
    Signal("ego.jerk_mps3", "m/s^3", -400.0, 400.0, "derivative of ego.accel_mps2", derived=True),
    Signal("ego.yaw_rate_radps", "rad/s", -4.0, 4.0, "yaw rate, positive left"),
    Signal("ego.steering_angle_rad", "rad", -20.0, 20.0, "steering-wheel angle, positive left"),
    Signal("ego.wheel_fl_mps", "m/s", -20.0, 120.0, "wheel speed, front left"),
    Signal("ego.wheel_fr_mps", "m/s", -20.0, 120.0, "wheel speed, front right"),
    Signal("ego.wheel_rl_mps", "m/s", -20.0, 120.0, "wheel speed, rear left"),
    Signal("ego.wheel_rr_mps", "m/s", -20.0, 120.0, "wheel speed, rear right"),
    Signal("imu.accel_x_mps2", "m/s^2", -80.0, 80.0, "specific force, forward, as mounted"),
    Signal("imu.accel_y_mps2", "m/s^2", -80.0, 80.0, "specific force, left, as mounted"),
    Signal("imu.accel_z_mps2", "m/s^2", -80.0, 80.0, "specific force, up, as mounted"),
    Signal("imu.gyro_x_radps", "rad/s", -20.0, 20.0, "roll rate, as mounted"),
    Signal("imu.gyro_y_radps", "rad/s", -20.0, 20.0, "pitch rate, as mounted"),
    Signal("imu.gyro_z_radps", "rad/s", -20.0, 20.0, "yaw rate, as mounted"),
    Signal("driver.brake_pressed", "bool", 0.0, 1.0, "the driver presses the brake", 1.0),
    Signal("driver.gas_pressed", "bool", 0.0, 1.0, "the driver presses the accelerator", 1.0),
    Signal("driver.steer_override", "bool", 0.0, 1.0, "the driver turns against the system", 1.0),
    Signal("autonomy.engaged", "bool", 0.0, 1.0, "driver assistance or autonomy controls", 1.0),
    Signal("autonomy.fault", "bool", 0.0, 1.0, "the system reports a fault of its own", 1.0),
    Signal("autonomy.emergency_stop", "bool", 0.0, 1.0, "an emergency stop was requested", 1.0),
    Signal("gnss.lat_deg", "deg", -90.0, 90.0, "latitude, WGS 84", 3.0),
    Signal("gnss.lon_deg", "deg", -180.0, 180.0, "longitude, WGS 84", 3.0),
    Signal("gnss.alt_m", "m", -1000.0, 10000.0, "height above the ellipsoid", 3.0),
    Signal("gnss.bearing_rad", "rad", -7.0, 7.0, "course over ground, clockwise from north", 3.0),
    Signal("lead.distance_m", "m", 0.0, 500.0, "gap to the nearest object in the path"),
    Signal("lead.closing_mps", "m/s", -120.0, 120.0, "closing speed to it, positive when nearing"),
    Signal(
        "lead.ttc_s",
        "s",
        0.0,
        1000.0,
        "time to collision with it; absent when not closing",
        derived=True,
    ),
    Signal(
        "perception.object_count", "", 0.0, 10000.0, "detections in the newest frame", 1.0, True
    ),
    Signal(
        "perception.uncertainty",
        "",
        0.0,
        1.0,
        "mean normalised class entropy of the frame's detections, weighted to those that matter",
        1.0,
        True,
    ),
    Signal(
        "perception.margin",
        "",
        0.0,
        1.0,
        "smallest gap between the two best classes among the frame's detections",
        1.0,
        True,
    ),
    Signal(
        "planner.ade_m",
        "m",
        0.0,
        1000.0,
        "mean distance between the plan made one horizon ago and the path driven since",
        1.0,
        True,
    ),
    Signal(
        "planner.fde_m", "m", 0.0, 1000.0, "distance between both at the horizon's end", 1.0, True
    ),
    Signal("driver.bookmark", "bool", 0.0, 1.0, "the driver presses the bookmark button", 1.0),
    Signal(
        "perception.flickers",
        "",
        0.0,
        10000.0,
        "objects of the last second that appeared and vanished, or vanished and came back",
        1.0,
        True,
    ),
    Signal(
        "perception.unknown_probability",
        "",
        0.0,
        1.0,
        "highest probability among the frame's detections that something is there and is not of "
        "its best class",
        1.0,
        True,
    ),
    Signal(
        "perception.unexplained_points",
        "",
        0.0,
        1e6,
        "lidar returns of the largest cluster in the path that no detection explains",
        1.0,
        True,
    ),
    Signal("perception.unexplained_m", "m", 0.0, 500.0, "distance along the path to it", 1.0, True),
    Signal(
        "perception.lidar_checked",
        "",
        0.0,
        10000.0,
        "detections about which the lidar can say whether something is there",
        1.0,
        True,
    ),
    Signal(
        "perception.lidar_missed",
        "",
        0.0,
        10000.0,
        "those of them through which the lidar looks: it sees what is behind, and nothing in them",
        1.0,
        True,
    ),
    Signal(
        "calibration.drift_rad",
        "rad",
        0.0,
        1.0,
        "turn of a camera by which it fits the lidar better than as calibrated",
        10.0,
        True,
    ),
    Signal(
        "shadow.disagreement",
        "",
        0.0,
        1.0,
        "share of objects on which a candidate in shadow differs from the active model",
        3.0,
        True,
    ),
    Signal(
        "shadow.frames",
        "",
        0.0,
        1e12,
        "frames on which both were compared so far",
        3.0,
        True,
    ),
)

SIGNAL_INDEX: dict[str, int] = {signal.name: i for i, signal in enumerate(CATALOGUE)}
"""Row of each signal in the trigger kernels' value vector."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: `; did you mean 'x'?`, or '' when nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def signal_named(name: str, place: str | None = None) -> Signal:
    """Look a signal up. Raises `InputError` with the nearest name when there is none."""
    index = SIGNAL_INDEX.get(name)
    if index is None:
        raise InputError(f"no signal is called {name!r}{nearest_name(name, SIGNAL_INDEX)}", place)
    return CATALOGUE[index]
