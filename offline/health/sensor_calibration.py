"""Whether lidars still sit where their vehicles say: clip by clip, vehicle by vehicle.

Each clip gives one value an angle (medians over its sweeps). Over a vehicle's clips a chart tells
when one has left the declared mount by more than is tolerated. How much clips scatter is learned
from all vehicles together, by how far neighbours in time differ: a drift that is there from the
first clip on cannot hide in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from contracts.geometry import Finite, Frozen, Int64s, apply_SE3
from contracts.samples import Float64s
from offline.health.cusum import first_alarm
from offline.health.ground_tilt import Tilt, ground_tilt
from offline.health.heading import PosedSweep, yaw_off
from offline.health.records import MountAlarm, MountHealth, MountSample
from offline.labels.points.deskew import Trajectory, deskewed

Angle = Literal["roll", "pitch", "height", "yaw"]
_SCALE = 1.4826
_LEAST_SWEEPS, _LEAST_STEPS = 3, 10
_CHARTS = 4


class Limit(Frozen):
    """Of one angle, in radians or metres: `tolerance` is no drift, `noise` the least that clips
    are taken to scatter by.
    """

    tolerance: Finite
    noise: Finite


@dataclass(frozen=True, slots=True)
class MountWatch:
    """`clips_between`: mean number of a sensor's clips between two false alarms, of all of its
    angles together.
    """

    limits: dict[Angle, Limit] = field(
        default_factory=lambda: {
            "roll": Limit(tolerance=np.deg2rad(0.3), noise=np.deg2rad(0.1)),
            "pitch": Limit(tolerance=np.deg2rad(0.3), noise=np.deg2rad(0.1)),
            "height": Limit(tolerance=0.03, noise=0.01),
            "yaw": Limit(tolerance=np.deg2rad(0.3), noise=np.deg2rad(0.1)),
        }
    )
    clips_between: float = 10_000.0


@dataclass(frozen=True, slots=True)
class Off:
    """A mount beside what is declared, over `sweeps` of one clip; units as `MountSample`."""

    roll_rad: float
    pitch_rad: float
    height_m: float
    yaw_rad: float | None
    sweeps: int


@dataclass(frozen=True, slots=True)
class RawSweep:
    """A sweep as the lidar told it: `xyz_m` float64 [n, 3] in its own frame, `point_ns` int64 [n]
    when each point was taken, `mono_ns` the sweep's instant.
    """

    mono_ns: int
    xyz_m: Float64s
    point_ns: Int64s


def mount_off(
    sweeps: Sequence[RawSweep], ego_SE3_lidar: Float64s, trajectory: Trajectory
) -> Off | None:  # fmt: skip
    """Of one clip; None where its sweeps show too little road.

    Args:
        ego_SE3_lidar: the declared mount, float64 [4, 4].
        trajectory: of the ego, over all of the points' times.
    """
    lidar_m = ego_SE3_lidar[:3, 3]
    tilts = [
        found for each in sweeps
        if (found := ground_tilt(apply_SE3(ego_SE3_lidar, each.xyz_m), lidar_m)) is not None
    ]  # fmt: skip
    if len(tilts) < _LEAST_SWEEPS:
        return None
    table = np.array([(each.roll_rad, each.pitch_rad, each.height_m) for each in tilts])
    tilt = Tilt(*np.median(table, axis=0).tolist())
    mount = tilt.righted(ego_SE3_lidar)
    posed = [_posed(each, mount, trajectory) for each in sweeps]
    yaw = yaw_off(posed, mount[:3, 3])
    return Off(tilt.roll_rad, tilt.pitch_rad, tilt.height_m, yaw, len(tilts))


def _posed(sweep: RawSweep, mount: Float64s, trajectory: Trajectory) -> PosedSweep:
    points = deskewed(apply_SE3(mount, sweep.xyz_m), sweep.point_ns, sweep.mono_ns, trajectory)
    return PosedSweep(points, trajectory.at(np.array([sweep.mono_ns]))[0])


def mount_health(
    samples: Iterable[MountSample], watch: MountWatch | None = None
) -> tuple[MountHealth, ...]:
    """Each sensor of each vehicle over its clips in the order of time."""
    watch = watch or MountWatch()
    by_sensor: dict[tuple[str, str], list[MountSample]] = defaultdict(list)
    for sample in samples:
        by_sensor[sample.vehicle_id, sample.sensor].append(sample)
    series = [
        tuple(sorted(held, key=lambda each: (each.utc_ns, each.clip_id)))
        for _, held in sorted(by_sensor.items())
    ]
    noise: dict[Angle, float] = {
        angle: max(limit.noise, _scatter([_values(held, angle)[1] for held in series]))
        for angle, limit in watch.limits.items()
    }
    return tuple(_health(held, noise, watch) for held in series)


def _values(samples: Sequence[MountSample], angle: Angle) -> tuple[list[MountSample], list[float]]:
    """The samples that know an angle, and it."""
    name = "height_m" if angle == "height" else f"{angle}_rad"
    known = [each for each in samples if getattr(each, name) is not None]
    return known, [float(getattr(each, name)) for each in known]


def _scatter(series: Sequence[Sequence[float]]) -> float:
    """Standard deviation of single values, by the differences of neighbours; 0 of too few."""
    steps = np.concatenate([np.diff(values) for values in series]) if series else np.zeros(0)
    if steps.size < _LEAST_STEPS:
        return 0.0
    return float(_SCALE * np.median(np.abs(steps)) / np.sqrt(2))


def _health(
    samples: tuple[MountSample, ...], noise: dict[Angle, float], watch: MountWatch
) -> MountHealth:
    alarms = []
    for angle, limit in watch.limits.items():
        known, values = _values(samples, angle)
        left = first_alarm(values, noise[angle], limit.tolerance, _CHARTS * watch.clips_between)
        if left is not None:
            clip = known[left.at]
            alarms.append(
                MountAlarm(angle=angle, clip_id=clip.clip_id, at_utc_ns=clip.utc_ns,
                           value=left.value)
            )  # fmt: skip
    yaws = _values(samples, "yaw")[1]
    return MountHealth(
        vehicle_id=samples[0].vehicle_id, sensor=samples[0].sensor, clips=len(samples),
        roll_rad=float(np.median(_values(samples, "roll")[1])),
        pitch_rad=float(np.median(_values(samples, "pitch")[1])),
        height_m=float(np.median(_values(samples, "height")[1])),
        yaw_rad=float(np.median(yaws)) if yaws else None, alarms=tuple(alarms), samples=samples,
    )  # fmt: skip
