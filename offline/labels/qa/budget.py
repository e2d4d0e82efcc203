"""Which option to take for each of many items, within a budget: the multiple-choice knapsack.

Minimised is the sum of the chosen options' losses, under: exactly one allowed option an item, and
the sum of costs at most the budget. Each item has an allowed option that costs nothing.

For a price of cost, every item by itself takes the option of least loss + price * cost
(Lagrange; Everett 1963). As the price falls, items step along the lower convex hull of their
options, the most loss per cost first, which solves the linear relaxation (Sinha and Zoltners 1979;
Zemel 1980). Steps are taken in that order while they fit; of those left, any that still fit
after. So the loss is the least possible for what the steps before the first misfit cost, and for
the whole budget it is over the least possible by less than that one step would have saved; the
relaxation's bound is told beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s

_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Chosen:
    """`option` int64 [n]; the sums; `bound`, under which no choice within the budget can get; and
    the `price` at which the budget was used up: loss that one more unit of cost would save.
    """

    option: Int64s
    loss: float
    cost: float
    bound: float
    price: float


def least_loss(loss: Float64s, cost: Float64s, allowed: Bools, budget: float) -> Chosen:
    """Choose for all items.

    Args:
        loss: of each option, float64 [n, options].
        cost: likewise, at least 0.
        allowed: likewise, bool.
        budget: for all together; may be infinite.

    Raises:
        InputError: an item without a free option, or values out of range.
    """
    if not budget >= 0:
        raise InputError(f"must not be under 0: {budget}", "budget")
    if not (np.isfinite(loss).all() and np.isfinite(cost).all() and (cost >= 0).all()):
        raise InputError("losses and costs are finite, costs not under 0")
    free = np.where(allowed & (cost == 0), loss, np.inf)
    if not np.isfinite(free.min(axis=1, initial=np.inf)).all():
        raise InputError("an item has no option that costs nothing")
    option = free.argmin(axis=1)
    steps = [
        step for item in range(len(loss)) for step in _steps(item, loss, cost, allowed, option)
    ]
    steps.sort(key=lambda step: (-step.saves / step.costs, step.item, step.costs))
    bound, price, spent, full = _sum(loss, option), 0.0, 0.0, False
    blocked: set[int] = set()
    for step in steps:
        fits = spent + step.costs <= budget + _SLACK
        if not full:
            share = 1.0 if fits else (budget - spent) / step.costs
            bound -= share * step.saves
            if not fits:
                full, price = True, step.saves / step.costs
        if step.item in blocked or not fits:
            # A later step of an item stands on its earlier ones.
            blocked.add(step.item)
            continue
        option[step.item] = step.option
        spent += step.costs
    return Chosen(option, _sum(loss, option), _sum(cost, option), bound, price)


@dataclass(frozen=True, slots=True)
class _Step:
    item: int
    option: int
    saves: float
    costs: float


def _steps(item: int, loss: Float64s, cost: Float64s, allowed: Bools, start: Int64s) -> list[_Step]:
    """From the free option along the lower convex hull: ever less saved per cost."""
    hull = [int(start[item])]
    rising = np.lexsort((loss[item], cost[item]))
    for option in rising[allowed[item, rising]].tolist():
        if loss[item, option] >= loss[item, hull[-1]] - _SLACK:
            continue
        while len(hull) > 1 and _rate(item, hull[-1], option, loss, cost) >= _rate(
            item, hull[-2], hull[-1], loss, cost
        ):
            hull.pop()
        hull.append(option)
    return [
        _Step(item, b, float(loss[item, a] - loss[item, b]), float(cost[item, b] - cost[item, a]))
        for a, b in pairwise(hull)
    ]


def _rate(item: int, one: int, two: int, loss: Float64s, cost: Float64s) -> float:
    return float((loss[item, one] - loss[item, two]) / (cost[item, two] - cost[item, one]))


def _sum(table: Float64s, option: Int64s) -> float:
    return float(table[np.arange(len(table)), option].sum())
