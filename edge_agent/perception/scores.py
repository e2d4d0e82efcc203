"""What scores mean: calibrated probability, and how sure the frame as a whole is.

Definitions (`contracts.signals`): a frame's uncertainty is the mean normalised class entropy
of its detections, each weighted by the square root of its share of the image times its
probability, so that near objects count and faint specks do not; 0 for an empty frame. Its
margin is the smallest gap between the two best classes of any detection; 1 for an empty one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.model_manifest import Calibration
from kernels.yolox import entropies

Floats = NDArray[np.floating]
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
    if not probabilities.size:
        return 0.0
    wide = (boxes_px[:, 2] - boxes_px[:, 0]).astype(np.float64)
    high = (boxes_px[:, 3] - boxes_px[:, 1]).astype(np.float64)
    weights = np.sqrt(wide * high / (image_size[0] * image_size[1])) * probabilities
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
