"""Fixed-interval smoothing of evenly spaced values, some of them unseen.

The most probable course of a state whose speed (or place) does a random walk, given all that was
seen, is what a Rauch-Tung-Striebel smoother finds; here it is one banded linear system a
track instead of two passes. Errors have heavy tails (Student's t): weights are found anew until
outliers hardly count.
(Rauch, Tung and Striebel 1965; Bell 1994 on smoothing as least squares.)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.linalg import solveh_banded

from contracts.geometry import wrapped
from contracts.samples import Float64s

_FREEDOM = 5.0
_ROUNDS = 4
_LEAST_SEEN = 8
_LADDER = (1.0, 0.5, 0.25, 0.12, 0.06)
# Keeps the system regular where fewer values are seen than the walk has parameters.
_TINY = 1e-9


def smoothed(
    value: Float64s, noise: Float64s, step: float, walk: Literal["place", "speed"],
    robust: bool = True,
) -> Float64s:  # fmt: skip
    """The course float64 [t, d].

    Args:
        value: what was seen, [t, d]; rows of unseen instants are ignored.
        noise: standard deviation of each instant, [t]; infinite where nothing was seen.
        step: standard deviation of the place's or the speed's step from one instant to the next.
        walk: what does the random walk.
        robust: whether outliers count less.
    """
    seen = np.isfinite(noise)
    target = np.where(seen[:, None], value, 0.0)
    sure = np.where(seen, 1 / np.where(seen, noise, 1.0) ** 2, 0.0)
    stiff = _penalty(value.shape[0], 1 if walk == "place" else 2) / step**2
    weight = sure
    course = _solved(stiff, weight, target)
    for _ in range(_ROUNDS if robust else 0):
        square = ((target - course) ** 2).sum(axis=1) * sure
        width = target.shape[1]
        weight = sure * (_FREEDOM + width) / (_FREEDOM + square)
        course = _solved(stiff, weight, target)
    return course


def spread(noise: Float64s, step: float, walk: Literal["place", "speed"]) -> Float64s:
    """The standard deviation [t] of each instant of a course; arguments as of `smoothed`."""
    seen = np.isfinite(noise)
    system = _penalty(noise.size, 1 if walk == "place" else 2) / step**2
    system[-1] += np.where(seen, 1 / np.where(seen, noise, 1.0) ** 2, 0.0) + _TINY
    covariance = solveh_banded(system, np.eye(noise.size), check_finite=False)
    return np.asarray(np.sqrt(np.maximum(np.diagonal(covariance), 0.0)))


def fitting_step(
    value: Float64s, noise: Float64s, step: float, walk: Literal["place", "speed"]
) -> float:
    """The step, at most the one given, with which each half of what was seen foretells the other
    best: how restless this object is. Arguments as of `smoothed`.
    """
    seen = np.flatnonzero(np.isfinite(noise))
    if seen.size < _LEAST_SEEN:
        return step
    best, least = step, np.inf
    for part in _LADDER:
        error = 0.0
        for fold in (0, 1):
            known = np.full(noise.size, np.inf)
            known[seen[fold::2]] = noise[seen[fold::2]]
            asked = seen[1 - fold :: 2]
            course = smoothed(value, known, step * part, walk, robust=False)
            away = ((course[asked] - value[asked]) ** 2).sum(axis=1) / noise[asked] ** 2
            error += float(np.log1p(away / _FREEDOM).sum())
        if error < least:
            best, least = step * part, error
    return best


def smoothed_axis(yaw_rad: Float64s, noise: Float64s, step: float) -> Float64s:
    """The course of a direction [t] of which front and back were confused: in [-pi/2, pi/2]
    about the axis, unwrapped.
    """
    doubled = np.column_stack([np.cos(2 * yaw_rad), np.sin(2 * yaw_rad)])
    course = smoothed(doubled, 2 * noise, 2 * step, "place")
    return np.asarray(np.unwrap(np.arctan2(course[:, 1], course[:, 0])) / 2)


def faced(axis_rad: Float64s, heading_rad: Float64s, weight: Float64s) -> Float64s:
    """An axis [t] turned about as a whole where most headings [t] by weight say so."""
    vote = float((np.cos(heading_rad - axis_rad) * weight).sum())
    return wrapped(axis_rad if vote >= 0 else axis_rad + np.pi)


def _solved(stiff: Float64s, weight: Float64s, target: Float64s) -> Float64s:
    system = stiff.copy()
    system[-1] += weight + _TINY
    return np.asarray(solveh_banded(system, weight[:, None] * target, check_finite=False))


def _penalty(count: int, order: int) -> Float64s:
    """Bands of the squared differences of an order, upper form [order + 1, t]."""
    order = min(order, count - 1)
    kernel = np.array({0: [0.0], 1: [-1.0, 1.0], 2: [1.0, -2.0, 1.0]}[order])
    bands = np.zeros((order + 1, count))
    spans = count - order
    for i in range(order + 1):
        for j in range(i, order + 1):
            bands[order - (j - i), j : j + spans] += kernel[i] * kernel[j]
    return bands
