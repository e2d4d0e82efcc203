"""How far two samples are apart, and whether that is more than chance.

The energy distance is 2 E|X - Y| - E|X - X'| - E|Y - Y'|: 0 for one and the same distribution and
above 0 for any two others (Szekely and Rizzo 2013). Over 2 E|X - Y| it is the coefficient of
inhomogeneity, in 0..1.

Clips of one drive resemble each other, so the *unit* is the drive: pairs within a unit are left
out of E|X - X'|, and the permutation test deals whole units. Weights travel with the clips. The
test is exact where both samples were drawn alike: weights whose law differs between the samples
are not exchangeable, even where what is met is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s

_BLOCK = 512
_TIE = 1e-12
_BATCH, _ENOUGH = 256, 20


@dataclass(frozen=True, slots=True)
class Pooled:
    """Two samples by unit: `sums` float64 [u, u] of weighted distances between the clips of two
    units, `weights` [u] the clips' weights in a unit, `second` bool [u] of the second sample.
    """

    sums: Float64s
    weights: Float64s
    second: Bools


@dataclass(frozen=True, slots=True)
class Apart:
    """`distance` is unbiased and may lie below 0; `size` is it over 2 E|X - Y|, within 0..1."""

    distance: float
    size: float


def pooled(
    first: tuple[Float64s, Float64s, Int64s], second: tuple[Float64s, Float64s, Int64s]
) -> Pooled:
    """Both samples as values [n, d], weights [n] above 0, and units [n] by number.

    Weights are scaled to a mean of 1 in each sample: only their ratios tell.

    Raises `InputError` for a sample without two units, and for bad weights.
    """
    values = np.concatenate([first[0], second[0]]).astype(np.float64)
    scaled, owner = [], []
    for number, (_, weights, units) in enumerate((first, second)):
        if np.unique(units).size < 2:
            raise InputError("a sample needs two drives at least")
        if not (np.isfinite(weights).all() and (weights > 0).all()):
            raise InputError("weights lie above 0", "weights")
        scaled.append(weights / weights.mean())
        owner.append(2 * units + number)
    weight = np.concatenate(scaled)
    names, unit = np.unique(np.concatenate(owner), return_inverse=True)
    order = np.argsort(unit, kind="stable")
    sums = _unit_sums(values[order], weight[order], unit[order], names.size)
    by_unit = np.bincount(unit, weight, names.size).astype(np.float64)
    return Pooled(sums, by_unit, names % 2 == 1)


def _unit_sums(values: Float64s, weight: Float64s, unit: Int64s, units: int) -> Float64s:
    """`unit` rises from 0 without gaps."""
    starts = np.searchsorted(unit, np.arange(units))
    norms = (values**2).sum(axis=1)
    sums = np.zeros((units, units))
    for begin in range(0, len(values), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        if values.shape[1] == 1:
            away = np.abs(values[rows] - values[:, 0])
        else:
            square = norms[rows, None] + norms[None] - 2 * values[rows] @ values.T
            away = np.sqrt(np.maximum(square, 0.0))
        by_unit = np.add.reduceat(away * weight, starts, axis=1)
        np.add.at(sums, unit[rows], by_unit * weight[rows, None])
    return sums


def apart(found: Pooled) -> Apart:
    """As the samples are."""
    distance, cross = _distances(found, found.second[None].astype(np.float64))
    value, across = float(distance[0]), float(cross[0])
    return Apart(value, min(max(value / (2 * across), 0.0), 1.0) if across else 0.0)


def least_p(found: Pooled) -> float:
    """The smallest p-value that so few units can give."""
    units, second = found.second.size, int(found.second.sum())
    ways = math.comb(units, second)
    return min(1.0, (2.0 if 2 * second == units else 1.0) / ways)


def p_value(found: Pooled, rounds: int, seed: int) -> float:
    """Of a permutation test: how often units dealt at random lie as far apart.

    After `_ENOUGH` rounds that do, nothing is to be found any more, and it stops: the share of
    these among the rounds until then is a p-value too (Besag and Clifford 1991).
    """
    observed = _distances(found, found.second[None].astype(np.float64))[0][0]
    observed -= _TIE * max(1.0, float(np.abs(found.sums).max(initial=0.0)))
    rng = np.random.default_rng(seed)
    units, second = found.second.size, int(found.second.sum())
    hits = 0
    for begin in range(0, rounds, _BATCH):
        count = min(_BATCH, rounds - begin)
        dealt = np.zeros((count, units))
        drawn = rng.random((count, units)).argsort(axis=1)[:, :second]
        np.put_along_axis(dealt, drawn, 1.0, axis=1)
        reached = hits + np.cumsum(_distances(found, dealt)[0] >= observed)
        if reached[-1] >= _ENOUGH:
            return _ENOUGH / (begin + int(np.argmax(reached >= _ENOUGH)) + 1)
        hits = int(reached[-1])
    return (1 + hits) / (1 + rounds)


def _distances(found: Pooled, second: Float64s) -> tuple[Float64s, Float64s]:
    """Energy distance and E|X - Y| [r] for each of the ways [r, u] to say who is in the second."""
    first = 1.0 - second
    between = found.sums.copy()
    np.fill_diagonal(between, 0.0)
    weights, squares = found.weights, found.weights**2
    first_weight, second_weight = first @ weights, second @ weights
    toward = second @ found.sums
    cross = (toward * first).sum(axis=1) / (first_weight * second_weight)
    one = ((first @ between) * first).sum(axis=1) / (first_weight**2 - first @ squares)
    two = ((second @ between) * second).sum(axis=1) / (second_weight**2 - second @ squares)
    return 2 * cross - one - two, cross
