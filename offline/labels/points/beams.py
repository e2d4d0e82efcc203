"""What beams tell of boxes that nobody detected: those that end in one speak for it, those that go
through it against. A box that no beam could reach is known by what was told of it before and after:
what stood there and stands there has been there all along.
"""

from __future__ import annotations

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from offline.labels.auto.planar import composed, inverse, placed, turned
from offline.labels.kitti import TrackedBoxes
from offline.labels.points.gather import late_about
from offline.labels.points.kernels import crossed
from offline.labels.points.sweep import Sweep, Sweeps

_SECTORS = 720
_HEIGHTS = (0.2, 0.65)
"""Shares of a box's height between which beams count: neither the ground nor a car's windows."""
_GROWN_M = 0.2
_CORE_SHARE, _CORE_M = 0.35, 0.3
_DOUBT = 4.0
"""As so many beams what is known without any."""
_LEAST = 3
_MOST_OFF_M = 1.0


def told_by_beams(
    boxes: TrackedBoxes, velocity_m: Float64s, sweeps: Sweeps, poses: Float64s
) -> Int64s:
    """Of each box, how many beams end in it and how many go through it: int64 [n, 2].

    Args:
        boxes: in the order of frames, in the sensor's frame.
        velocity_m: over ground, along the sensor's axes, m a frame, [n, 2].
        sweeps: of the clip's frames.
        poses: `world_SE2_sensor` [frames, 3].
    """
    result: Int64s = np.zeros((len(boxes), 2), dtype=np.int64)
    edges = np.searchsorted(boxes.frame, np.arange(poses.shape[0] + 1))
    for frame in range(poses.shape[0]):
        rows = slice(int(edges[frame]), int(edges[frame + 1]))
        sweep = sweeps.get(frame) if rows.stop > rows.start else None
        if sweep is not None and sweep.intensity.size:
            origin = _origins(sweep, frame, poses)
            result[rows] = _of_frame(boxes.take(_range(rows)), velocity_m[rows], sweep, origin)
    return result


def occupancy(track: Int64s, frame: Int64s, told: Int64s) -> Float64s:
    """From -1, empty, to 1, there, [n]; 0 where nothing is known.

    A box that hardly a beam meets takes the worse of what was last and will next be known of its
    track, or the one that there is.

    Args:
        track: of each box, int64 [n].
        frame: of each box, int64 [n].
        told: as of `told_by_beams`.
    """
    ends, through = told[:, 0].astype(np.float64), told[:, 1].astype(np.float64)
    own = (ends - through) / (ends + through + _DOUBT)
    known = told.sum(axis=1) >= _LEAST
    order = np.lexsort((frame, track))
    before = _carried(own[order], known[order], track[order])
    after = _carried(own[order][::-1], known[order][::-1], track[order][::-1])[::-1]
    worse = np.where(np.isnan(before), after, np.fmin(before, after))
    result = np.zeros(track.size)
    result[order] = np.where(known[order], own[order], np.nan_to_num(worse))
    return result


def solidity(track: Int64s, told: Int64s, seen: Bools) -> Float64s:
    """From -1 to 1, what beams tell of all sightings of each box's track together, [n].

    Args:
        track: of each box, int64 [n].
        told: as of `told_by_beams`.
        seen: which boxes were detected, bool [n].
    """
    ends, through = (np.bincount(track, column * seen) for column in told.T)
    return np.asarray(((ends - through) / (ends + through + _DOUBT))[track])


def _carried(value: Float64s, known: Bools, track: Int64s) -> Float64s:
    """The last known value of the same track up to each row, NaN before the first."""
    place = np.maximum.accumulate(np.where(known, np.arange(value.size), -1))
    there = (place >= 0) & (track[np.maximum(place, 0)] == track)
    return np.where(there, value[np.maximum(place, 0)], np.nan)


def _range(rows: slice) -> Int64s:
    return np.arange(rows.start, rows.stop)


def _origins(sweep: Sweep, frame: int, poses: Float64s) -> Float64s:
    """Where each point's beam came from, in the frame's frame: the sensor moved on meanwhile."""
    n = sweep.intensity.size
    mount = np.zeros((n, 3)) if sweep.origin_m is None else sweep.origin_m.astype(np.float64)
    if sweep.late is None:
        return mount
    low, high = max(frame - 1, 0), min(frame + 1, poses.shape[0] - 1)
    if high == low:
        return mount
    step = composed(inverse(poses[low]), poses[high]) / (high - low)
    there = step * sweep.late[:, None]
    return np.column_stack([placed(there, mount[:, :2]), mount[:, 2]])


def _of_frame(boxes: TrackedBoxes, velocity_m: Float64s, sweep: Sweep, origin: Float64s) -> Int64s:
    end = sweep.xyz_m.astype(np.float64)
    ray = end[:, :2] - origin[:, :2]
    sector = (np.arctan2(ray[:, 1], ray[:, 0]) / (2 * np.pi) % 1.0 * _SECTORS).astype(np.int64)
    sector = np.minimum(sector, _SECTORS - 1)
    order = np.argsort(sector, kind="stable")
    edges = np.searchsorted(sector[order], np.arange(_SECTORS + 1))
    xy = boxes.centre_m[:, :2]
    xy = xy + velocity_m * late_about(sweep, xy)[:, None]
    flat = boxes.size_m[:, :2] / 2
    away = xy - origin[:, :2].mean(axis=0)
    far = np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-6)
    wide = np.arcsin(np.minimum((np.hypot(*flat.T) + _MOST_OFF_M) / far, 1.0))
    around = wide > np.pi / 2 - 1e-6
    bearing = np.arctan2(away[:, 1], away[:, 0])
    first = np.floor((bearing - wide) / (2 * np.pi) * _SECTORS).astype(np.int64)
    count = np.ceil(2 * wide / (2 * np.pi) * _SECTORS).astype(np.int64) + 1
    bottom = boxes.centre_m[:, 2] - boxes.size_m[:, 2] / 2
    heights = bottom[:, None] + boxes.size_m[:, 2:] * np.array(_HEIGHTS)
    return np.asarray(crossed(
        origin[order], end[order], edges, np.where(around, 0, first % _SECTORS),
        np.where(around, _SECTORS, np.minimum(count, _SECTORS)),
        np.column_stack([xy, boxes.yaw_rad]), flat + _GROWN_M, heights,
        flat - np.minimum(_CORE_M, _CORE_SHARE * flat),
    ))  # fmt: skip


def velocities(boxes: TrackedBoxes, poses: Float64s) -> Float64s:
    """Of boxes with tracks, over ground along the sensor's axes, m a frame, from the track's
    places about each frame: [n, 2]; 0 for a track of one place.
    """
    here = poses[boxes.frame]
    world = placed(here, boxes.centre_m[:, :2])
    order = np.lexsort((boxes.frame, boxes.track_id))
    track, frame = boxes.track_id[order], boxes.frame[order]
    low = np.maximum(np.arange(order.size) - 1, 0)
    high = np.minimum(np.arange(order.size) + 1, order.size - 1)
    low = np.where(track[low] == track, low, np.arange(order.size))
    high = np.where(track[high] == track, high, np.arange(order.size))
    span = np.maximum(frame[high] - frame[low], 1)[:, None]
    result = np.zeros((order.size, 2))
    result[order] = (world[order][high] - world[order][low]) / span
    return turned(result, -here[:, 2])
