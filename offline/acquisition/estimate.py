"""Unbiased figures of the whole pool from its random stream.

The Horvitz-Thompson estimate of a total is the sum of values over their inclusion
probabilities, over all of the random stream and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float64s


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of the population: `total`, `mean`, and the mean's `standard_error`, None where one cannot
    be told: fewer than two clips, or clips of different probability.
    """

    total: float
    mean: float
    standard_error: float | None


def horvitz_thompson(values: Float64s, inclusion: Float64s, population: int) -> Estimate:
    """The estimate from clips' values [n] and inclusion probabilities [n].

    The standard error is that of simple random sampling without replacement, which is how the
    stream is drawn.

    Raises:
        InputError: lengths differ, a value is not finite, a probability is not in (0, 1], or the
            population is smaller than the sample.
    """
    if values.ndim != 1 or values.shape != inclusion.shape:
        raise InputError(f"have shapes {values.shape} and {inclusion.shape}, expected [n] both")
    if not np.isfinite(values).all():
        raise InputError("must be finite", "values")
    if not ((inclusion > 0) & (inclusion <= 1)).all():
        raise InputError("probabilities lie in (0, 1]", "inclusion")
    if population < max(values.size, 1):
        raise InputError(f"{values.size} clips were drawn from {population}", "population")
    total = float((values / inclusion).sum())
    error = None
    if values.size >= 2 and np.all(inclusion == inclusion[0]):
        unseen = 1 - values.size / population
        error = float(np.sqrt(unseen * values.var(ddof=1) / values.size))
    return Estimate(total, total / population, error)
