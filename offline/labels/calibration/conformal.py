"""From which confidence on boxes are accepted without a person, with a guarantee (learn then test).

Angelopoulos et al. 2021: thresholds are tested from the strictest on, each for the hypothesis
that too much of what it accepts is wrong, until one test fails; the last that passed is taken.
As the tests are in a fixed order, all of them together err with probability `risk` at most,
whatever the boxes and scores are like, in samples of any size.

The unit is the track, since boxes of one track are right and wrong together. What is guaranteed:
of a further track like those tested (same detector, same kind of drive, same group), of which
something is accepted, the share of its accepted boxes that is wrong is `1 - precision` at most in
expectation, with probability `1 - risk` over the tracks tested. It holds for confidences that were
told by a calibrator which had not seen the tracks' sequences, and as far as tracks of one sequence
are not alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import binom

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s

_STEPS = 200


def too_many_wrong(loss: Float64s, limit: float) -> float:
    """Probability of losses so small if their expectation were over `limit` (Hoeffding-Bentkus).

    Args:
        loss: in 0..1, independent and alike, float64 [n].
        limit: in 0..1, exclusive.
    """
    if not loss.size:
        return 1.0
    mean = float(loss.mean())
    if mean >= limit:
        return 1.0
    apart = (1 - mean) * np.log((1 - mean) / (1 - limit))
    if mean > 0:
        apart += mean * np.log(mean / limit)
    hoeffding = float(np.exp(-loss.size * apart))
    bentkus = float(np.e * binom.cdf(np.ceil(loss.size * mean - 1e-9), loss.size, limit))
    return min(1.0, hoeffding, bentkus)


def least_confidence(
    confidence: Float64s, right: Bools, track: Int64s, precision: float, risk: float
) -> float | None:
    """From which confidence boxes are accepted; None where no threshold can be vouched for.

    Args:
        confidence: of each box, float64 [n] in 0..1.
        right: bool [n].
        track: of each box, any numbers, int64 [n].
        precision: to be kept.
        risk: of keeping less.

    Raises `InputError` where `precision` or `risk` leave no room.
    """
    if not (0 < precision < 1 and 0 < risk < 1):
        raise InputError(f"precision {precision} and risk {risk} lie between 0 and 1")
    # With fewer tracks no test can pass even if nothing is wrong: they are no tests.
    least_tracks = int(np.ceil(np.log(risk) / np.log(precision)))
    found = None
    for value, losses in _stricter_first(confidence, right, track):
        if losses.size < least_tracks:
            continue
        if too_many_wrong(losses, 1 - precision) > risk:
            break
        found = value
    return found


def _stricter_first(
    confidence: Float64s, right: Bools, track: Int64s
) -> Iterator[tuple[float, Float64s]]:
    """Falling thresholds, and the share wrong of what each track has accepted [tracks]."""
    if not confidence.size:
        return
    _, number = np.unique(track, return_inverse=True)
    for value in sorted({round(v, 6) for v in _grid()}, reverse=True):
        kept = confidence >= value
        told = np.bincount(number[kept])
        wrong = np.bincount(number[kept & ~right], minlength=told.size)
        some = told > 0
        yield value, wrong[some] / told[some]


def _grid() -> list[float]:
    """Thresholds that do not hang on the data; dense where confidences are high."""
    odds = np.linspace(0.0, 7.0, _STEPS)
    return [float(value) for value in 1 / (1 + np.exp(-odds))]
