"""The vehicle's own detections of a clip, joined to tracks: only to see how steady they are.

Each frame's boxes go to the nearest tracks, nearest pairs first, where these would be by their
last velocity; of any class, since a change of class is one of the things looked for. A track
unseen for `PATIENCE_S` ends. Places are in the world, by the clip's poses.

Does not do: labels. `offline.labels.auto` makes tracks with both past and future.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.channels import BEV
from contracts.clock import NS_PER_S
from contracts.geometry import apply_SE3
from contracts.samples import Detection, Float64s, PerceptionFrame, PoseSample
from kernels.bev.motion import PoseTrack, UnknownMotionError
from offline.acquisition.scores.tracks import TrackedBoxes

GATE_M = 2.0
PATIENCE_S = 1.0
LEAST_PROBABILITY = 0.2
"""What the model itself takes for unlikely is no sighting."""


@dataclass(slots=True)
class _Track:
    number: int
    xy_m: Float64s
    velocity_mps: Float64s
    seen_ns: int

    def at(self, mono_ns: int) -> Float64s:
        return self.xy_m + self.velocity_mps * ((mono_ns - self.seen_ns) / NS_PER_S)


def tracked(frames: Sequence[PerceptionFrame], poses: Sequence[PoseSample]) -> TrackedBoxes | None:
    """Tracks over a clip; None when no bird's-eye model ran or the ego's motion is unknown.

    Args:
        frames: of all models' channels, in the order of time.
    """
    seen = [frame for frame in frames if frame.channel == BEV]
    if not seen or not poses:
        return None
    motion = PoseTrack(poses)
    kinds: dict[str, int] = {}
    live: list[_Track] = []
    rows: list[tuple[int, int, int, float, float, float]] = []
    count = 0
    try:
        for frame in seen:
            now_ns = frame.mono_ns
            live = [t for t in live if now_ns - t.seen_ns <= PATIENCE_S * NS_PER_S]
            boxes = [d for d in frame.detections if _counts(d)]
            xy, velocity = _in_world(boxes, motion.world_SE3_ego(now_ns))
            taken = _assigned(live, xy, now_ns)
            for k, box in enumerate(boxes):
                track = taken.get(k)
                if track is None:
                    track = _Track(count, xy[k], velocity[k], now_ns)
                    count += 1
                    live.append(track)
                track.xy_m, track.velocity_mps, track.seen_ns = xy[k], velocity[k], now_ns
                kind = kinds.setdefault(box.class_name, len(kinds))
                rows.append((track.number, now_ns, kind, box.probability, *xy[k].tolist()))
    except UnknownMotionError:
        return None
    whole = np.array([row[:3] for row in rows], dtype=np.int64).reshape(-1, 3)
    real = np.array([row[3:] for row in rows], dtype=np.float64).reshape(-1, 3)
    times = np.array([frame.mono_ns for frame in seen], dtype=np.int64)
    return TrackedBoxes(whole[:, 0], whole[:, 1], whole[:, 2], real[:, 0], real[:, 1:], times)


def _counts(box: Detection) -> bool:
    return box.cuboid is not None and box.probability >= LEAST_PROBABILITY


def _in_world(boxes: Sequence[Detection], world_SE3_ego: Float64s) -> tuple[Float64s, Float64s]:
    """Places and velocities over ground [k, 2]."""
    cuboids = [box.cuboid for box in boxes if box.cuboid is not None]
    centres = np.array([c.centre_m for c in cuboids], dtype=np.float64).reshape(-1, 3)
    speeds = np.array([c.velocity_mps for c in cuboids], dtype=np.float64).reshape(-1, 2)
    return apply_SE3(world_SE3_ego, centres)[:, :2], speeds @ world_SE3_ego[:2, :2].T


def _assigned(live: Sequence[_Track], xy_m: Float64s, now_ns: int) -> dict[int, _Track]:
    """The track of each box that has one, by the box's row."""
    if not live or not len(xy_m):
        return {}
    expected = np.array([track.at(now_ns) for track in live])
    away = np.hypot(*np.moveaxis(xy_m[:, None] - expected[None], -1, 0))
    found: dict[int, _Track] = {}
    free = set(range(len(live)))
    for flat in np.argsort(away, axis=None, kind="stable"):
        row, column = divmod(int(flat), len(live))
        if away[row, column] > GATE_M:
            break
        if row not in found and column in free:
            free.remove(column)
            found[row] = live[column]
    return found
