"""How far a figure may be off: bootstrap over drives.

Frames of one drive resemble each other, so drives are drawn, not frames: each resample takes
as many drives as there are, with replacement, and the figure is computed with each frame
counted as often as its drive was drawn. The interval holds the middle 95 % of 200 resamples
(percentile bootstrap, Efron). It is too narrow with few drives, and there is none with one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contracts.geometry import Frozen, Int64s
from contracts.samples import Float64s
from models.evaluation.report import Figure, as_figure

RESAMPLES = 200
_OUTSIDE_PERCENT = 2.5
Statistic = Callable[[Float64s], float]
"""A figure of frame weights float64 [frames]; NaN when there is none."""


class Estimate(Frozen):
    """A figure with its 95 % interval by drive; no interval where it cannot be told."""

    value: Figure
    low: Figure = None
    high: Figure = None


def estimate(
    statistic: Statistic, drive_of_frame: Int64s, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The figure over all frames, and its interval.

    Args:
        statistic: the figure by frame weights.
        drive_of_frame: the drive of each frame, int64 [frames].
        resamples: how many; 0 gives no interval.
        seed: of the draws; the same seed gives the same interval.
    """
    value = statistic(np.ones(drive_of_frame.size))
    drives, place = np.unique(drive_of_frame, return_inverse=True)
    if drives.size < 2 or not resamples or np.isnan(value):
        return Estimate(value=as_figure(value))
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(drives.size, np.full(drives.size, 1 / drives.size), resamples)
    figures = np.array([statistic(draw[place].astype(np.float64)) for draw in draws])
    known = figures[~np.isnan(figures)]
    if known.size < 2:
        return Estimate(value=as_figure(value))
    low, high = np.percentile(known, (_OUTSIDE_PERCENT, 100 - _OUTSIDE_PERCENT)).tolist()
    return Estimate(value=as_figure(value), low=as_figure(low), high=as_figure(high))
