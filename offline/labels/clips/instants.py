"""Which instants of a clip can be labelled, and where the ego was: without decoding its sensors."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.channels import POSE
from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s, PoseSample
from kernels.bev.motion import MAX_REACH_NS, PoseTrack
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import read_manifest, read_messages
from kernels.clip.schemas import LIDAR_SWEEP

BEHIND_NS = 100_000_000
"""A sweep's span, over which it has to be brought to its instant."""


PERIOD_NS = 100_000_000
"""Of labels and of the tracks' frames, which their parameters hold for."""


@dataclass(frozen=True, slots=True)
class Instants:
    """`mono_ns` int64 [f], rising, no two of one frame; `world_SE3_ego` float64 [f, 4, 4]."""

    mono_ns: Int64s
    world_SE3_ego: Float64s


def instants_of(clip: Path, ahead_s: float) -> Instants:
    """The instants of a clip's lidar sweeps that can be seen from `ahead_s` later, and at which
    the ego's motion is known; of a faster lidar's, those nearest to every tenth of a second.

    Raises `InputError` where there is none, `CorruptError` for a damaged clip.
    """
    offset_ns = read_manifest(clip).utc_minus_mono_ns
    sweeps: dict[str, list[int]] = defaultdict(list)
    poses: list[PoseSample] = []
    decoder, last_ns = PayloadDecoder(), 0
    for message in read_messages(clip):
        mono_ns = message.log_ns - offset_ns
        last_ns = max(last_ns, mono_ns)
        if message.schema.name == LIDAR_SWEEP:
            sweeps[message.channel].append(mono_ns)
        elif message.channel == POSE:
            sample = decoder.decode(message.schema, message.channel, mono_ns, message.payload)
            if isinstance(sample, PoseSample):
                poses.append(sample)
    if not sweeps or not poses:
        lacks = "lidar sweep" if not sweeps else "pose"
        raise InputError(f"no {lacks} in it: nothing can be labelled", str(clip))
    # Of several lidars, one sets the pace.
    pace = min(sweeps, key=lambda channel: (-len(sweeps[channel]), channel))
    times = np.unique(np.array(sweeps[pace], dtype=np.int64))
    ahead_ns = round(ahead_s * 1e9)
    known = (times - BEHIND_NS >= poses[0].mono_ns - MAX_REACH_NS) & (times + ahead_ns <= min(
        last_ns, poses[-1].mono_ns + MAX_REACH_NS
    ))  # fmt: skip
    times = _one_a_frame(times[known])
    if not times.size:
        raise InputError(f"no instant can be seen from {ahead_s:g} s later", str(clip))
    track = PoseTrack(poses)
    return Instants(times, np.stack([track.world_SE3_ego(int(t)) for t in times]))


def frames_of(mono_ns: Int64s) -> Int64s:
    """The frame, from 0 on, of each of some rising instants: int64 [f]."""
    return np.asarray((mono_ns - mono_ns[0] + PERIOD_NS // 2) // PERIOD_NS)


def _one_a_frame(times: Int64s) -> Int64s:
    if not times.size:
        return times
    frame = frames_of(times)
    off = np.abs(times - times[0] - frame * PERIOD_NS)
    order = np.lexsort((off, frame))
    first = np.append(True, np.diff(frame[order]) > 0)
    return np.asarray(times[np.sort(order[first])])
