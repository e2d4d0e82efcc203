"""What drives points where it goes: headings of tracks from their courses.

A detector may be wrong about the axis of cross traffic by a right angle, frame after frame, and
then no smoothing of its headings helps. Where a vehicle moves, its course is its heading; where
it stands before, between or after, it keeps the one that it had or will have.
"""

from __future__ import annotations

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s

_SIDE = 4
"""Frames on either side over which a course is taken."""
_LEAST_M = 1.0
"""How far it must go in that time, beyond what noise makes of a place."""


def driven(frame: Int64s, xy_m: Float64s, yaw_rad: Float64s, sure: Bools) -> Float64s:
    """The headings of one track that moves ahead, [t]; as they are where it never does.

    Args:
        frame: rising, int64 [t].
        xy_m: its places in the world, [t, 2].
        yaw_rad: its headings in the world, [t].
        sure: where it was seen and not led on, bool [t].
    """
    count = frame.size
    place = np.arange(count)
    low, high = np.maximum(place - _SIDE, 0), np.minimum(place + _SIDE, count - 1)
    gone = xy_m[high] - xy_m[low]
    moves = (np.hypot(*gone.T) > _LEAST_M) & sure
    if not moves.any():
        return yaw_rad
    course = np.unwrap(np.arctan2(gone[moves, 1], gone[moves, 0]))
    ahead = course + _reverses(course, yaw_rad[moves])
    # Between two stretches of driving a heading turns evenly; before and after it stays.
    return np.asarray(np.interp(frame, frame[moves], ahead))


def _reverses(course: Float64s, yaw_rad: Float64s) -> float:
    """Half a turn for what goes backwards all the time, by what its headings say."""
    along = np.cos(yaw_rad - course)
    return float(np.pi) if np.median(along) < -0.9 else 0.0
