"""How far annotators agree: kappa on classes, intraclass correlation on geometry.

Kappa is 1 when all agree, 0 when they agree as often as chance would by their own habits; where
all use one class only, chance agrees as well as they do and kappa is NaN.
(Cohen 1960, 1968; Fleiss 1971.)

ICC is the share of a value's variance that the objects make, not the annotators or noise, from a
two-way table without gaps; intervals are exact under normality for ICC(3, 1), approximate by
Satterthwaite's degrees of freedom for ICC(2, .).
(Shrout and Fleiss 1979, whose numbering this is; McGraw and Wong 1996.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import f as f_law

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s

Weights = Literal["none", "linear", "quadratic"]


def cohen_kappa(one: Int64s, two: Int64s, classes: int, weights: Weights = "none") -> float:
    """Agreement of two annotators over the same items.

    Args:
        one: class of each item, int64 [n] in 0..classes-1.
        two: the other annotator's.
        classes: how many there are.
        weights: how much a disagreement counts: all alike, or by the distance of the classes'
            numbers, for those that have an order.

    Raises:
        InputError: other shapes, a class out of range, or no item.
    """
    if one.shape != two.shape or one.ndim != 1 or not one.size:
        raise InputError("two annotators' classes of the same items, at least one")
    for column in (one, two):
        _check_classes(column, classes)
    table = np.bincount(one * classes + two, minlength=classes**2).reshape(classes, classes)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / one.size
    away = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(np.float64)
    cost = {"none": (away > 0).astype(np.float64), "linear": away, "quadratic": away**2}[weights]
    by_chance = float((cost * expected).sum())
    return 1.0 - float((cost * table).sum()) / by_chance if by_chance > 0 else float("nan")


def fleiss_kappa(counts: Int64s) -> float:
    """Agreement of any annotators, not the same ones for all items.

    Args:
        counts: how many put item i into class c, int64 [n, classes]; as many for each item.

    Raises:
        InputError: no item, fewer than two answers, or not as many for each.
    """
    if counts.ndim != 2 or not counts.size:
        raise InputError("counts are [items, classes] of at least one item", "counts")
    answers = counts.sum(axis=1)
    raters = int(answers[0])
    if (answers != raters).any() or raters < 2 or (counts < 0).any():
        raise InputError("each item needs the same number of answers, at least 2", "counts")
    alike = float(((counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1))).mean())
    shares = counts.sum(axis=0) / counts.sum()
    by_chance = float((shares**2).sum())
    return (alike - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def class_counts(said: Int64s, classes: int) -> Int64s:
    """Answers as `fleiss_kappa` takes them.

    Args:
        said: class that each annotator gave each item, int64 [items, annotators], -1 where not
            asked, as `dawid_skene` takes them.
        classes: how many there are, "no object" among them.
    """
    return np.asarray((said[..., None] == np.arange(classes)).sum(axis=1), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Correlation:
    """An intraclass correlation with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Correlations:
    """`single` is ICC(2, 1): of one annotator's value, absolute agreement, annotators drawn from
    many; `mean` is ICC(2, k): of the k annotators' mean; `consistency` is ICC(3, 1): as `single`
    for just these annotators, a constant offset of each forgiven.
    """

    single: Correlation
    mean: Correlation
    consistency: Correlation


def intraclass_correlations(values: Float64s, confidence: float = 0.95) -> Correlations:
    """ICC of values [objects, annotators].

    Angles wrap: take them relative to a common one first.

    Raises:
        InputError: fewer than two objects or annotators, a gap, or no variance at all.
    """
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise InputError("values are a finite [objects, annotators], at least [2, 2]", "values")
    n, k = values.shape
    rows, columns, rest = _mean_squares(values)
    if rows + columns + rest <= 0:
        raise InputError("all values are the same: there is no variance to share out", "values")
    tail = 1 - (1 - confidence) / 2
    single = _ratio(rows - rest, rows + (k - 1) * rest + k * (columns - rest) / n)
    low, high = _absolute_interval(n, k, (rows, columns, rest), single, tail)
    consistency = _ratio(rows - rest, rows + (k - 1) * rest)
    return Correlations(
        Correlation(single, low, high),
        Correlation(
            _ratio(rows - rest, rows + (columns - rest) / n), _of_mean(low, k), _of_mean(high, k)
        ),
        Correlation(consistency, *_consistency_interval(n, k, rows, rest, tail)),
    )


def _mean_squares(values: Float64s) -> tuple[float, float, float]:
    """Of objects, of annotators, and of what is left."""
    n, k = values.shape
    mean = values.mean()
    rows = k * float(((values.mean(axis=1) - mean) ** 2).sum())
    columns = n * float(((values.mean(axis=0) - mean) ** 2).sum())
    rest = max(0.0, float(((values - mean) ** 2).sum()) - rows - columns)
    return rows / (n - 1), columns / (k - 1), rest / ((n - 1) * (k - 1))


def _absolute_interval(
    n: int, k: int, squares: tuple[float, float, float], single: float, tail: float
) -> tuple[float, float]:
    rows, columns, rest = squares
    if rest == 0:
        # Without noise what annotators differ by is known exactly only as far as they are many.
        return (single, single) if columns == 0 else (float("nan"), float("nan"))
    ratio = columns / rest
    inner = n * (1 + (k - 1) * single) - k * single
    freedom = ((k - 1) * (n - 1) * (k * single * ratio + inner) ** 2) / (
        (n - 1) * (k * single * ratio) ** 2 + inner**2
    )
    least, most = f_law.ppf(tail, n - 1, freedom), f_law.ppf(tail, freedom, n - 1)
    others = k * columns + (k * n - k - n) * rest
    return (
        _ratio(n * (rows - least * rest), least * others + n * rows),
        _ratio(n * (most * rows - rest), others + n * most * rows),
    )


def _consistency_interval(
    n: int, k: int, rows: float, rest: float, tail: float
) -> tuple[float, float]:
    if rest == 0:
        return 1.0, 1.0
    found, freedom = rows / rest, ((n - 1), (n - 1) * (k - 1))
    low = found / f_law.ppf(tail, *freedom)
    high = found * f_law.ppf(tail, *freedom[::-1])
    return float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1))


def _of_mean(single: float, k: int) -> float:
    """Spearman and Brown: the reliability of a mean of k."""
    return _ratio(k * single, 1 + (k - 1) * single)


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else float("nan")


def _check_classes(column: Int64s, classes: int) -> None:
    if column.min() < 0 or column.max() >= classes:
        raise InputError(f"classes lie in 0..{classes - 1}")
