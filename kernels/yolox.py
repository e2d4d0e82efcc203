"""The raw output of a YOLOX-style detector, decoded into boxes in image pixels.

Layout (YOLOX, Ge et al. 2021): row i of [1, n, 5 + classes] belongs to cell (x, y) of a grid,
the grids of all strides one after another, row by row. Centre = (xy + cell) * stride, size =
exp(wh) * stride, in tensor pixels; score = objectness x class, both already in 0..1.

Guarantees: every detection's score is above the threshold, its box has an area and lies in
the image; its distribution holds objectness x class for every class, scaled down where the
sum exceeds 1. Rows come by falling score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import CorruptError, InputError
from kernels.detection import Float32s, Int64s, suppress
from kernels.input_tensor import Fit

MAX_CANDIDATES = 4096
"""Boxes that enter suppression; the best by score when there are more."""
_MAX_LOG_SIZE = 12.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """`boxes_px` float32 [k, 4] x0, y0, x1, y1; `scores` float32 [k]; `classes` int64 [k];
    `distributions` float32 [k, classes].
    """

    boxes_px: Float32s
    scores: Float32s
    classes: Int64s
    distributions: Float32s


def grid_of(width: int, height: int, strides: tuple[int, ...]) -> Float32s:
    """Cells of an input of `width` x `height`: float32 [n, 3] column, row, stride."""
    parts = []
    for stride in strides:
        if stride < 1 or width % stride or height % stride:
            raise InputError(f"stride {stride} does not divide an input of {width} x {height}")
        rows, columns = np.mgrid[0 : height // stride, 0 : width // stride]
        cells = np.stack([columns, rows, np.full_like(rows, stride)], axis=-1)
        parts.append(cells.reshape(-1, 3).astype(np.float32))
    return np.concatenate(parts)


def decode_yolox(
    raw: Float32s,
    grid: Float32s,
    fit: Fit,
    image_size: tuple[int, int],
    *,
    threshold: float,
    iou: float,
    most: int,
) -> Decoded:
    """Decode `raw` float32 [1, n, 5 + classes]; `image_size` is width, height.

    Raises `InputError` for another shape, `CorruptError` when a value is not finite.
    """
    if raw.ndim != 3 or raw.shape[0] != 1 or raw.shape[1] != grid.shape[0] or raw.shape[2] < 6:
        raise InputError(f"expected [1, {grid.shape[0]}, 5 + classes], found {list(raw.shape)}")
    rows = np.ascontiguousarray(raw[0], dtype=np.float32)
    bad = _first_not_finite(rows)
    if bad >= 0:
        raise CorruptError(f"the model's output is not finite in row {bad}")
    chosen, boxes, scores, classes = _candidates(
        rows, grid, np.float32(threshold), 1 / fit.scale_x, 1 / fit.scale_y, *image_size
    )
    if chosen.size > MAX_CANDIDATES:
        best = np.sort(np.argsort(-scores, kind="stable")[:MAX_CANDIDATES])
        chosen, boxes, scores, classes = chosen[best], boxes[best], scores[best], classes[best]
    kept = suppress(boxes, scores, classes, iou, most)
    distributions = rows[chosen[kept], 4:5] * rows[chosen[kept], 5:]
    total = distributions.sum(axis=1, keepdims=True)
    return Decoded(
        boxes[kept], scores[kept], classes[kept], distributions / np.maximum(total, np.float32(1))
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _first_not_finite(rows: Float32s) -> int:
    for i in range(rows.shape[0]):
        total = np.float32(0)
        for j in range(rows.shape[1]):
            total += abs(rows[i, j]) * np.float32(1e-6)
        if not np.isfinite(total):
            return i
    return -1


@njit(nogil=True, cache=True, error_model="numpy")
def _candidates(
    rows: Float32s,
    grid: Float32s,
    threshold: np.float32,
    per_x: float,
    per_y: float,
    image_width: int,
    image_height: int,
) -> tuple[Int64s, Float32s, Float32s, Int64s]:
    """Rows above the threshold with a box inside the image."""
    count, width = rows.shape
    chosen = np.empty(count, dtype=np.int64)
    boxes = np.empty((count, 4), dtype=np.float32)
    scores = np.empty(count, dtype=np.float32)
    classes = np.empty(count, dtype=np.int64)
    found = 0
    for i in range(count):
        objectness = rows[i, 4]
        best, best_class = np.float32(-1), 0
        for j in range(5, width):
            if rows[i, j] > best:
                best, best_class = rows[i, j], j - 5
        score = objectness * best
        if not score > threshold:
            continue
        stride = grid[i, 2]
        cx = (rows[i, 0] + grid[i, 0]) * stride
        cy = (rows[i, 1] + grid[i, 1]) * stride
        wide = np.exp(min(rows[i, 2], _MAX_LOG_SIZE)) * stride
        high = np.exp(min(rows[i, 3], _MAX_LOG_SIZE)) * stride
        x0 = min(max((cx - wide / 2) * per_x, 0.0), image_width)
        y0 = min(max((cy - high / 2) * per_y, 0.0), image_height)
        x1 = min(max((cx + wide / 2) * per_x, 0.0), image_width)
        y1 = min(max((cy + high / 2) * per_y, 0.0), image_height)
        boxes[found] = (x0, y0, x1, y1)
        if not (boxes[found, 2] > boxes[found, 0] and boxes[found, 3] > boxes[found, 1]):
            continue
        chosen[found] = i
        scores[found] = score
        classes[found] = best_class
        found += 1
    return chosen[:found], boxes[:found], scores[:found], classes[:found]


def entropies(distributions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Normalised entropy [k] of class distributions [k, classes] that sum to at most 1.

    What is missing to 1 counts as one more outcome, *nothing there*; the result is divided
    by the logarithm of classes + 1, so it lies in 0..1.
    """
    known = distributions.astype(np.float64)
    rest = np.maximum(0.0, 1.0 - known.sum(axis=1, keepdims=True))
    outcomes = np.concatenate([known, rest], axis=1)
    outcomes /= np.maximum(outcomes.sum(axis=1, keepdims=True), 1e-300)
    logs = np.log(outcomes, where=outcomes > 0, out=np.zeros_like(outcomes))
    result: NDArray[np.float64] = -(outcomes * logs).sum(axis=1) / np.log(outcomes.shape[1])
    return np.clip(result, 0.0, 1.0)
