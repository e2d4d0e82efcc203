"""Smoothing of places that are known better in one direction than in another.

A side of a car says where the car is across that side and nothing along it. What each frame
tells of the place is therefore an information matrix; the course is the most probable one under
the same random walks as in `auto.smoothing`, and what contradicts it counts less.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.linalg import solveh_banded

from contracts.samples import Float64s

_FREEDOM = 5.0
_ROUNDS = 4
_TINY = 1e-9


def fused(
    tellings: list[tuple[Float64s, Float64s]], step: float, walk: Literal["place", "speed"]
) -> Float64s:
    """The course float64 [t, 2].

    Args:
        tellings: of each source, a place [t, 2] and its information [t, 2, 2], zeros where it
            tells nothing.
        step: standard deviation of the place's or the speed's step between instants.
        walk: what does the random walk.
    """
    count = tellings[0][0].shape[0]
    stiff = _penalty(count, 1 if walk == "place" else 2) / step**2
    weights = [np.ones(count) for _ in tellings]
    course = np.zeros((count, 2))
    for turn in range(_ROUNDS + 1):
        if turn:
            weights = [_weight(course - place, info) for place, info in tellings]
        info = np.sum([w[:, None, None] * i for w, (_, i) in zip(weights, tellings, strict=True)],
                      axis=0)  # fmt: skip
        told = np.sum(
            [np.einsum("tij,tj->ti", w[:, None, None] * i, place)
             for w, (place, i) in zip(weights, tellings, strict=True)], axis=0,
        )  # fmt: skip
        course = _solved(stiff, info, told)
    return course


def _weight(away: Float64s, info: Float64s) -> Float64s:
    square = np.einsum("ti,tij,tj->t", away, info, away)
    return np.asarray((_FREEDOM + 2) / (_FREEDOM + square))


def _solved(stiff: Float64s, info: Float64s, told: Float64s) -> Float64s:
    """Unknowns are x, y of the first instant, x, y of the second, and so on."""
    system = stiff.copy()
    system[-1] += np.stack([info[:, 0, 0], info[:, 1, 1]], axis=1).reshape(-1) + _TINY
    system[-2, 1::2] += info[:, 0, 1]
    return np.asarray(solveh_banded(system, told.reshape(-1), check_finite=False)).reshape(-1, 2)


def _penalty(count: int, order: int) -> Float64s:
    """Bands of the squared differences of an order, for x and y in turn: upper form."""
    order = min(order, count - 1)
    kernel = {0: [0.0], 1: [-1.0, 1.0], 2: [1.0, -2.0, 1.0]}[order]
    depth = max(2 * order, 1)
    bands = np.zeros((depth + 1, 2 * count))
    spans = 2 * (count - order)
    for i in range(order + 1):
        for j in range(i, order + 1):
            bands[depth - 2 * (j - i), 2 * j : 2 * j + spans] += kernel[i] * kernel[j]
    return bands
