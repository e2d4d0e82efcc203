"""How the sensor nods from frame to frame, from the heights of all tracks at once.

A vehicle that brakes or crosses a bump sees everything ahead of it rise or fall in proportion to
its distance. What all tracks do alike in a frame is taken for that, the rest is their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.geometry import Int64s
from contracts.samples import Float64s
from offline.labels.auto.smoothing import smoothed

_ROUNDS = 3
_PITCH_RAD = 0.006
_FREEDOM = 4.0


def nods(
    frames: int, tracks: Sequence[tuple[Int64s, Float64s, Float64s, Float64s]], drift_m: float
) -> Float64s:
    """Tangent of the nod of each frame, float64 [frames].

    Args:
        frames: of the clip.
        tracks: frame int64 [h], height, noise in m and distance ahead [h] of each.
        drift_m: standard deviation of a track's own change of height in a frame.
    """
    frame = np.concatenate([track[0] for track in tracks])
    ahead = np.concatenate([track[3] for track in tracks])
    noise = np.concatenate([track[2] for track in tracks])
    tilt: Float64s = np.zeros(frames, dtype=np.float64)
    for _ in range(_ROUNDS):
        rest = np.concatenate([
            _residual(at, height - tilt[at] * far, noisy, drift_m)
            for at, height, noisy, far in tracks
        ])  # fmt: skip
        gap = rest + tilt[frame] * ahead
        square = (gap - tilt[frame] * ahead) ** 2 / noise**2
        trust = (_FREEDOM + 1) / (_FREEDOM + square) / noise**2
        top = np.bincount(frame, trust * ahead * gap, frames)
        base = np.bincount(frame, trust * ahead**2, frames)
        tilt = top / (base + _PITCH_RAD**-2.0)
    return tilt


def _residual(frame: Int64s, height: Float64s, noise: Float64s, drift_m: float) -> Float64s:
    place = frame - frame[0]
    count = int(place[-1]) + 1
    value = np.zeros((count, 1))
    value[place, 0] = height
    spread = np.full(count, np.inf)
    spread[place] = noise
    return np.asarray(height - smoothed(value, spread, drift_m, "place")[place, 0])
