"""Which examples an epoch is made of, where some are to be seen more often than others."""

from __future__ import annotations

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s


def drawn(weights: Float64s, count: int, rng: np.random.Generator) -> Int64s:
    """`count` rows, each as often as its weight says, to within one: int64 [count], rising.

    Systematic sampling (Madow 1949): one draw, then equal steps through the heap of weights.
    Raises `InputError` when there is nothing to draw from.
    """
    if not weights.size or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise InputError("weights are 0 or more, and not all 0", "weights")
    edges = np.cumsum(weights) / weights.sum()
    places = (rng.random() + np.arange(count)) / count
    return np.asarray(np.minimum(np.searchsorted(edges, places, side="right"), weights.size - 1))


def epoch_size(weights: Float64s) -> int:
    """How many examples an epoch has in which each is drawn as often as its weight says."""
    return max(1, round(float(weights.sum())))
