"""The bird's-eye raster of radar tracks, in the ego frame of now.

Each track is moved to now by the ego's motion and its own radial speed over ground. Channels:
density (as the lidar's), radial velocity over ground along x and along y (1 for 30 m/s, mean
of the cell), freshness (1 now, 0 at the window's end); 0 in an empty cell.

Guarantees: tracks off the grid or older than the window change nothing; a track that is not
finite is refused, by its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import apply_SE3, checked_SE3
from contracts.model_manifest import RadarRasterInput
from contracts.samples import Float32s, Float64s
from kernels.bev.raster import COUNT_LOGS, FULL_COUNT

RADAR_CHANNELS = ("density", "velocity_x", "velocity_y", "freshness")
RADAR_FULL_MPS = 30.0


@dataclass(frozen=True, slots=True)
class RadarTracks:
    """Tracks as `RadarSample` has them, float64 [n, 4] in the ego frame `age_s` ago.

    `now_SE3_then` maps that frame to the one of now; `speed_mps` is the ego's, then.
    """

    tracks: Float64s
    age_s: float
    now_SE3_then: Float64s
    speed_mps: float


def fill_radar(spec: RadarRasterInput, frames: Sequence[RadarTracks], out: Float32s) -> int:
    """Write the radar raster into `out` float32 [4, rows, columns]; returns the tracks in it.

    Frames older than the window are left out. Raises `InputError` for wrong shapes or a track
    that is not finite.
    """
    grid = spec.grid
    shape = (len(RADAR_CHANNELS), grid.rows, grid.columns)
    if out.dtype != np.float32 or out.shape != shape:
        raise InputError(f"the raster must be float32 {list(shape)}, is {list(out.shape)}")
    out[:] = 0
    parts = [
        _radar_now(frame, f"radar frame {number}", spec.window_s)
        for number, frame in enumerate(frames)
        if frame.age_s <= spec.window_s
    ]
    if not parts:
        return 0
    found = np.concatenate(parts)
    found = found[grid.inside(found[:, :2])]
    place = grid.places(found[:, :2]).astype(np.int64)
    cell, size = place[:, 0] * grid.columns + place[:, 1], grid.rows * grid.columns
    count = np.bincount(cell, minlength=size)
    filled = np.flatnonzero(count)
    flat = out.reshape(len(RADAR_CHANNELS), -1)
    flat[0, filled] = COUNT_LOGS[np.minimum(count[filled], FULL_COUNT)]
    for channel, column in ((1, 2), (2, 3), (3, 4)):
        total = np.bincount(cell, weights=found[:, column], minlength=size)
        flat[channel, filled] = total[filled] / count[filled]
    return int(found.shape[0])


def _radar_now(frame: RadarTracks, place: str, window_s: float) -> Float64s:
    """Columns now: x, y, radial velocity over ground by axis (1 for 30 m/s), freshness."""
    tracks = frame.tracks
    if tracks.ndim != 2 or tracks.shape[1] != 4 or frame.age_s < 0:
        raise InputError(f"tracks must be [n, 4], not {list(tracks.shape)}", place)
    bad = np.flatnonzero(~np.isfinite(tracks[:, 1:]).all(axis=1))
    if bad.size:
        raise InputError("is not finite", f"{place}: track {int(bad[0])}")
    now_SE3_then = checked_SE3(frame.now_SE3_then)
    away = np.maximum(np.hypot(tracks[:, 1], tracks[:, 2]), 1e-6)
    toward = tracks[:, 1:3] / away[:, None]
    # A turn of the ego moves nothing along the line of sight: its speed is all that matters.
    radial = -tracks[:, 3] + frame.speed_mps * toward[:, 0]
    velocity = (radial[:, None] * toward) @ now_SE3_then[:2, :2].T
    there = np.column_stack([tracks[:, 1:3], np.zeros(away.size)])
    xy = apply_SE3(now_SE3_then, there)[:, :2] + velocity * frame.age_s
    fresh = np.full(away.size, 1 - frame.age_s / window_s)
    return np.column_stack([xy, velocity / RADAR_FULL_MPS, fresh])
