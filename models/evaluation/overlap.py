"""Overlap of turned boxes, and KITTI's average precision on it.

The footprints' overlap is exact: one convex polygon clipped by the other's sides (Sutherland
and Hodgman). AP after KITTI since 2019: precision, made to fall only, at 40 levels of recall
(1/40 .. 1). Matching is greedy by falling score to the free box of highest overlap; a wrong
detection that overlaps an ignored box as much is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.geometry import Bools, Boxes
from contracts.samples import Float64s
from models.evaluation.matching import FrameResult

KITTI_LEVELS = 40


def footprint_overlap_m2(one: Float64s, two: Float64s) -> float:
    """Area that two convex polygons [n, 2], told against the clock, have in common."""
    return float(footprint_overlaps_m2(one[None], two[None])[0])


def footprint_overlaps_m2(one: Float64s, two: Float64s) -> Float64s:
    """The same of pairs of polygons [p, n, 2] and [p, m, 2]: float64 [p]."""
    area = one
    for k in range(two.shape[1]):
        start, end = two[:, k], two[:, (k + 1) % two.shape[1]]
        area = _clipped(area, start, end - start)
    x, y = np.moveaxis(area - area[:, :1], -1, 0)
    return np.asarray(np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(axis=1)) / 2)


def _clipped(polygon: Float64s, start: Float64s, along: Float64s) -> Float64s:
    """The parts of polygons [p, n, 2] to the left of lines [p, 2]: corners [p, k, 2]."""
    away = polygon - start[:, None]
    side = along[:, None, 0] * away[..., 1] - along[:, None, 1] * away[..., 0]
    before, last = np.roll(side, 1, 1), np.roll(polygon, 1, 1)
    crosses = (side >= 0) != (before >= 0)
    part = before / np.where(crosses, before - side, 1.0)
    met = last + part[..., None] * (polygon - last)
    doubled = side.shape[0], 2 * side.shape[1]
    corners = np.stack([met, polygon], axis=2).reshape(*doubled, 2)
    kept = np.stack([crosses, side >= 0], axis=2).reshape(doubled)
    count = kept.sum(axis=1)
    order = np.argsort(~kept, axis=1, kind="stable")[:, : count.max(initial=1)]
    corners = np.take_along_axis(corners, order[..., None], axis=1)
    # Polygons with fewer corners than others repeat their first: that adds no area.
    spare = np.arange(order.shape[1]) >= count[:, None]
    return np.where(spare[..., None], corners[:, :1], corners)


def iou_3d(one: Boxes, two: Boxes) -> Float64s:
    """Overlap over union of volumes, float64 [n, m]."""
    i, j = np.divmod(np.arange(len(one) * len(two)), max(1, len(two)))
    return paired_iou_3d(one.take(i), two.take(j)).reshape(len(one), len(two))


def paired_iou_3d(one: Boxes, two: Boxes) -> Float64s:
    """Overlap over union of volumes of one row with the other's same row, float64 [n]."""
    result = np.zeros(len(one))
    reach = np.hypot(*one.size_m[:, :2].T) + np.hypot(*two.size_m[:, :2].T)
    away = np.hypot(*(one.centre_m - two.centre_m)[:, :2].T)
    low = np.maximum(_bottom(one), _bottom(two))
    high = np.minimum(_bottom(one) + one.size_m[:, 2], _bottom(two) + two.size_m[:, 2])
    near = np.flatnonzero((away < reach / 2) & (high > low))
    one, two = one.take(near), two.take(near)
    both = footprint_overlaps_m2(one.corners_m(), two.corners_m()) * (high - low)[near]
    result[near] = both / (one.size_m.prod(axis=1) + two.size_m.prod(axis=1) - both)
    return result


def _bottom(boxes: Boxes) -> Float64s:
    return np.asarray(boxes.centre_m[:, 2] - boxes.size_m[:, 2] / 2)


def kitti_ap(results: Sequence[FrameResult], class_index: int, min_iou: float) -> float:
    """AP in 0..1 at 40 levels of recall; NaN without any true box."""
    rows: list[tuple[float, bool]] = []
    truths = 0
    for result in results:
        truths += int((~result.ignored & (result.truth.class_index == class_index)).sum())
        rows += _match_frame(result, class_index, min_iou)
    rows.sort(key=lambda row: -row[0])
    return ap_of(np.array([right for _, right in rows], dtype=np.bool_), truths)


def ap_of(right: Bools, truths: int) -> float:
    """AP in 0..1 of counted detections by falling score, at 40 levels; NaN without a truth."""
    if not truths:
        return float("nan")
    hits = np.cumsum(right)
    precision = hits / np.arange(1, hits.size + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    levels = np.arange(1, KITTI_LEVELS + 1) / KITTI_LEVELS
    at = np.searchsorted(hits / truths, levels - 1e-12)
    return float(np.append(falling, 0.0)[at].mean())


def _match_frame(result: FrameResult, class_index: int, min_iou: float) -> list[tuple[float, bool]]:
    chosen = np.flatnonzero(result.found.class_index == class_index)
    chosen = chosen[np.argsort(-result.scores[chosen], kind="stable")]
    overlap = iou_3d(result.found.take(chosen), result.truth)
    free = ~result.ignored & (result.truth.class_index == class_index)
    rows = []
    for row, score in zip(overlap, result.scores[chosen].tolist(), strict=True):
        good = np.flatnonzero(free & (row >= min_iou))
        if good.size:
            free[good[np.argmax(row[good])]] = False
            rows.append((score, True))
        elif not (row[result.ignored] >= min_iou).any():
            rows.append((score, False))
    return rows
