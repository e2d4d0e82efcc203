"""Isotonic regression: the rising function that is nearest to what was seen.

Pool adjacent violators (Ayer et al. 1955): neighbours that fall are joined until none does.
Between knots it is linear, outside constant, as scikit-learn's.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.samples import Float64s

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Knots(Frozen):
    """A rising function, linear between `x` (rising) with values `y` (not falling)."""

    x: Annotated[tuple[Finite, ...], Field(min_length=1)]
    y: Annotated[tuple[Finite, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rising(self) -> Knots:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} places of {len(self.y)} values")
        if any(b <= a for a, b in zip(self.x, self.x[1:], strict=False)):
            raise ValueError("places do not rise")
        if any(b < a for a, b in zip(self.y, self.y[1:], strict=False)):
            raise ValueError("values fall")
        return self

    def __call__(self, x: Float64s) -> Float64s:
        """Values float64 [n] at places [n]."""
        return np.asarray(np.interp(x, self.x, self.y))


_Block = tuple[float, float, int]
"""Value, weight, and how many places it spans."""


def isotonic(x: Float64s, y: Float64s, weight: Float64s) -> Knots:
    """The rising function with the least weighed squares.

    Args:
        x: places float64 [n], n at least 1; equal ones count as one.
        y: values [n].
        weight: over 0, [n].

    Raises `InputError` for other shapes, or what is not finite.
    """
    if not x.size or not x.shape == y.shape == weight.shape or x.ndim != 1:
        raise InputError(f"{x.shape} places of {y.shape} values with {weight.shape} weights")
    if not (np.isfinite(x) & np.isfinite(y) & np.isfinite(weight) & (weight > 0)).all():
        raise InputError("places and values are finite, weights over 0")
    places, which = np.unique(x, return_inverse=True)
    total = np.bincount(which, weight)
    mean = np.bincount(which, weight * y) / total
    blocks: list[_Block] = []
    for own in zip(mean.tolist(), total.tolist(), [1] * mean.size, strict=True):
        block = own
        while blocks and blocks[-1][0] >= block[0]:
            block = _pooled(blocks.pop(), block)
        blocks.append(block)
    last = np.cumsum([size for _, _, size in blocks]) - 1
    first = np.concatenate([[0], last[:-1] + 1])
    levels = np.array([value for value, _, _ in blocks])
    at = np.column_stack([places[first], places[last]]).reshape(-1)
    kept = np.concatenate([[True], np.diff(at) > 0])
    return Knots(x=tuple(at[kept].tolist()), y=tuple(np.repeat(levels, 2)[kept].tolist()))


def _pooled(one: _Block, two: _Block) -> _Block:
    weight = one[1] + two[1]
    return (one[0] * one[1] + two[0] * two[1]) / weight, weight, one[2] + two[2]
