"""Overlap of turned boxes, and KITTI's average precision on it.

The footprints' overlap is exact: one convex polygon clipped by the other's sides (Sutherland
and Hodgman). AP after KITTI since 2019: precision, made to fall only, at 40 levels of recall
(1/40 .. 1). Matching is greedy by falling score to the free box of highest overlap; a wrong
detection that overlaps an ignored box as much is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.geometry import Boxes
from contracts.samples import Float64s
from models.evaluation.matching import FrameResult

KITTI_LEVELS = 40


def footprint_overlap_m2(one: Float64s, two: Float64s) -> float:
    """Area that two convex polygons [n, 2], told against the clock, have in common."""
    area = one
    for k in range(two.shape[0]):
        start, end = two[k], two[(k + 1) % two.shape[0]]
        area = _clipped(area, start, end - start)
        if area.shape[0] < 3:
            return 0.0
    x, y = area[:, 0] - area[0, 0], area[:, 1] - area[0, 1]
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _clipped(polygon: Float64s, start: Float64s, along: Float64s) -> Float64s:
    """The part of the polygon to the left of a line."""
    side = along[0] * (polygon[:, 1] - start[1]) - along[1] * (polygon[:, 0] - start[0])
    kept = []
    for k in range(polygon.shape[0]):
        here, before = side[k], side[k - 1]
        if (here >= 0) != (before >= 0):
            part = before / (before - here)
            kept.append(polygon[k - 1] + part * (polygon[k] - polygon[k - 1]))
        if here >= 0:
            kept.append(polygon[k])
    return np.array(kept).reshape(-1, 2)


def iou_3d(one: Boxes, two: Boxes) -> Float64s:
    """Overlap over union of volumes, float64 [n, m]."""
    result = np.zeros((len(one), len(two)))
    reach = np.hypot(*one.size_m[:, :2].T)[:, None] + np.hypot(*two.size_m[:, :2].T)
    away = np.hypot(*np.moveaxis(one.centre_m[:, None, :2] - two.centre_m[None, :, :2], -1, 0))
    low = np.maximum(_bottom(one)[:, None], _bottom(two))
    high = np.minimum((_bottom(one) + one.size_m[:, 2])[:, None], _bottom(two) + two.size_m[:, 2])
    near = (away < reach / 2) & (high > low)
    a, b = one.corners_m(), two.corners_m()
    volume_a, volume_b = one.size_m.prod(axis=1), two.size_m.prod(axis=1)
    for i, j in zip(*np.nonzero(near), strict=True):
        both = footprint_overlap_m2(a[i], b[j]) * (high[i, j] - low[i, j])
        result[i, j] = both / (volume_a[i] + volume_b[j] - both)
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
    if not truths:
        return float("nan")
    rows.sort(key=lambda row: -row[0])
    hits = np.cumsum([right for _, right in rows]) if rows else np.zeros(0)
    precision = hits / np.arange(1, hits.size + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    levels = np.arange(1, KITTI_LEVELS + 1) / KITTI_LEVELS
    at = np.searchsorted(hits / truths, levels - 1e-12)
    return float(np.where(at < hits.size, np.append(falling, 0.0)[at], 0.0).mean())


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
