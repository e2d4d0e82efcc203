"""What a clip holds for an export: poses, calibrations, and when each sensor measured.

Pictures and sweeps are not kept: `payloads` reads them one at a time, in a second pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.channels import POSE
from contracts.clip import ClipManifest
from contracts.errors import InputError
from contracts.geometry import SE3_of_quaternion, apply_SE3
from contracts.labels import EgoPose
from contracts.samples import (
    CalibrationSample,
    Float64s,
    ImageSample,
    LidarSample,
    MountSample,
    PoseSample,
)
from kernels.bev.motion import PoseTrack
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import read_manifest, read_messages
from kernels.clip.schemas import (
    CAMERA_CALIBRATION,
    IMAGE,
    LIDAR_SWEEP,
    RADAR_TRACKS,
    TRANSFORM,
)
from offline.labels.points.deskew import Trajectory, deskewed

_LATCHED = frozenset({CAMERA_CALIBRATION, TRANSFORM})


@dataclass(frozen=True, slots=True)
class Recording:
    """A clip without its payloads.

    `cameras` by channel; `mounts` float64 [4, 4] `ego_SE3_sensor` by lidar channel; `taken`:
    `mono_ns` of each camera's and lidar's messages, rising; `radar` how many radar frames there
    are; `late` how many messages do not come a microsecond after their channel's last.
    """

    clip: Path
    manifest: ClipManifest
    cameras: dict[str, CalibrationSample]
    mounts: dict[str, Float64s]
    poses: tuple[PoseSample, ...]
    taken: dict[str, tuple[int, ...]]
    radar: int
    late: int

    def stamp_us(self, mono_ns: int) -> int:
        """UTC in whole microseconds."""
        return (mono_ns + self.manifest.utc_minus_mono_ns) // 1000


def read_recording(clip: Path) -> Recording:
    """Raises `InputError` for no clip, for a sensor that is not calibrated, and for a clip
    without pictures and sweeps; `CorruptError` for a damaged one.
    """
    if not clip.is_file():
        raise InputError("no clip", str(clip))
    manifest = read_manifest(clip)
    offset_ns, decoder = manifest.utc_minus_mono_ns, PayloadDecoder()
    found, poses, counts = _Mounted(), [], Counter[str]()
    taken: dict[str, list[int]] = {}
    for message in read_messages(clip):
        schema, mono_ns = message.schema.name, message.log_ns - offset_ns
        counts[schema] += 1
        sensed = schema in {IMAGE, LIDAR_SWEEP}
        is_new = sensed and message.channel not in taken
        if sensed:
            here = taken.setdefault(message.channel, [])
            if here and (here[-1] + offset_ns) // 1000 >= message.log_ns // 1000:
                counts["late"] += 1
                continue
            here.append(mono_ns)
        if schema in _LATCHED or (is_new and schema == LIDAR_SWEEP):
            sample = decoder.decode(message.schema, message.channel, mono_ns, message.payload)
            if isinstance(sample, PoseSample):
                poses.append(sample)
            else:
                found.take(sample)
        if is_new and schema == IMAGE:
            found.pictured.add(message.channel)
    if not taken:
        raise InputError("neither a picture nor a sweep in it", str(clip))
    cameras, mounts = found.checked(str(clip))
    return Recording(
        clip, manifest, cameras, mounts, tuple(poses),
        {channel: tuple(times) for channel, times in sorted(taken.items())},
        counts[RADAR_TRACKS], counts["late"],
    )  # fmt: skip


class _Mounted:
    """Calibrations and mounts as they come, and who needs them."""

    def __init__(self) -> None:
        self._cameras: dict[str, CalibrationSample] = {}
        self._mounts: dict[str, Float64s] = {}
        self._lidars: dict[str, str] = {}
        self.pictured: set[str] = set()

    def take(self, sample: object) -> None:
        match sample:
            case CalibrationSample():
                self._cameras.setdefault(sample.channel, sample)
            case MountSample():
                self._mounts.setdefault(sample.frame_id, sample.ego_SE3_sensor)
            case LidarSample():
                self._lidars[sample.channel] = sample.frame_id

    def checked(self, place: str) -> tuple[dict[str, CalibrationSample], dict[str, Float64s]]:
        for channel in sorted(self.pictured):
            if channel not in self._cameras:
                raise InputError(f"no calibration of {channel}", place)
        needed = {name: self._cameras[name].frame_id for name in self.pictured} | self._lidars
        for channel, frame_id in sorted(needed.items()):
            if frame_id not in self._mounts:
                raise InputError(f"no mount of {channel} ({frame_id})", place)
        cameras = {name: self._cameras[name] for name in sorted(self.pictured)}
        return cameras, {name: self._mounts[frame] for name, frame in self._lidars.items()}


def payloads(
    recording: Recording, schemas: Collection[str] = (IMAGE, LIDAR_SWEEP)
) -> Iterator[ImageSample | LidarSample]:
    """Its pictures and sweeps in the order of the file, those that are `late` left out."""
    offset_ns, decoder = recording.manifest.utc_minus_mono_ns, PayloadDecoder()
    waiting = {channel: iter(times) for channel, times in recording.taken.items()}
    due = {channel: next(times, None) for channel, times in waiting.items()}
    for message in read_messages(recording.clip):
        if message.schema.name not in schemas:
            continue
        mono_ns = message.log_ns - offset_ns
        if due[message.channel] != mono_ns:
            continue
        due[message.channel] = next(waiting[message.channel], None)
        sample = decoder.decode(message.schema, message.channel, mono_ns, message.payload)
        if isinstance(sample, ImageSample | LidarSample):
            yield sample


def known_poses(
    recording: Recording, labelled: Sequence[tuple[int, EgoPose | None]]
) -> tuple[PoseSample, ...]:
    """The clip's poses, or those of its labels where it has none; perhaps none at all.

    Args:
        labelled: `mono_ns` and pose of each labelled frame.
    """
    return recording.poses or tuple(
        PoseSample(mono_ns, np.array(pose.position_m), np.array(pose.orientation_xyzw))
        for mono_ns, pose in labelled
        if pose is not None
    )


def motion_of(
    recording: Recording, poses: Sequence[PoseSample]
) -> tuple[PoseTrack, Trajectory | None]:
    """Where the ego was. Raises `InputError` for no pose, or ones whose times do not rise."""
    if not poses:
        raise InputError(f"no pose: neither {POSE} nor a labelled frame tells one",
                         str(recording.clip))  # fmt: skip
    try:
        track = PoseTrack(poses)
    except InputError as error:
        raise InputError(error.message, str(recording.clip)) from None
    if len(poses) < 2:
        return track, None
    each = [SE3_of_quaternion(one.position_m, one.orientation_xyzw) for one in poses]
    stamps = np.array([one.mono_ns for one in poses], dtype=np.int64)
    return track, Trajectory(stamps, np.stack(each))


def swept_at_once(
    sweep: LidarSample, ego_SE3_lidar: Float64s, trajectory: Trajectory | None
) -> Float64s:
    """Points float64 [n, 3] in the ego frame of the sweep's stamp, as if all were taken then.

    Points from before the first pose take the first one's motion. Without times of points, or
    without motion, they are as they were measured.
    """
    points = apply_SE3(ego_SE3_lidar, sweep.xyz_m.astype(np.float64))
    offsets = sweep.time_offset_ns
    if offsets is None or trajectory is None or not offsets.any():
        return points
    first, last = int(trajectory.stamp_ns[0]), int(trajectory.stamp_ns[-1])
    times = np.clip(sweep.mono_ns + offsets.astype(np.int64), first, last)
    return deskewed(points, times, min(max(sweep.mono_ns, first), last), trajectory)
