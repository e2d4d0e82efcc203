"""How good the exported detector is, measured through the vehicle's own decoding.

Matching: by falling score, within a class, to the free truth box of highest IoU, at least
0.5. A detection that matches none, but lies mostly inside an ignored box, is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.input_tensor import Fit
from kernels.yolox import Decoded, decode_yolox, grid_of
from models.demo_detector.frames import HEIGHT, WIDTH, Frames
from models.demo_detector.network import STRIDES

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Input tensor [1, 3, h, w] in 0..1 to raw output [1, n, 5 + classes]."""

MATCH_IOU = 0.5
NMS_IOU = 0.5
_LOW_SCORE = 0.05


@dataclass(frozen=True, slots=True)
class Matches:
    """Every counted detection: `scores` [m], `classes` [m], `right` bool [m]; and how many
    truth boxes there are of each class, `truths` [classes].
    """

    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    right: NDArray[np.bool_]
    truths: NDArray[np.int64]


def _iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    total = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    result: NDArray[np.float64] = both / np.maximum(total - both, 1e-9)
    return result


def _share_inside(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much of `box` lies inside each of `boxes`, 0..1."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    result: NDArray[np.float64] = both / max(float((box[2:] - box[:2]).prod()), 1e-9)
    return result


def match_frames(run: Run, frames: Frames) -> Matches:
    """Detect in every frame and match against its truth."""
    grid = grid_of(WIDTH, HEIGHT, STRIDES)
    fit = Fit(WIDTH, HEIGHT, 1.0, 1.0)
    rows: list[tuple[float, int, bool]] = []
    for i in range(frames.images.shape[0]):
        raw = run(frames.images[i : i + 1].astype(np.float32) / np.float32(255))
        found = decode_yolox(
            raw, grid, fit, (WIDTH, HEIGHT), threshold=_LOW_SCORE, iou=NMS_IOU, most=300
        )
        here = frames.box_image == i
        rows += _match(found, frames.boxes_px[here], frames.classes[here], frames.ignored[here])
    truths = np.bincount(frames.classes[~frames.ignored], minlength=len(frames.class_names))
    scores, classes, right = zip(*rows, strict=True) if rows else ((), (), ())
    return Matches(
        np.array(scores, dtype=np.float64),
        np.array(classes, dtype=np.int64),
        np.array(right, dtype=np.bool_),
        truths,
    )


def _match(
    found: Decoded,
    boxes_px: NDArray[np.float32],
    classes: NDArray[np.int64],
    ignored: NDArray[np.bool_],
) -> list[tuple[float, int, bool]]:
    free = ~ignored
    rows = []
    for box, score, kind in zip(found.boxes_px, found.scores, found.classes, strict=True):
        overlap = _iou(box, boxes_px)
        good = np.flatnonzero((overlap >= MATCH_IOU) & free & (classes == kind))
        if good.size:
            free[good[np.argmax(overlap[good])]] = False
            rows.append((float(score), int(kind), True))
        elif not (_share_inside(box, boxes_px[ignored]) > 0.5).any():
            rows.append((float(score), int(kind), False))
    return rows


def recall_and_precision(
    matches: Matches, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision of each class at a score threshold; 0 where nothing counts."""
    kept = matches.scores > threshold
    classes = matches.truths.size
    right = np.bincount(matches.classes[kept & matches.right], minlength=classes)
    given = np.bincount(matches.classes[kept], minlength=classes)
    return right / np.maximum(matches.truths, 1), right / np.maximum(given, 1)


def fit_platt(matches: Matches, steps: int = 100) -> tuple[float, float]:
    """Slope and bias of Platt's sigmoid on the score's logit, by Newton's method with halving.

    Targets are smoothed as Platt did, so that it stays finite when the classes part cleanly;
    a step is halved until it lowers the loss (Lin, Lin, Weng 2007), since plain Newton may
    run away when scores say little.
    """
    inside = np.clip(matches.scores, 1e-6, 1 - 1e-6)
    features = np.stack([np.log(inside / (1 - inside)), np.ones_like(inside)], axis=1)
    right, wrong = int(matches.right.sum()), int((~matches.right).sum())
    target = np.where(matches.right, (right + 1) / (right + 2), 1 / (wrong + 2))

    def loss(weights: NDArray[np.float64]) -> float:
        logit = features @ weights
        return float((np.logaddexp(0.0, logit) - target * logit).sum())

    weights = np.array([0.0, np.log((right + 1) / (wrong + 1))])
    for _ in range(steps):
        told = 0.5 * (1 + np.tanh(features @ weights / 2))
        slope = features.T @ (told - target)
        if float(np.abs(slope).max()) < 1e-6 * target.size:
            break
        curve = (features * (told * (1 - told))[:, None]).T @ features + 1e-9 * np.eye(2)
        step, before, size = np.linalg.solve(curve, slope), loss(weights), 1.0
        while size > 1e-8 and loss(weights - size * step) >= before:
            size /= 2
        weights = weights - size * step
    return float(weights[0]), float(weights[1])


def calibration_error(probabilities: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten equal bins of probability."""
    bins = np.minimum((probabilities * 10).astype(np.int64), 9)
    error = 0.0
    for which in range(10):
        here = bins == which
        if here.any():
            gap = abs(float(probabilities[here].mean()) - float(right[here].mean()))
            error += gap * float(here.mean())
    return error
