"""Scores of boxes from what the samples of an ensemble think of their classes.

Entropies are in nats, in float64. The mutual information between the class and the sample is
H(mean p) - mean H(p) (BALD, Houlsby et al. 2011; for dropout Gal et al. 2017), at most the
logarithm of the number of samples and of outcomes; rounding below 0 is 0.

Does not do: weigh samples. Members and dropout passes count alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s

_CHUNK = 16_384
"""Boxes at a time, so that the working set stays in cache."""
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Columns float64 [k] over boxes: nats, and `ambiguity` in 0..1. `outcomes` counts the
    classes and *nothing there*.
    """

    entropy: Float64s
    expected_entropy: Float64s
    mutual_information: Float64s
    ambiguity: Float64s
    outcomes: int

    def named(self) -> dict[str, Float64s]:
        """The scores by name, each in 0..1."""
        most = np.log(self.outcomes)
        return {
            "entropy": np.clip(self.entropy / most, 0.0, 1.0),
            "expected_entropy": np.clip(self.expected_entropy / most, 0.0, 1.0),
            "mutual_information": np.clip(self.mutual_information / most, 0.0, 1.0),
            "ambiguity": self.ambiguity,
        }


def class_scores(probabilities: NDArray[np.floating]) -> ClassScores:
    """Scores of k boxes.

    Args:
        probabilities: [..., k, classes]; the leading axes (members, passes) are samples. A
            distribution sums to at most 1; the rest is *nothing there*.

    Raises:
        InputError: another shape, no sample or class, or what is no distribution.
    """
    if probabilities.ndim < 3 or not probabilities.shape[-1]:
        shape = list(probabilities.shape)
        raise InputError(f"has shape {shape}, expected [samples, boxes, classes]", "probabilities")
    boxes, classes = probabilities.shape[-2:]
    samples = probabilities.reshape(prod(probabilities.shape[:-2]), boxes, classes)
    if not samples.shape[0]:
        raise InputError("holds no sample", "probabilities")
    columns = np.empty((4, boxes))
    for start in range(0, boxes, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        columns[:, chunk] = _chunk_scores(samples[:, chunk], start)
    return ClassScores(columns[0], columns[1], columns[2], columns[3], outcomes=classes + 1)


def distributions_at(heat: NDArray[np.floating], cells: Int64s) -> Float64s:
    """Class distributions of boxes from probability maps.

    Args:
        heat: [..., classes, rows, columns], as `TeacherMaps.members` holds them.
        cells: int64 [k, 2] row and column of each box (`kernels.bev_decoding.BevDecoded`).

    Returns:
        float64 [..., k, classes], scaled down where a cell's classes sum to more than 1, as the
        decoder does.

    Raises:
        InputError: other shapes, or a cell off the map.
    """
    if heat.ndim < 3 or cells.ndim != 2 or cells.shape[1] != 2:
        raise InputError(f"expected maps and cells [k, 2], found {heat.shape} and {cells.shape}")
    if ((cells < 0) | (cells >= heat.shape[-2:])).any():
        raise InputError(f"a cell lies off the map of {list(heat.shape[-2:])} cells", "cells")
    seen = np.moveaxis(heat[..., cells[:, 0], cells[:, 1]], -2, -1).astype(np.float64)
    return np.asarray(seen / np.maximum(seen.sum(axis=-1, keepdims=True), 1.0))


def _chunk_scores(samples: NDArray[np.floating], first_box: int) -> Float64s:
    """The four columns [4, k] of [samples, k, classes]."""
    count, boxes, classes = samples.shape
    # One plane [samples, k] an outcome: sums then run along contiguous memory.
    planes = np.empty((classes + 1, count, boxes))
    planes[:classes] = np.moveaxis(samples, -1, 0)
    total = planes[:classes].sum(axis=0)
    # A NaN fails every comparison, so that it is caught here too.
    if not ((planes[:classes] >= 0).all() and (total <= 1 + _SUM_TOLERANCE).all()):
        good = (planes[:classes] >= 0).all(axis=0) & (total <= 1 + _SUM_TOLERANCE)
        box = first_box + int(np.argmin(good.all(axis=0)))
        raise InputError("is no distribution: values from 0 that sum to at most 1", f"box {box}")
    planes[classes] = np.maximum(0.0, 1.0 - total)
    planes /= np.maximum(total, 1.0)
    own, mean_entropy = np.zeros(boxes), np.zeros(boxes)
    best, second = np.zeros(boxes), np.zeros(boxes)
    for plane in planes:
        own -= _p_log_p(plane).sum(axis=0)
        mean = plane.mean(axis=0)
        mean_entropy -= _p_log_p(mean)
        second = np.maximum(second, np.minimum(best, mean))
        best = np.maximum(best, mean)
    own /= count
    return np.stack([mean_entropy, own, np.maximum(mean_entropy - own, 0.0), 1 - (best - second)])


def _p_log_p(p: Float64s) -> Float64s:
    # The smallest normal number stands in for 0, whose term is 0 either way.
    return np.asarray(p * np.log(np.maximum(p, np.finfo(np.float64).tiny)))
