"""Gradient boosting of shallow trees on binned features, for a yes or no (logistic loss).

Newton steps (Friedman 2001; Chen and Guestrin 2016): each tree is grown level by level on
histograms of slope and curvature; a feature that is said to be monotone never pulls the other
way (children's values are kept in order, and in the bounds of those above them, as in LightGBM
and scikit-learn). No chance in it: the same rows in the same order give the same trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from contracts.errors import InputError
from contracts.geometry import Bools, Frozen, Int64s
from contracts.samples import Float64s
from offline.labels.calibration.kernels import histograms, tree_sums

BINS = 64
_DIGITS = 9
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Growth(Frozen):
    """How trees are grown; `shrinkage` bounds each step, `ridge` is added to the curvature."""

    trees: Annotated[int, Field(ge=1, le=2000)] = 120
    depth: Annotated[int, Field(ge=1, le=6)] = 2
    step: Annotated[float, Field(gt=0, le=1)] = 0.1
    ridge: Annotated[float, Field(ge=0)] = 1.0
    least_rows: Annotated[int, Field(ge=1)] = 50


class Trees(Frozen):
    """A sum of complete binary trees, all of one depth: `offset`, and by tree the `feature`
    (-1: all rows go left) and the `threshold` of its inner nodes from the root level by level,
    rows at or under it going left, and the `value` of its leaves from left to right.
    """

    features: Annotated[int, Field(ge=1)]
    depth: Annotated[int, Field(ge=1, le=6)]
    offset: Finite
    feature: tuple[tuple[int, ...], ...]
    threshold: tuple[tuple[Finite, ...], ...]
    value: tuple[tuple[Finite, ...], ...]

    @model_validator(mode="after")
    def _complete(self) -> Trees:
        inner = 2**self.depth - 1
        if not len(self.feature) == len(self.threshold) == len(self.value):
            raise ValueError("feature, threshold and value are of different numbers of trees")
        if any(len(nodes) != inner for nodes in (*self.feature, *self.threshold)):
            raise ValueError(f"a tree of depth {self.depth} has {inner} inner nodes")
        if any(len(leaves) != inner + 1 for leaves in self.value):
            raise ValueError(f"a tree of depth {self.depth} has {inner + 1} leaves")
        if any(not -1 <= f < self.features for nodes in self.feature for f in nodes):
            raise ValueError(f"features are numbered from 0 to {self.features - 1}, -1 is none")
        return self

    def margin(self, inputs: Float64s) -> Float64s:
        """Log odds float64 [n] of rows [n, features]. Raises `InputError` for other widths."""
        if inputs.ndim != 2 or inputs.shape[1] != self.features:
            raise InputError(f"rows of {inputs.shape[1:]} features, expected {self.features}")
        return tree_sums(
            np.ascontiguousarray(inputs), self.depth, self.offset, np.array(self.feature),
            np.array(self.threshold), np.array(self.value),
        )  # fmt: skip


def probability(margin: Float64s) -> Float64s:
    """Of log odds [n]."""
    return np.asarray(1 / (1 + np.exp(-np.clip(margin, -50, 50))))


def boosted(
    inputs: Float64s, right: Bools, weight: Float64s, monotone: Sequence[int], growth: Growth
) -> Trees:
    """Trees that tell `right`.

    Args:
        inputs: finite float64 [n, f].
        right: bool [n], of which some are and some are not.
        weight: of each row, float64 [n], over 0.
        monotone: by feature 1 (more never makes it less likely), -1, or 0 (free).
        growth: how many trees, how deep.

    Raises `InputError` for what cannot be learnt from.
    """
    _check(inputs, right, weight, monotone)
    cuts = [_cuts(column) for column in inputs.T]
    binned = np.column_stack([np.searchsorted(c, x) for c, x in zip(cuts, inputs.T, strict=True)])
    share = float((weight * right).sum() / weight.sum())
    offset = round(float(np.log(share / (1 - share))), _DIGITS)
    margin = np.full(right.size, offset)
    grower = _Grower(binned, cuts, np.asarray(monotone), growth)
    trees = []
    for _ in range(growth.trees):
        told = probability(margin)
        tree, leaf = grower.tree(weight * (told - right), weight * told * (1 - told))
        margin += tree[2][leaf]
        trees.append(tree)
    return Trees(
        features=inputs.shape[1], depth=growth.depth, offset=offset,
        feature=tuple(tuple(f.tolist()) for f, _, _ in trees),
        threshold=tuple(tuple(t.tolist()) for _, t, _ in trees),
        value=tuple(tuple(v.tolist()) for _, _, v in trees),
    )  # fmt: skip


def _check(inputs: Float64s, right: Bools, weight: Float64s, monotone: Sequence[int]) -> None:
    if inputs.ndim != 2 or right.shape != inputs.shape[:1] or weight.shape != right.shape:
        raise InputError(f"{inputs.shape} inputs, {right.shape} outcomes, {weight.shape} weights")
    if len(monotone) != inputs.shape[1] or any(m not in (-1, 0, 1) for m in monotone):
        raise InputError(f"one of -1, 0, 1 for each of {inputs.shape[1]} features", "monotone")
    if not np.isfinite(inputs).all() or not (np.isfinite(weight) & (weight > 0)).all():
        raise InputError("inputs are finite, weights over 0")
    if right.all() or not right.any():
        raise InputError("nothing to learn: all rows are right, or none is")


def _cuts(column: Float64s) -> Float64s:
    """Rising thresholds between at most `BINS` bins of a feature."""
    values = np.unique(column)
    if values.size > BINS:
        values = np.unique(np.quantile(column, np.linspace(0, 1, BINS), method="nearest"))
    return np.asarray((values[1:] + values[:-1]) / 2)


_Tree = tuple[Int64s, Float64s, Float64s]


class _Grower:
    """What all trees have in common: binned rows [n, f] and what they may look like."""

    def __init__(
        self, binned: Int64s, cuts: list[Float64s], monotone: Int64s, growth: Growth
    ) -> None:
        self._binned, self._cuts, self._monotone, self._growth = binned, cuts, monotone, growth
        self._bins = 1 + max(cut.size for cut in cuts)

    def tree(self, slope: Float64s, curve: Float64s) -> tuple[_Tree, Int64s]:
        """One tree, and the leaf [n] of each row."""
        rows, width = self._binned.shape
        inner = 2**self._growth.depth - 1
        feature, threshold = np.full(inner, -1), np.zeros(inner)
        node = np.zeros(rows, dtype=np.int64)
        low, high = np.array([-np.inf]), np.array([np.inf])
        for level in range(self._growth.depth):
            count = 2**level
            gain, place = np.zeros(count), np.full((count, 2), -1)
            middle = np.zeros(count)
            table = histograms(self._binned, node, slope, curve, count, self._bins)
            for k in range(width):
                if not self._cuts[k].size:
                    continue
                bins = self._cuts[k].size + 1
                found, bin_, between = self._splits(k, table[k, :, :bins], low, high)
                better = found > gain
                gain[better], middle[better] = found[better], between[better]
                place[better] = np.column_stack([np.full(count, k), bin_])[better]
            here = np.arange(count) + count - 1
            cut = place[:, 0] >= 0
            feature[here] = place[:, 0]
            threshold[here[cut]] = [self._cuts[k][b] for k, b in place[cut].tolist()]
            right = (self._binned[np.arange(rows), place[node, 0]] > place[node, 1]) & cut[node]
            low, high = self._bounds(place[:, 0], middle, low, high)
            node = 2 * node + right
        leaves = inner + 1
        total = np.bincount(node, slope, minlength=leaves).astype(np.float64)
        bend = np.bincount(node, curve, minlength=leaves).astype(np.float64)
        value = self._growth.step * self._worth(total, bend, low, high)
        return (feature, threshold, np.round(value, _DIGITS)), node

    def _splits(
        self, k: int, table: Float64s, low: Float64s, high: Float64s
    ) -> tuple[Float64s, Int64s, Float64s]:
        """Of each node: the best gain by feature k, the last bin that goes left, and the middle
        of the two children's values. `table` [nodes, bins, 3]: slope, curve, rows.
        """
        left = table.cumsum(axis=1)
        left, whole_node = left[:, :-1], left[:, -1:]
        slopes, curves, rows = ((left[..., j], whole_node[..., j] - left[..., j]) for j in range(3))
        edge = low[:, None], high[:, None]
        one, two = (self._worth(s, c, *edge) for s, c in zip(slopes, curves, strict=True))
        whole = self._worth(slopes[0] + slopes[1], curves[0] + curves[1], *edge)
        gain = (
            self._loss(slopes[0] + slopes[1], curves[0] + curves[1], whole)
            - self._loss(slopes[0], curves[0], one) - self._loss(slopes[1], curves[1], two)
        )  # fmt: skip
        least = self._growth.least_rows
        barred = (rows[0] < least) | (rows[1] < least)
        barred |= (two - one) * self._monotone[k] < 0
        gain = np.where(barred, 0.0, gain)
        best = gain.argmax(axis=1)
        at = np.arange(low.size), best
        return gain[at], best, (one[at] + two[at]) / 2

    def _worth(self, slope: Float64s, curve: Float64s, low: Float64s, high: Float64s) -> Float64s:
        """The best value of a node within its bounds."""
        return np.asarray(np.clip(-slope / (curve + self._growth.ridge + 1e-12), low, high))

    def _loss(self, slope: Float64s, curve: Float64s, value: Float64s) -> Float64s:
        return np.asarray(slope * value + (curve + self._growth.ridge) * value**2 / 2)

    def _bounds(
        self, chosen: Int64s, middle: Float64s, low: Float64s, high: Float64s
    ) -> tuple[Float64s, Float64s]:
        """Of the children of all nodes, left before right: [2 * nodes] each."""
        turn = np.where(chosen >= 0, self._monotone[chosen], 0)
        lows = np.column_stack([np.where(turn < 0, middle, low), np.where(turn > 0, middle, low)])
        highs = np.column_stack(
            [np.where(turn > 0, middle, high), np.where(turn < 0, middle, high)]
        )
        return lows.reshape(-1), highs.reshape(-1)
