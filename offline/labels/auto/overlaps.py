"""How boxes of one frame stand to each other: what hides what, and what is there twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from models.evaluation.overlap import paired_iou_3d
from offline.labels.evaluation.scene import same_frame
from offline.labels.kitti import TrackedBoxes

_NEARER_M = 1.0
_LEAST_SHARE = 0.3


def covered(boxes: TrackedBoxes) -> Float64s:
    """The largest share of each 2D box that lies behind one nearer box of its frame, [n]."""
    one, two = same_frame(boxes.frame, boxes.frame)
    away = np.hypot(boxes.centre_m[:, 0], boxes.centre_m[:, 1])
    before = away[two] < away[one] - _NEARER_M
    one, two = one[before], two[before]
    low = np.maximum(boxes.box_px[one, :2], boxes.box_px[two, :2])
    high = np.minimum(boxes.box_px[one, 2:], boxes.box_px[two, 2:])
    size = (boxes.box_px[:, 2:] - boxes.box_px[:, :2]).prod(axis=1)
    share = np.maximum(high - low, 0).prod(axis=1) / np.maximum(size[one], 1e-9)
    result: Float64s = np.zeros(len(boxes), dtype=np.float64)
    np.maximum.at(result, one, share)
    return result


def doubles(boxes: TrackedBoxes, trust: Float64s, overlap: float) -> Bools:
    """Rows of tracks that are there twice, bool [n]: of two tracks that overlap in space for
    much of the shorter one's time, the less trusted one's rows where they do.

    Args:
        boxes: of any tracks.
        trust: of each box, [n].
        overlap: of volumes, from which two boxes are of one thing.
    """
    one, two = same_frame(boxes.frame, boxes.frame)
    other = boxes.track_id[one] < boxes.track_id[two]
    one, two = one[other], two[other]
    flat = boxes.as_boxes()
    near = paired_iou_3d(flat.take(one), flat.take(two)) > overlap
    one, two = one[near], two[near]
    result: Bools = np.zeros(len(boxes), dtype=np.bool_)
    mean = _track_means(boxes.track_id, trust)
    length = np.bincount(boxes.track_id)
    for first, second, rows in _by_pair(boxes.track_id[one], boxes.track_id[two]):
        if rows.size < _LEAST_SHARE * min(length[first], length[second]):
            continue
        result[(one if mean[first] < mean[second] else two)[rows]] = True
    return result


def _track_means(track: Int64s, value: Float64s) -> Float64s:
    return np.asarray(np.bincount(track, value) / np.maximum(np.bincount(track), 1))


def _by_pair(one: Int64s, two: Int64s) -> Sequence[tuple[int, int, Int64s]]:
    if not one.size:
        return []
    order = np.lexsort((two, one))
    cuts = np.flatnonzero((np.diff(one[order]) != 0) | (np.diff(two[order]) != 0)) + 1
    parts = np.split(order, cuts)
    return [(int(one[part[0]]), int(two[part[0]]), part) for part in parts]
