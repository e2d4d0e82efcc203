"""How much less, and how sure that is: seeds and drives are both drawn anew.

All seeds of a study are measured on the same drives. A resample draws seeds and, for all of them
alike, drives, both with replacement (the pigeonhole bootstrap of crossed designs, Owen 2007);
before and after are counted over the same draw. Intervals are the middle 95 % of the resamples.
With five seeds they are rather too narrow than too wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen
from contracts.samples import Float64s
from sim_fleet.trials.report import DriveCounts, DriveTrial

RESAMPLES = 4000
_TAIL_PERCENT = 2.5
Count = Callable[[DriveCounts], float]
COUNTS: dict[str, Count] = {
    "errors": lambda counts: counts.critical_errors + counts.all_misnamed,
    "negatives": lambda counts: counts.all_missed + counts.all_misnamed,
    "positives": lambda counts: counts.all_phantoms,
    "whatever_named": lambda counts: counts.critical_errors,
    "disengagements": lambda counts: counts.all_disengagements,
}
"""Critical errors: false negatives (missed, or told by a wrong name) and false positives
(phantoms), together and each; missed and phantoms alone, whatever the name; disengagements.
"""


class Reduction(Frozen):
    """1 - after / before, with its interval; `before` and `after` are means over seeds of the sum
    over drives.
    """

    value: Finite
    low: Finite
    high: Finite
    before: Finite
    after: Finite


class Mean(Frozen):
    """A mean over seeds with its interval, seeds drawn anew."""

    value: Finite
    low: Finite
    high: Finite


def table(seeds: Sequence[Sequence[DriveTrial]], count: Count) -> Float64s:
    """What is counted, float64 [seeds, drives]. Raises `InputError` when drives differ."""
    names = [[drive.name for drive in drives] for drives in seeds]
    if not names or any(each != names[0] for each in names):
        raise InputError("every seed is measured on the same drives", "drives")
    return np.array([[count(drive.counts) for drive in drives] for drives in seeds], np.float64)


def reduction(before: Float64s, after: Float64s) -> Reduction:
    """Of tables [seeds, drives]; raises `InputError` for other shapes, or nothing before."""
    _alike(before, after)
    if not before.sum() > 0:
        raise InputError("nothing went wrong before", "reduction")
    found = np.array([_less(before, after, *draw) for draw in _draws(*before.shape)])
    low, high = np.percentile(found[np.isfinite(found)], (_TAIL_PERCENT, 100 - _TAIL_PERCENT))
    seeds = len(before)
    return Reduction(
        value=1 - float(after.sum() / before.sum()), low=float(low), high=float(high),
        before=float(before.sum()) / seeds, after=float(after.sum()) / seeds,
    )  # fmt: skip


def gain(before: Float64s, ours: Float64s, theirs: Float64s) -> Mean:
    """How much larger our reduction is than theirs, in shares of what was before."""
    _alike(before, ours)
    _alike(before, theirs)
    found = np.array([
        _less(before, ours, *draw) - _less(before, theirs, *draw)
        for draw in _draws(*before.shape)
    ])  # fmt: skip
    low, high = np.percentile(found[np.isfinite(found)], (_TAIL_PERCENT, 100 - _TAIL_PERCENT))
    value = float((theirs.sum() - ours.sum()) / before.sum())
    return Mean(value=value, low=float(low), high=float(high))


def mean_of(values: Sequence[float]) -> Mean:
    """Of one value a seed. Raises `InputError` without any."""
    if not values:
        raise InputError("no seed", "mean")
    rows = np.array(values, dtype=np.float64)
    rng = np.random.default_rng(0)
    means = rows[rng.integers(0, rows.size, (RESAMPLES, rows.size))].mean(axis=1)
    low, high = np.percentile(means, (_TAIL_PERCENT, 100 - _TAIL_PERCENT)).tolist()
    return Mean(value=float(rows.mean()), low=low, high=high)


def _alike(one: Float64s, other: Float64s) -> None:
    if one.shape != other.shape or one.ndim != 2 or not one.size:
        raise InputError(f"shapes {list(one.shape)} and {list(other.shape)}", "reduction")


def _draws(seeds: int, drives: int) -> list[tuple[Float64s, Float64s]]:
    """Weights of seeds and of drives, the same for the same sizes."""
    rng = np.random.default_rng(0)
    return [
        (
            rng.multinomial(seeds, np.full(seeds, 1 / seeds)).astype(np.float64),
            rng.multinomial(drives, np.full(drives, 1 / drives)).astype(np.float64),
        )
        for _ in range(RESAMPLES)
    ]


def _less(before: Float64s, after: Float64s, seeds: Float64s, drives: Float64s) -> float:
    whole = float(seeds @ before @ drives)
    return 1 - float(seeds @ after @ drives) / whole if whole else float("nan")
