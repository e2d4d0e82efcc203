"""One size of an object from the frames that show it best.

Both ends of an object are measured where each was seen from ahead of it, in whatever frames;
an object of which points reach farther than its box is at least as long as they reach. Else the
size stays what the boxes say: what was not seen may be hidden.
"""

from __future__ import annotations

import numpy as np

from contracts.geometry import Int64s
from contracts.samples import Float64s
from offline.labels.auto.planar import turned
from offline.labels.auto.tracks import Course
from offline.labels.points.gather import ObjectPoints

_LEAST_AT_END, _LEAST_IN_FRAME, _LEAST_FRAMES = 30, 20, 3
_END = 0.98
_FACE = 0.99
_FACE_M, _FACE_SHARE = 0.2, 0.6
_BEST_VIEWS = 0.75
_AHEAD_SHARE = 0.1
_BOXES_SHARE, _POINTS_M = 0.05, 0.06
_MOST_SHARE = 0.3


def seen_size(points: ObjectPoints, course: Course, stands: bool) -> Float64s:
    """Length, width and height [3] of the boxes' size and what the points add; height as it was.

    Args:
        points: of the object's body.
        course: with the size that its boxes have.
        stands: whether all frames show it in one place, so that ends can be told apart from a
            course that is off.
    """
    at = points.frame - course.first
    place, yaw = course.xy_m[at], course.yaw_rad[at]
    local = turned(points.xy_m - place, -yaw)
    viewer = turned(points.viewer_m - place, -yaw)
    size = course.size_m.copy()
    far = np.hypot(viewer[:, 0], viewer[:, 1])
    for axis in (0, 1):
        ahead = np.abs(viewer[:, axis]) - size[axis] / 2 > _AHEAD_SHARE * far
        beyond = np.where(ahead, viewer[:, axis], 0.0)
        ends = _between_ends(local[:, axis], local[:, 1 - axis] / size[1 - axis], beyond)
        extent = ends if stands else None
        if extent is None:
            extent = _reach(local[:, axis], at)
            if extent is None or extent <= size[axis]:
                continue
        boxes, own = (_BOXES_SHARE * size[axis]) ** -2.0, _POINTS_M**-2.0
        both = (boxes * size[axis] + own * extent) / (boxes + own)
        size[axis] = np.clip(
            both, (1 - _MOST_SHARE) * size[axis], (1 + _MOST_SHARE) * size[axis]
        )  # fmt: skip
    return size


def _between_ends(along: Float64s, across: Float64s, viewer: Float64s) -> float | None:
    """From end to end, where each was seen from beyond it, for most of its width."""
    ends = []
    for sign in (1.0, -1.0):
        seen = sign * viewer > 0
        if seen.sum() < _LEAST_AT_END:
            return None
        end = float(np.quantile(sign * along[seen], _FACE))
        face = across[seen][sign * along[seen] > end - _FACE_M]
        if face.size < _LEAST_AT_END or np.ptp(np.quantile(face, (0.05, 0.95))) < _FACE_SHARE:
            return None
        ends.append(end)
    return ends[0] + ends[1]


def _reach(along: Float64s, frame: Int64s) -> float | None:
    """How far points of single frames reach, in the better ones of them."""
    edges = np.flatnonzero(np.diff(frame)) + 1
    parts = [part for part in np.split(along, edges) if part.size >= _LEAST_IN_FRAME]
    if len(parts) < _LEAST_FRAMES:
        return None
    spans = [np.quantile(part, _END) - np.quantile(part, 1 - _END) for part in parts]
    return float(np.quantile(spans, _BEST_VIEWS))
