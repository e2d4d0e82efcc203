"""Two models on the same frames: what changed, and how surely.

Every figure is computed of both models on the same resamples of drives, so that what both find
hard cancels out of the difference: the interval is of the gain, not of two figures apart
(paired bootstrap over drives). Where frames came by lot, each weighs the inverse of its
probability (Horvitz and Thompson), so that the figures speak of all that was driven.

Figures are named as `models.evaluation.weighed` has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Frozen, Int64s
from contracts.samples import Float64s
from models.evaluation.document import ADE, CALIBRATION, FDE, FrameSet, ModelIdentity
from models.evaluation.intervals import Estimate
from models.evaluation.report import Figure, as_figure
from models.evaluation.statistics import Measured
from models.evaluation.weighed import ERROR, FALSE, Sized, Wanted, every_figure, sized_statistics

LOWER_IS_BETTER = frozenset({CALIBRATION, ADE, FDE, FALSE, ERROR})
RESAMPLES = 500
_CONFIDENCE = 0.95


class Difference(Frozen):
    """One figure of both models. `gain` is positive where the candidate is better, with its
    two-sided 95 % interval; None where a model has no such figure. `truths` counts the true
    boxes, or frames, that the figure rests on, `drives` the drives that they are of: an interval
    over a few drives is too narrow.
    """

    candidate: Figure
    reference: Figure
    gain: Estimate
    truths: int
    drives: int


class Comparison(Frozen):
    """All figures of two models on one set of frames; `weighted` where frames came by lot."""

    schema_version: Literal[1] = 1
    candidate: ModelIdentity
    reference: ModelIdentity
    data: FrameSet
    weighted: bool
    figures: dict[str, Difference]


def figure_of(name: str) -> str:
    """Which figure a name is of: `recall` of `recall/vulnerable@tod=night`."""
    return re.split("[/@]", name, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class Resampled:
    """One figure of one model: its `value`, and those of the resamples float64 [resamples],
    None where there are none.
    """

    value: float
    truths: int
    drives: int
    draws: Float64s | None


def compare(
    candidate: Measured,
    reference: Measured,
    models: tuple[ModelIdentity, ModelIdentity],
    data: FrameSet,
    *,
    inclusion: Float64s | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    wanted: Wanted = every_figure,
) -> Comparison:
    """Every figure of both models.

    Args:
        candidate, reference: what both answered on the same frames (`evaluate.measure`).
        models: their identities, the candidate's first.
        data: the frames.
        inclusion: the probability with which each frame was drawn, float64 [frames]; None where
            the frames are all that there is to speak of.
        resamples: of the drives.
        seed: of the resamples.
        wanted: which figures, by name; all unless told.

    Raises `InputError` when the frames are not the same, or a probability is none.
    """
    if candidate.truth.digest() != reference.truth.digest():
        raise InputError("the models were measured on different frames", data.name)
    ours, theirs = (
        resampled(one, inclusion, data.name, resamples=resamples, seed=seed, wanted=wanted)
        for one in (candidate, reference)
    )
    return compared(ours, theirs, models, data, weighted=inclusion is not None)


def compared(
    ours: Mapping[str, Resampled], theirs: Mapping[str, Resampled],
    models: tuple[ModelIdentity, ModelIdentity], data: FrameSet, *, weighted: bool,
) -> Comparison:  # fmt: skip
    """The difference of figures that were made on the same frames with the same resamples."""
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())
        raise InputError(f"only one of the models has {odd[0]}", data.name)
    return Comparison(
        candidate=models[0], reference=models[1], data=data, weighted=weighted,
        figures={name: _difference(name, one, theirs[name]) for name, one in ours.items()},
    )  # fmt: skip


def resampled(
    measured: Measured, inclusion: Float64s | None, place: str, *, resamples: int = RESAMPLES,
    seed: int = 0, wanted: Wanted = every_figure,
) -> dict[str, Resampled]:  # fmt: skip
    """All wanted figures of one model; the same drives and seed give the same resamples."""
    weights = _weights(inclusion, len(measured.truth), place)
    draws = _draws(measured.drives, resamples, seed)
    rows = None if draws is None else draws * weights
    return {
        name: Resampled(each.statistic(weights), each.truths, each.drives, _on(each, rows))
        for name, each in sized_statistics(measured, wanted).items()
    }


def _on(sized: Sized, rows: Float64s | None) -> Float64s | None:
    if rows is None:
        return None
    if sized.by_rows:
        return np.asarray(sized.statistic(rows))
    return np.array([sized.statistic(row) for row in rows])


def _weights(inclusion: Float64s | None, frames: int, place: str) -> Float64s:
    if inclusion is None:
        return np.ones(frames)
    valid: Bools = (inclusion > 0) & (inclusion <= 1)
    if inclusion.shape != (frames,) or not valid.all():
        raise InputError(f"a probability over 0 up to 1 for each of {frames} frames", place)
    weights = 1.0 / inclusion
    return np.asarray(weights * (frames / weights.sum()))


def _draws(drives: Int64s, resamples: int, seed: int) -> Float64s | None:
    """How often each frame counts in each resample, float64 [resamples, frames]."""
    names, place = np.unique(drives, return_inverse=True)
    if names.size < 2 or not resamples:
        return None
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(names.size, np.full(names.size, 1 / names.size), resamples)
    return np.asarray(counts[:, place], dtype=np.float64)


def _difference(name: str, ours: Resampled, theirs: Resampled) -> Difference:
    sign = -1.0 if figure_of(name) in LOWER_IS_BETTER else 1.0
    gain = sign * (ours.value - theirs.value)
    low = high = float("nan")
    if ours.draws is not None and theirs.draws is not None and not np.isnan(gain):
        gains = sign * (ours.draws - theirs.draws)
        known = gains[~np.isnan(gains)]
        if known.size > 1:
            tail = 100 * (1 - _CONFIDENCE) / 2
            low, high = np.percentile(known, (tail, 100 - tail)).tolist()
    return Difference(
        candidate=as_figure(float(ours.value)), reference=as_figure(float(theirs.value)),
        gain=Estimate(value=as_figure(float(gain)), low=as_figure(low), high=as_figure(high)),
        truths=ours.truths, drives=ours.drives,
    )  # fmt: skip
