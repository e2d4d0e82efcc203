"""A recorded drive at full sensor rate, played at wall speed as live sensors would.

Six cameras of 1600 x 900 and a lidar of 128 beams, ten times a second, with signals and poses at
50 Hz, in the simulated world. A few seconds are recorded once and played over and over; each round
begins where the one before ended, so that motion never jumps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
from scipy.spatial.transform import Rotation

from contracts.clock import NS_PER_S, Clock, ClockQuality
from contracts.geometry import SE3_of_quaternion
from contracts.samples import (
    CalibrationSample,
    Float64s,
    ImageSample,
    LidarSample,
    MountSample,
    PoseSample,
    Sample,
)
from edge_agent.ports import SourceDescription
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.sensors.camera import CameraSpec
from sim_fleet.sensors.lidar import BeamFile, LidarSpec
from sim_fleet.sensors.rig import Rig, sensor_rig
from sim_fleet.source import DriveOptions, SimFleetSource

WIDTH_PX, HEIGHT_PX = 1600, 900
BUFFER_NS = NS_PER_S // 2
"""What a sensor's driver holds: a frame that waited longer is overwritten."""
_BEAMS, _COLUMNS = 128, 2032
"""Some 244,000 of their points come back from this street."""
_SIGHT = (ImageSample, LidarSample)
_LATCHED = (CalibrationSample, MountSample)


def full_rig() -> Rig:
    """The sensors of set `s`, large: its four cameras, two more ahead, and 128 beams."""
    small = sensor_rig("s")
    cameras = [replace(each, width=WIDTH_PX, height=HEIGHT_PX) for each in small.cameras]
    ahead = cameras[0]
    cameras += [_ahead(ahead, "front_tele", 30.0), _ahead(ahead, "front_wide", 120.0)]
    elevations = tuple(np.linspace(2.0, -24.0, _BEAMS).round(3).tolist())
    beams = BeamFile(
        columns=_COLUMNS, rate_hz=10, max_m=120.0, range_sigma_m=0.015, elevations_deg=elevations
    )
    return Rig("full", tuple(cameras), (LidarSpec("top", beams, small.lidars[0].mount),))


def _ahead(camera: CameraSpec, name: str, fov_deg: float) -> CameraSpec:
    return replace(camera, name=name, fov_rad=float(np.deg2rad(fov_deg)))


class FullRateSource:
    """`SensorSource` that plays a recording for `seconds` of the clock's time, then ends.

    A picture or sweep that is due longer ago than `BUFFER_NS` is dropped, as a driver that nobody
    reads overwrites its oldest, and counted by channel. Signals and poses are never dropped.

    Args:
        wait: waits for some seconds.
        on_second: told of each whole second that was played.

    Attributes:
        lateness_ns: of each sweep that was handed over, behind its time.
        offered: pictures and sweeps by channel, dropped ones too.
    """

    def __init__(
        self, samples: Sequence[Sample], seconds: float, clock: Clock,
        wait: Callable[[float], object], on_second: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._latched = [each for each in samples if isinstance(each, _LATCHED)]
        self._samples = [each for each in samples if not isinstance(each, _LATCHED)]
        self._seconds = seconds
        self._clock = clock
        self._wait = wait
        self._on_second = on_second
        self._dropped: Counter[str] = Counter()
        self.offered: Counter[str] = Counter()
        self.lateness_ns: list[int] = []

    @property
    def counts(self) -> Mapping[str, int]:
        return self._dropped

    def describe(self) -> SourceDescription:
        seen = [each for each in self._samples if isinstance(each, ImageSample | LidarSample)]
        cameras = dict.fromkeys(each.channel for each in seen if isinstance(each, ImageSample))
        lidars = dict.fromkeys(each.channel for each in seen if isinstance(each, LidarSample))
        return SourceDescription(
            drive_id="full-rate", boot_id="full-rate-1",
            utc_minus_mono_ns=self._clock.utc_ns() - self._clock.mono_ns(),
            clock=ClockQuality(synchronised=False, source="none"),
            signals=frozenset(each.name for each in self._samples if hasattr(each, "name")),
            camera_channels=tuple(cameras), lidar_channels=tuple(lidars),
            has_pose=True, has_plan=True, has_radar=True,
        )  # fmt: skip

    def samples(self) -> Iterator[Sample]:
        now_ns = self._clock.mono_ns()
        yield from (replace(each, mono_ns=now_ns) for each in self._latched)
        # An agent asks for the first sample, makes itself ready, then asks for the others.
        begin_ns = self._clock.mono_ns()
        first_ns = self._samples[0].mono_ns
        way, length_ns = _round(self._samples)
        reached = np.eye(4)
        told_s = 0
        for number in count():
            shift_ns = begin_ns - first_ns + number * length_ns
            for sample in self._samples:
                moved = _moved(sample, shift_ns, reached)
                due_ns = moved.mono_ns
                if due_ns - begin_ns >= self._seconds * NS_PER_S:
                    return
                self._hold(due_ns)
                if self._is_taken(moved, due_ns):
                    yield moved
                if (due_ns - begin_ns) // NS_PER_S > told_s:
                    told_s = (due_ns - begin_ns) // NS_PER_S
                    self._on_second(told_s)
            reached = reached @ way

    def _hold(self, due_ns: int) -> None:
        while (left_ns := due_ns - self._clock.mono_ns()) > 0:
            self._wait(left_ns / NS_PER_S)

    def _is_taken(self, sample: Sample, due_ns: int) -> bool:
        if not isinstance(sample, _SIGHT):
            return True
        self.offered[sample.channel] += 1
        late_ns = self._clock.mono_ns() - due_ns
        if late_ns > BUFFER_NS:
            self._dropped[f"{sample.channel}: overwritten before it was read"] += 1
            return False
        if isinstance(sample, LidarSample):
            self.lateness_ns.append(late_ns)
        return True


def recorded(seconds: float, rig: Rig | None = None, seed: int = 7) -> list[Sample]:
    """A drive in the city, with every sample in memory."""
    options = DriveOptions(load_scenario("everyday-city"), seed, "s", seconds)
    return list(SimFleetSource(options, rig=rig or full_rig()).samples())


def _moved(sample: Sample, shift_ns: int, reached: Float64s) -> Sample:
    """The same sample later on the same way."""
    mono_ns = sample.mono_ns + shift_ns
    if not isinstance(sample, PoseSample):
        return replace(sample, mono_ns=mono_ns)
    pose = reached @ _matrix(sample)
    return PoseSample(mono_ns, pose[:3, 3].copy(), Rotation.from_matrix(pose[:3, :3]).as_quat())


def _round(samples: Sequence[Sample]) -> tuple[Float64s, int]:
    """What takes the first pose of a round to where the next begins, [4, 4]; and how long it is.

    The next round begins one step of the poses after the last one.
    """
    poses = [each for each in samples if isinstance(each, PoseSample)]
    first, last = _matrix(poses[0]), _matrix(poses[-1])
    step = np.linalg.inv(_matrix(poses[-2])) @ last
    length_ns = 2 * poses[-1].mono_ns - poses[-2].mono_ns - poses[0].mono_ns
    return np.asarray(last @ step @ np.linalg.inv(first)), length_ns


def _matrix(pose: PoseSample) -> Float64s:
    return SE3_of_quaternion(pose.position_m, pose.orientation_xyzw)
