"""Sets of sensors: what a kind of vehicle carries.

| set     | cameras              | lidar      | radar |
|---------|----------------------|------------|-------|
| `light` | none                 | none       | yes   |
| `s`     | 4 of 128 x 256       | 32 beams   | yes   |
| `m`     | 6 of 256 x 512       | 64 beams   | yes   |

Vans and trucks carry them higher (`LIFT_M`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from contracts.errors import InputError
from contracts.signals import nearest_name
from sim_fleet.sensors.camera import CameraSpec
from sim_fleet.sensors.lidar import LidarSpec, load_beams
from sim_fleet.sensors.mounts import NO_DRIFT, Drift, Mount
from sim_fleet.sensors.radar import RadarSpec

SENSOR_SETS = ("light", "s", "m")
LIFT_M = {"car": 0.0, "van": 0.5, "truck": 1.3}
"""How much higher than a car's the sensors of each type of vehicle sit."""


@dataclass(frozen=True, slots=True)
class Rig:
    """The sensors of one vehicle, and the drift of each by its channel."""

    name: str
    cameras: tuple[CameraSpec, ...] = ()
    lidars: tuple[LidarSpec, ...] = ()
    radar: RadarSpec = field(default_factory=RadarSpec)
    drift: dict[str, Drift] = field(default_factory=dict)

    def drift_of(self, channel: str) -> Drift:
        return self.drift.get(channel, NO_DRIFT)


def _cameras(
    directions: tuple[tuple[str, float, float], ...], width: int, height: int, lift_m: float
) -> tuple[CameraSpec, ...]:
    cameras = []
    for name, yaw_deg, fov_deg in directions:
        yaw = np.deg2rad(yaw_deg)
        mount = Mount(
            1.35 + 0.55 * float(np.cos(yaw)), 0.55 * float(np.sin(yaw)), 1.55 + lift_m, float(yaw)
        )
        cameras.append(CameraSpec(name, width, height, float(np.deg2rad(fov_deg)), mount))
    return tuple(cameras)


def sensor_rig(name: str, drift: dict[str, Drift] | None = None, vehicle_type: str = "car") -> Rig:
    """The set of that name. Raises `InputError` for any other name or type of vehicle."""
    given = drift or {}
    if vehicle_type not in LIFT_M:
        hint = nearest_name(vehicle_type, LIFT_M)
        raise InputError(f"no vehicle type {vehicle_type!r}{hint}; known: {', '.join(LIFT_M)}")
    lift_m = LIFT_M[vehicle_type]
    top = Mount(1.2, 0.0, 1.9 + lift_m)
    match name:
        case "light":
            return Rig(name, drift=given)
        case "s":
            ways = (("front", 0.0, 70.0), ("left", 90.0, 100.0), ("rear", 180.0, 100.0),
                    ("right", -90.0, 100.0))  # fmt: skip
            lidar = LidarSpec("top", load_beams("spin32"), top)
            return Rig(name, _cameras(ways, 256, 128, lift_m), (lidar,), drift=given)
        case "m":
            six = (("front", 0.0, 60.0), ("front_left", 55.0, 70.0), ("front_right", -55.0, 70.0),
                    ("rear_left", 115.0, 75.0), ("rear_right", -115.0, 75.0),
                    ("rear", 180.0, 90.0))  # fmt: skip
            lidar = LidarSpec("top", load_beams("spin64"), top)
            return Rig(name, _cameras(six, 512, 256, lift_m), (lidar,), drift=given)
    hint = nearest_name(name, SENSOR_SETS)
    raise InputError(f"no sensor set {name!r}{hint}; known: {', '.join(SENSOR_SETS)}")
