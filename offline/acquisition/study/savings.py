"""How many labelled boxes a way to choose saves for as good a model.

Of one seed, two curves of a figure over labelled boxes, from the same start. A figure that is
measured again after each turn goes up and down by chance: each curve is taken as the rising one
that is nearest to it by least squares (isotonic regression), straight between its points. Levels
lie at `SHARES` of the way from the start's figure, which both share, to the lower of both ends,
so that both curves reach each of them; nothing is extrapolated. At a level the saving is
1 - boxes needed / boxes that the other needed; a seed's saving is the mean over the levels.

Boxes are counted from nought, what was labelled at first included: the saving on all that was
ever labelled. Counted `beyond_start` it is the saving on what was chosen.

The interval is Student's, over the seeds.

A seed's curve is rough where the figure is: most of it is chance, and levels of single seeds are
read off steps. `of_means` reads the same saving off the mean curves of all seeds, with a
percentile interval over seeds drawn with replacement, in pairs (Efron).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen, Int64s
from contracts.samples import Float64s
from offline.acquisition.study.run import Curve

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_CONFIDENCE = 0.95
_RESAMPLES = 2000


class Interval(Frozen):
    """A mean over seeds with its 95 % interval."""

    mean: Finite
    low: Finite
    high: Finite


class Saving(Frozen):
    """What `strategy` saves against `against`, as a share: of each seed, in their order, None
    where no level was reached by both; over the others `all_boxes` and `beyond_start`.
    `of_means` is that of the mean curves of all seeds, on all boxes, None where that learned
    nothing.
    """

    strategy: str
    against: str
    figure: str
    seeds: tuple[int, ...]
    by_seed: tuple[Finite | None, ...]
    all_boxes: Interval
    beyond_start: Interval
    of_means: Interval | None = None
    levels: tuple[float, ...] = Field(SHARES)


def saving(ours: Sequence[Curve], theirs: Sequence[Curve], figure: str) -> Saving:
    """Paired by seed. Raises `InputError` when seeds differ or fewer than two can be compared."""
    seeds = [curve.seed for curve in ours]
    if seeds != [curve.seed for curve in theirs] or not seeds:
        raise InputError("both strategies need the same seeds, in the same order", "savings")
    pairs = list(zip(ours, theirs, strict=True))
    whole = [of_pair(a, b, figure) for a, b in pairs]
    beyond = [of_pair(a, b, figure, beyond_start=True) for a, b in pairs]
    return Saving(
        strategy=ours[0].strategy, against=theirs[0].strategy, figure=figure, seeds=tuple(seeds),
        by_seed=tuple(whole), all_boxes=interval([s for s in whole if s is not None]),
        beyond_start=interval([s for s in beyond if s is not None]),
        of_means=of_means(pairs, figure),
    )  # fmt: skip


def of_pair(ours: Curve, theirs: Curve, figure: str, *, beyond_start: bool = False) -> float | None:
    """The saving of one seed; None when one of them learned nothing.

    Raises `InputError` when the curves do not start alike.
    """
    if ours.points[0] != theirs.points[0]:
        raise InputError("the loops did not start alike", f"seed {ours.seed}")
    less = float(ours.boxes()[0]) if beyond_start else 0.0
    return _saved(ours.boxes(), ours.figure(figure), theirs.boxes(), theirs.figure(figure), less)


def of_means(pairs: Sequence[tuple[Curve, Curve]], figure: str) -> Interval | None:
    """The saving of the mean curve over that of the others; None when that learned nothing.

    Turn by turn the boxes and the figures of all seeds are averaged, as far as every loop went.
    A resample whose means learned nothing has no part in the interval.
    """
    turns = min(len(curve.points) for pair in pairs for curve in pair)
    table = np.array(
        [
            [(curve.boxes()[:turns], curve.figure(figure)[:turns]) for curve in pair]
            for pair in pairs
        ]
    )  # [seeds, ours or theirs, boxes or figure, turns]

    def saved(rows: Int64s) -> float | None:
        (boxes, values), (other_boxes, other_values) = table[rows].mean(axis=0)
        return _saved(boxes, values, other_boxes, other_values, 0.0)

    mean = saved(np.arange(len(pairs)))
    if mean is None:
        return None
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(pairs), (_RESAMPLES, len(pairs)))
    found = [value for value in map(saved, draws) if value is not None]
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(found, (tail, 100 - tail)).tolist()
    return Interval(mean=mean, low=low, high=high)


def _saved(
    boxes: Float64s, values: Float64s, other_boxes: Float64s, other_values: Float64s, less: float
) -> float | None:
    """Of two curves from one start, `less` boxes left out of both."""
    first, rising, others = float(values[0]), risen(values), risen(other_values)
    # Smoothed, the start may come out differently of both: the measured one is what they share.
    start, end = max(first, rising[0], others[0]), min(rising[-1], others[-1])
    if not end > start:
        return None
    shares = []
    for share in SHARES:
        level = start + share * (end - start)
        need = boxes_for(boxes, rising, level) - less
        other = boxes_for(other_boxes, others, level) - less
        shares.append(1 - need / other)
    return float(np.mean(shares))


def risen(values: Float64s) -> Float64s:
    """The nearest curve that never falls."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(values).x)


def boxes_for(boxes: Float64s, rising: Float64s, level: float) -> float:
    """The fewest boxes at which a rising curve reaches a level that it does reach."""
    place = int(np.argmax(rising >= level - 1e-12))
    if place == 0:
        return float(boxes[0])
    low, high = rising[place - 1], rising[place]
    part = (level - low) / (high - low)
    return float(boxes[place - 1] + min(1.0, part) * (boxes[place] - boxes[place - 1]))


def interval(values: Sequence[float]) -> Interval:
    """Mean and Student's interval. Raises `InputError` for fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        raise InputError(f"{len(values)} seeds can be compared, an interval needs two", "savings")
    mean = float(np.mean(values))
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * spread
    return Interval(mean=mean, low=mean - reach, high=mean + reach)
