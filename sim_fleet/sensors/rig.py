"""Sets of sensors: what a kind of vehicle carries.

| set     | cameras              | lidar      | radar |
|---------|----------------------|------------|-------|
| `light` | none                 | none       | yes   |
| `s`     | 4 of 128 x 256       | 32 beams   | yes   |
| `m`     | 6 of 256 x 512       | 64 beams   | yes   |
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


def _cameras(directions: tuple[tuple[str, float, float], ...], width: int, height: int
             ) -> tuple[CameraSpec, ...]:  # fmt: skip
    cameras = []
    for name, yaw_deg, fov_deg in directions:
        yaw = np.deg2rad(yaw_deg)
        mount = Mount(1.35 + 0.55 * float(np.cos(yaw)), 0.55 * float(np.sin(yaw)), 1.55, float(yaw))
        cameras.append(CameraSpec(name, width, height, float(np.deg2rad(fov_deg)), mount))
    return tuple(cameras)


_TOP = Mount(1.2, 0.0, 1.9)


def sensor_rig(name: str, drift: dict[str, Drift] | None = None) -> Rig:
    """The set of that name. Raises `InputError` for any other."""
    given = drift or {}
    match name:
        case "light":
            return Rig(name, drift=given)
        case "s":
            ways = (("front", 0.0, 70.0), ("left", 90.0, 100.0), ("rear", 180.0, 100.0),
                    ("right", -90.0, 100.0))  # fmt: skip
            lidar = LidarSpec("top", load_beams("spin32"), _TOP)
            return Rig(name, _cameras(ways, 256, 128), (lidar,), drift=given)
        case "m":
            six = (("front", 0.0, 60.0), ("front_left", 55.0, 70.0), ("front_right", -55.0, 70.0),
                    ("rear_left", 115.0, 75.0), ("rear_right", -115.0, 75.0),
                    ("rear", 180.0, 90.0))  # fmt: skip
            lidar = LidarSpec("top", load_beams("spin64"), _TOP)
            return Rig(name, _cameras(six, 512, 256), (lidar,), drift=given)
    hint = nearest_name(name, SENSOR_SETS)
    raise InputError(f"no sensor set {name!r}{hint}; known: {', '.join(SENSOR_SETS)}")
