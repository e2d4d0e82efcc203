"""What the lidars measured of labelled instants: points in the ego frame, motion taken out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from contracts.geometry import apply_SE3
from contracts.labels import FrameLabels
from contracts.samples import Float32s, LidarSample
from kernels.bev.motion import UnknownMotionError
from kernels.clip.schemas import LIDAR_SWEEP
from offline.labels.formats.recording import (
    Recording,
    known_poses,
    motion_of,
    payloads,
    swept_at_once,
)
from offline.labels.formats.sensing import placed
from offline.labels.formats.sequence import LeftOut

_INTENSITY = 255.0


def points_of(
    recording: Recording, frames: Sequence[FrameLabels], left_out: LeftOut
) -> Iterator[tuple[int, Float32s]]:
    """`mono_ns` and points float32 [n, 4] (x, y, z, intensity in 0..1) of each frame that has a
    sweep nearby, of all lidars together, in the order of time.

    A sweep beside its frame is moved there by the ego's poses; where these tell nothing it is
    counted, and left out.
    """
    keys = [frame.record.mono_ns for frame in frames]
    poses = known_poses(recording, [(one.record.mono_ns, one.record.ego_pose) for one in frames])
    track, trajectory = motion_of(recording, poses) if poses else (None, None)
    place: dict[tuple[str, int], int] = {}
    for channel in recording.mounts:
        times = recording.taken[channel]
        for time, here in zip(times, placed(times, keys), strict=True):
            if here.is_key:
                place[channel, time] = here.sample
    missing = Counter(place.values())
    parts: dict[int, list[Float32s]] = defaultdict(list)
    for sweep in payloads(recording, (LIDAR_SWEEP,)):
        number = place.get((sweep.channel, sweep.mono_ns))
        if number is None or not isinstance(sweep, LidarSample):
            continue
        xyz = swept_at_once(sweep, recording.mounts[sweep.channel], trajectory)
        missing[number] -= 1
        try:
            if sweep.mono_ns != keys[number]:
                if track is None:
                    raise UnknownMotionError("no pose")
                xyz = apply_SE3(track.now_SE3_then(keys[number], sweep.mono_ns), xyz)
        except UnknownMotionError:
            left_out.add(f"sweep of {sweep.channel} beside its frame, and no pose to move it by")
        else:
            rows = np.column_stack([xyz, sweep.intensity / _INTENSITY]).astype(np.float32)
            parts[number].append(rows)
        if not missing[number] and number in parts:
            yield keys[number], np.concatenate(parts.pop(number))
