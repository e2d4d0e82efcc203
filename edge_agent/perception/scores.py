"""What scores mean: calibrated probability, and how sure the frame as a whole is.

Definitions (`contracts.signals`): a frame's uncertainty is the mean normalised class entropy
of its detections, each weighted by how large it looks times its probability, so that near
objects count and faint specks do not; 0 for an empty frame. In an image an object looks as
large as the square root of its share of the picture. Of a bird's-eye frame the same is told
without a picture: the square root of its side's area (height times the longer of length and
width) over its distance from the ego, at least `NEAREST_M`. The frame's margin is the smallest
gap between the two best classes of any detection; 1 for an empty frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.geometry import Boxes
from contracts.model_manifest import Calibration
from kernels.yolox import entropies

Floats = NDArray[np.floating]
NEAREST_M = 1.0
_EDGE = 1e-6


def calibrated(scores: Floats, calibration: Calibration) -> NDArray[np.float64]:
    """Probabilities [k] of scores [k], by Platt's sigmoid on the score's logit."""
    plain = scores.astype(np.float64)
    if calibration.method == "none":
        return plain
    inside = np.clip(plain, _EDGE, 1 - _EDGE)
    logit = np.log(inside / (1 - inside))
    result: NDArray[np.float64] = 1 / (1 + np.exp(-(logit * calibration.slope + calibration.bias)))
    return result


def frame_uncertainty(
    distributions: Floats, boxes_px: Floats, probabilities: Floats, image_size: tuple[int, int]
) -> float:
    """Weighted mean entropy in 0..1 of detections [k, classes], [k, 4], [k]."""
    wide = (boxes_px[:, 2] - boxes_px[:, 0]).astype(np.float64)
    high = (boxes_px[:, 3] - boxes_px[:, 1]).astype(np.float64)
    looks = np.sqrt(wide * high / (image_size[0] * image_size[1]))
    return _mean_entropy(distributions, looks * probabilities)


def bev_uncertainty(distributions: Floats, boxes: Boxes, probabilities: Floats) -> float:
    """Weighted mean entropy in 0..1 of detections [k, classes], boxes in the ego frame, [k]."""
    side_m2 = boxes.size_m[:, 2] * boxes.size_m[:, :2].max(axis=1, initial=0.0)
    away_m = np.hypot(boxes.centre_m[:, 0], boxes.centre_m[:, 1])
    looks = np.sqrt(side_m2) / np.maximum(away_m, NEAREST_M)
    return _mean_entropy(distributions, looks * probabilities)


def _mean_entropy(distributions: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    return float((entropies(distributions) * weights).sum() / total) if total > 0 else 0.0


def frame_margin(distributions: Floats) -> float:
    """Smallest gap in 0..1 between the two best classes of detections [k, classes]."""
    if not distributions.shape[0]:
        return 1.0
    if distributions.shape[1] == 1:
        return float(distributions.min())
    best = np.partition(distributions, -2, axis=1)[:, -2:]
    return float(np.clip((best[:, 1] - best[:, 0]).min(), 0.0, 1.0))
