"""Cumulative sums: when a mean has left its place, clip by clip (Page 1954).

A two-sided chart alarms when the sum of what exceeds an allowance reaches a threshold. The
threshold is chosen by the mean number of values between two false alarms (Siegmund's
approximation of the average run length, 1985, one-sided charts combined by the sum of rates).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.errors import InputError

_ALLOWANCE = 0.5
"""In standard deviations, beside the tolerance: best for a shift of one."""
_OVERSHOOT = 1.166
_MOST = 4.0
"""No single value counts for more standard deviations: one bad clip is no drift."""


@dataclass(frozen=True, slots=True)
class Left:
    """A mean has left its place: `since` the value from which on, told `at` another, by about
    `value`, the median since then.
    """

    since: int
    at: int
    value: float


def threshold(run_length: float) -> float:
    """For a one-sided chart that alarms by mistake once in so many values.

    Raises `InputError` below 2.
    """
    if run_length < 2:
        raise InputError("a chart takes 2 values at least between false alarms")
    low, high = 0.0, 2 * math.log(run_length) + 10
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _run_length(middle) < run_length else (low, middle)
    return high


def _run_length(limit: float) -> float:
    far = 2 * _ALLOWANCE * (limit + _OVERSHOOT)
    return (math.exp(far) - far - 1) / (2 * _ALLOWANCE**2)


def first_alarm(
    values: Sequence[float], noise: float, tolerance: float, run_length: float
) -> Left | None:
    """The first time that the mean is told to lie beyond the tolerance; None where it never is.

    Args:
        values: in the order of time, 0 where all is well.
        noise: standard deviation of one value about its mean.
        tolerance: a mean so far off is still well.
        run_length: mean number of values between false alarms of both sides together.

    Raises `InputError` for a noise that is not above 0.
    """
    if not noise > 0:
        raise InputError(f"noise lies above 0, not at {noise}")
    limit = threshold(2 * run_length)
    sums, since = [0.0, 0.0], [0, 0]
    for place, value in enumerate(values):
        for side, sign in enumerate((1.0, -1.0)):
            step = min((sign * value - tolerance) / noise, _MOST) - _ALLOWANCE
            if sums[side] <= 0:
                since[side] = place
            sums[side] = max(0.0, sums[side] + step)
            if sums[side] >= limit:
                held = sorted(values[since[side] : place + 1])
                return Left(since[side], place, held[len(held) // 2])
    return None
