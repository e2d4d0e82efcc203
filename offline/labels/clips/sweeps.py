"""The lidar of a clip as the tracker takes it: by frame, in the ego frame, motion taken out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Int64s, SE3_of_quaternion, apply_SE3
from contracts.samples import Float32s, Float64s, LidarSample, MountSample, PoseSample
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import read_manifest, read_messages
from kernels.clip.schemas import LIDAR_SWEEP, TRANSFORM
from offline.labels.clips.instants import PERIOD_NS, frames_of
from offline.labels.points.deskew import Trajectory, deskewed
from offline.labels.points.sweep import Sweep

_KEPT_M = 90.0
_INTENSITY = 255.0


@dataclass(frozen=True, slots=True)
class ClipSweeps:
    """`points` float32 [n, 6] of each frame: x, y, z in the ego frame, intensity in 0..1, how many
    frames late, and which lidar's; `lidars_m` float64 [l, 3]: where these sit in the ego frame.
    """

    points: dict[int, Float32s]
    lidars_m: Float64s

    def get(self, frame: int, /) -> Sweep | None:
        """As `Sweeps.get`."""
        found = self.points.get(frame)
        if found is None:
            return None
        xyz, bright, late = (found[:, part].astype(np.float64) for part in (slice(3), 3, 4))
        return Sweep(xyz, bright, late, self.lidars_m[found[:, 5].astype(np.int64)])


def read_sweeps(clip: Path, mono_ns: Int64s) -> ClipSweeps:
    """The sweeps at a clip's labelled instants; of several lidars all that are at one.

    Raises `InputError` for a lidar whose mount the clip does not tell.
    """
    offset_ns = read_manifest(clip).utc_minus_mono_ns
    frames = dict(zip(mono_ns.tolist(), frames_of(mono_ns).tolist(), strict=True))
    decoder = PayloadDecoder()
    mounts: dict[str, Float64s] = {}
    poses: list[PoseSample] = []
    found: list[LidarSample] = []
    for message in read_messages(clip):
        at_ns = message.log_ns - offset_ns
        is_sweep = message.schema.name == LIDAR_SWEEP
        if (is_sweep and at_ns in frames) or message.schema.name == TRANSFORM:
            sample = decoder.decode(message.schema, message.channel, at_ns, message.payload)
            if isinstance(sample, LidarSample):
                found.append(sample)
            elif isinstance(sample, MountSample):
                mounts[sample.frame_id] = sample.ego_SE3_sensor
            elif isinstance(sample, PoseSample):
                poses.append(sample)
    lost = sorted({one.frame_id for one in found} - set(mounts))
    if lost:
        raise InputError(f"no mount of {', '.join(lost)} in it", str(clip))
    trajectory = _trajectory(poses) if len(poses) > 1 else None
    parts: dict[int, list[Float32s]] = {}
    lidars = sorted({one.frame_id for one in found})
    for sample in found:
        points = _in_ego(sample, mounts[sample.frame_id], trajectory)
        which = np.full((len(points), 1), lidars.index(sample.frame_id), dtype=np.float32)
        parts.setdefault(frames[sample.mono_ns], []).append(np.hstack([points, which]))
    places = np.array([mounts[name][:3, 3] for name in lidars]).reshape(-1, 3)
    return ClipSweeps({frame: np.concatenate(some) for frame, some in parts.items()}, places)


def _trajectory(poses: list[PoseSample]) -> Trajectory:
    stamps = np.array([pose.mono_ns for pose in poses], dtype=np.int64)
    return Trajectory(
        stamps,
        np.stack([SE3_of_quaternion(pose.position_m, pose.orientation_xyzw) for pose in poses]),
    )


def _in_ego(sample: LidarSample, ego_SE3_lidar: Float64s, trajectory: Trajectory | None
            ) -> Float32s:  # fmt: skip
    """As `ClipSweeps.points`, without the lidar's number."""
    xyz = apply_SE3(ego_SE3_lidar, sample.xyz_m.astype(np.float64))
    near = np.hypot(xyz[:, 0], xyz[:, 1]) < _KEPT_M
    xyz, intensity = xyz[near], sample.intensity[near]
    offsets = sample.time_offset_ns
    late = np.zeros(intensity.size)
    if offsets is not None and offsets.size:
        late = offsets[near] / PERIOD_NS
    if offsets is not None and offsets.size and trajectory is not None:
        # A first sweep may have begun before the first pose.
        first, last = int(trajectory.stamp_ns[0]), int(trajectory.stamp_ns[-1])
        taken = np.clip(sample.mono_ns + offsets[near].astype(np.int64), first, last)
        xyz = deskewed(xyz, taken, min(max(sample.mono_ns, first), last), trajectory)
    return np.column_stack([xyz, intensity / _INTENSITY, late]).astype(np.float32)
