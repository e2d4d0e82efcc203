"""Many tests at once: which of them to believe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order: rejecting those up to a level keeps the expected share
    of false ones among all that are rejected below it, for tests that are independent or
    positively dependent, as those of cohorts that share clips are (Benjamini and Hochberg 1995).
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not values.size:
        return []
    order = np.argsort(values, kind="stable")
    scaled = values[order] * values.size / np.arange(1, values.size + 1)
    running = np.minimum.accumulate(scaled[::-1])[::-1]
    found = np.empty(values.size)
    found[order] = np.minimum(running, 1.0)
    return [float(value) for value in found]
