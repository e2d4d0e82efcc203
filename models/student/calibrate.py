"""Scores to probabilities, by class: Platt's sigmoid for each class that has enough examples.

A class with few right or few wrong detections keeps the curve of the model before, where there is
one, or takes the sigmoid of all classes together; the result says so (`examples` is 0), so that
nobody takes a borrowed curve for a measured one.
The light's states get one temperature.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.model_manifest import Calibration, ClassCalibration
from models.demo_detector.scoring import Matches, fit_platt

MIN_EXAMPLES = 20
"""Right and wrong ones that a class must have for a curve of its own."""
_GOLDEN = (np.sqrt(5) - 1) / 2
_LOG_TEMPERATURES = (-3.0, 3.0)

Floats = NDArray[np.float64]


def fit_calibration(
    scores: NDArray[np.floating],
    class_index: NDArray[np.int64],
    right: NDArray[np.bool_],
    classes: Sequence[str],
    light_temperature: float = 1.0,
    before: Calibration | None = None,
) -> Calibration:
    """Curves for raw scores [k] of detections that were right or wrong, bool [k].

    `before` is the calibration of the model that this one was retrained from: drives of a new
    domain say little of the rare classes of the old one, and their common sigmoid less.

    Raises `InputError` when the scores say nothing: a curve that falls is no calibration.
    """
    slope, bias = _curve(scores, class_index, right, len(classes))
    if not slope > 0:
        raise InputError(f"a higher score does not mean more often right (slope {slope:.3g})")
    by_class = {}
    for number, name in enumerate(classes):
        here = class_index == number
        kept = None if before is None else before.by_class.get(name)
        own = (slope, bias, 0) if kept is None else (kept.slope, kept.bias, 0)
        if min((here & right).sum(), (here & ~right).sum()) >= MIN_EXAMPLES:
            curve = _curve(scores[here], class_index[here], right[here], len(classes))
            own = (*curve, int(here.sum())) if curve[0] > 0 else own
        by_class[name] = ClassCalibration(
            slope=round(own[0], 5), bias=round(own[1], 5), examples=own[2]
        )
    return Calibration(
        method="platt", slope=round(slope, 5), bias=round(bias, 5), by_class=by_class,
        light_temperature=round(light_temperature, 4),
    )  # fmt: skip


def _curve(
    scores: NDArray[np.floating],
    class_index: NDArray[np.int64],
    right: NDArray[np.bool_],
    classes: int,
) -> tuple[float, float]:
    truths = np.bincount(class_index[right], minlength=classes)
    return fit_platt(Matches(scores.astype(np.float64), class_index, right, truths))


def fit_temperature(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    """The temperature that makes probabilities [n, states] likeliest for truth [n].

    Golden-section search: the likelihood has one maximum over the logarithm of temperature.
    Raises `InputError` without examples.
    """
    if not truth.size:
        raise InputError("no labelled light to fit a temperature on")
    logs = np.log(np.clip(probabilities, 1e-12, None))

    def loss(log_temperature: float) -> float:
        told = logs / np.exp(log_temperature)
        told -= np.logaddexp.reduce(told, axis=1, keepdims=True)
        return float(-told[np.arange(truth.size), truth].mean())

    low, high = _LOG_TEMPERATURES
    while high - low > 1e-4:
        one, two = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(one) < loss(two):
            high = two
        else:
            low = one
    return float(np.exp((low + high) / 2))
