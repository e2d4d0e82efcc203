"""A clip, opened once: what the vehicle's model saw in it, and how its lidars sit."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.geometry import TAXONOMY, SE3_of_quaternion
from contracts.samples import (
    Float64s,
    LidarSample,
    MountSample,
    PerceptionFrame,
    PoseSample,
)
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import RawMessage, read_messages
from kernels.clip.schemas import LIDAR_SWEEP, PERCEPTION, TRANSFORM
from offline.health.sensor_calibration import Off, RawSweep, mount_off
from offline.labels.points.deskew import Trajectory

_SWEEPS, _APART_NS = 12, 300_000_000
_COUNTED_FROM = 0.3
"""What the model itself takes for unlikely is no sighting."""
_LEAST_POSES = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """`figures` by name, empty where no model ran; `mounts` by sensor; `unread` tells of sensors
    whose mount could not be judged, and why.
    """

    figures: dict[str, float] = field(default_factory=dict)
    mounts: dict[str, Off] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def read_clip(path: Path, manifest: ClipManifest, *, mounts: bool = True) -> Reading:
    """Read all that the monitors need. Raises `CorruptError` for a damaged clip."""
    taker = _Taker(manifest, mounts)
    for message in read_messages(path):
        taker.take(message)
    reading = Reading(figures=seen_figures(taker.frames))
    if mounts:
        taker.judge(reading)
    return reading


def seen_figures(frames: list[PerceptionFrame]) -> dict[str, float]:
    """Objects of each class a frame, and how sure the model was; of all frames of a clip."""
    if not frames:
        return {}
    counts = Counter(dict.fromkeys(TAXONOMY.names, 0))
    sure: list[float] = []
    for frame in frames:
        for one in frame.detections:
            if one.probability >= _COUNTED_FROM:
                counts[one.class_name] += 1
                sure.append(one.probability)
    told = {f"{name} a frame": counts[name] / len(frames) for name in counts}
    told["objects a frame"] = len(sure) / len(frames)
    told["uncertainty"] = float(np.mean([frame.uncertainty for frame in frames]))
    if sure:
        told["confidence"] = float(np.mean(sure))
    return told


class _Taker:
    """Decodes what is needed, and of the sweeps only a few, evenly over the clip."""

    def __init__(self, manifest: ClipManifest, mounts: bool) -> None:
        self._offset_ns = manifest.utc_minus_mono_ns
        self._mounts_wanted = mounts
        window = manifest.actual
        span = window.end_mono_ns - window.start_mono_ns
        self._every_ns = max(_APART_NS, span // _SWEEPS)
        self._due: dict[str, int] = {}
        self._decoder = PayloadDecoder()
        self.frames: list[PerceptionFrame] = []
        self.sweeps: defaultdict[str, list[LidarSample]] = defaultdict(list)
        self.mounts: dict[str, Float64s] = {}
        self.poses: list[PoseSample] = []

    def take(self, message: RawMessage) -> None:
        kind, mono_ns = message.schema.name, message.log_ns - self._offset_ns
        if kind == LIDAR_SWEEP:
            if not self._mounts_wanted or mono_ns < self._due.get(message.channel, 0):
                return
            self._due[message.channel] = mono_ns + self._every_ns
        elif kind not in (PERCEPTION, TRANSFORM):
            return
        sample = self._decoder.decode(message.schema, message.channel, mono_ns, message.payload)
        if isinstance(sample, PerceptionFrame):
            self.frames.append(sample)
        elif isinstance(sample, LidarSample):
            self.sweeps[sample.frame_id].append(sample)
        elif isinstance(sample, MountSample):
            self.mounts[sample.frame_id] = sample.ego_SE3_sensor
        elif isinstance(sample, PoseSample):
            self.poses.append(sample)

    def judge(self, reading: Reading) -> None:
        """How each lidar sits."""
        trajectory = _trajectory(self.poses)
        for sensor, samples in sorted(self.sweeps.items()):
            if sensor not in self.mounts:
                reading.unread[sensor] = "the clip does not tell its mount"
            elif trajectory is None:
                reading.unread[sensor] = "the clip does not tell the ego's motion"
            else:
                raw = [_raw(each, trajectory) for each in samples]
                off = mount_off(raw, self.mounts[sensor], trajectory)
                if off is None:
                    reading.unread[sensor] = "its sweeps show too little road"
                else:
                    reading.mounts[sensor] = off


def _trajectory(poses: list[PoseSample]) -> Trajectory | None:
    """Raises `InputError` for poses whose times do not rise."""
    if len(poses) < _LEAST_POSES:
        return None
    stamps = np.array([pose.mono_ns for pose in poses], dtype=np.int64)
    places = [SE3_of_quaternion(pose.position_m, pose.orientation_xyzw) for pose in poses]
    return Trajectory(stamps, np.stack(places))


def _raw(sample: LidarSample, trajectory: Trajectory) -> RawSweep:
    """A first sweep may have begun before the first pose: its points count as taken then."""
    first, last = int(trajectory.stamp_ns[0]), int(trajectory.stamp_ns[-1])
    mono_ns = min(max(sample.mono_ns, first), last)
    taken = np.full(len(sample.xyz_m), mono_ns, dtype=np.int64)
    if sample.time_offset_ns is not None:
        taken = np.clip(sample.mono_ns + sample.time_offset_ns.astype(np.int64), first, last)
    if abs(mono_ns - sample.mono_ns) > NS_PER_S:
        raise InputError(f"the nearest pose is a second from the sweep of {sample.mono_ns}")
    return RawSweep(mono_ns, sample.xyz_m.astype(np.float64), taken)
