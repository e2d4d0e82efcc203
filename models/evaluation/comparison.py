"""Two models on the same frames: what changed, and how surely.

Every figure is computed of both models on the same resamples of drives, so that what both find
hard cancels out of the difference: the interval is of the gain, not of two figures apart
(paired bootstrap over drives). Where frames came by lot, each weighs the inverse of its
probability (Horvitz and Thompson), so that the figures speak of all that was driven.

A figure's name is `figure[/group][@slice]`: `recall/vulnerable@tod=night`. `error/...` are mean
errors of what is told and right. Groups are the
classes of the taxonomy, and those of `GROUPS`; slices those of `models.evaluation.slices`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Frozen, Int64s, Taxonomy
from contracts.labels import GROUND_LAYERS
from contracts.samples import Float64s
from models.evaluation.detection import ERROR_DISTANCE_M, ERRORS, match_errors
from models.evaluation.document import ADE, CALIBRATION, FDE, FrameSet, ModelIdentity
from models.evaluation.intervals import Estimate, Statistic
from models.evaluation.matching import Matched, Matcher
from models.evaluation.report import OPERATING_PROBABILITY, Figure, as_figure
from models.evaluation.slices import Part, parts_of, whole
from models.evaluation.statistics import (
    VEHICLES,
    Measured,
    ap_2m,
    headline_statistics,
    mean_iou,
    mean_of,
)
from models.evaluation.trajectory import displacements

GROUPS: Mapping[str, tuple[str, ...]] = {
    "vehicle": VEHICLES,
    "vulnerable": ("pedestrian", "cyclist", "motorcycle", "road_worker"),
    "obstacle": ("animal", "debris"),
}
"""Classes that a driver answers for alike; whoever calls a cyclist a motorcycle has seen it."""

AP, RECALL, FALSE = "ap_2m", "recall", "false_per_frame"
ERROR = "error"
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


Wanted = Callable[[str], bool]


def _every(name: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Sized:
    """A statistic over the weights of all frames, and on how much truth of how many drives it
    rests.

    `by_rows`: it takes a table of weights [resamples, frames] at once, a value a row.
    """

    statistic: Statistic
    truths: int
    drives: int
    by_rows: bool = False


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
    wanted: Wanted = _every,
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
    seed: int = 0, wanted: Wanted = _every,
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


def sized_statistics(measured: Measured, wanted: Wanted = _every) -> dict[str, Sized]:
    """All wanted figures of one model by name, as functions of all frames' weights."""
    taxonomy, truth = measured.taxonomy, measured.truth
    results = measured.recording.results
    overall = whole(results)
    matches = [
        overall.matcher.match((k,), ERROR_DISTANCE_M) for k in range(len(taxonomy.names))
    ]  # fmt: skip
    moved = displacements(overall.matcher, matches, truth.instants)
    driven = np.unique(measured.drives).size
    every = int(overall.matcher.truths_by_frame(tuple(range(len(taxonomy.names)))).sum())
    sizes = {ADE: moved.frame.size, FDE: moved.frame.size}
    sizes |= {"mean_iou": _count(measured.recording.ground)}
    sizes |= {"light_accuracy": _count(measured.recording.light)}
    found = {
        name: Sized(statistic, sizes.get(name, every), driven)
        for name, statistic in headline_statistics(measured, overall.matcher, moved).items()
    }
    found |= _ground_layers(measured) | _errors(overall.matcher, matches, driven)
    found = {name: each for name, each in found.items() if wanted(name)}
    parts = parts_of(
        results, truth.tags, measured.tag_names, measured.ranges_m, truth.visibility, taxonomy
    )
    found |= _of_part("", overall, measured, wanted)
    for name, part in parts.items():
        found |= _of_part(f"@{name}", part, measured, wanted)
    return found


def _of_part(suffix: str, part: Part, measured: Measured, wanted: Wanted) -> dict[str, Sized]:
    """AP, recall and false alarms of every group that the part holds."""
    taxonomy, drives = measured.taxonomy, measured.drives[part.frames]
    groups: dict[str, tuple[int, ...]] = {name: (taxonomy.index(name),) for name in taxonomy.names}
    groups |= {
        name: tuple(taxonomy.index(member) for member in members if member in taxonomy.names)
        for name, members in GROUPS.items()
    }
    found: dict[str, Sized] = {}
    for name, classes in groups.items():
        ap, recall, false = (f"{figure}/{name}{suffix}" for figure in (AP, RECALL, FALSE))
        truths = part.matcher.truths_by_frame(classes)
        size, met = int(truths.sum()), np.unique(drives[truths > 0]).size
        if wanted(false):
            matched = part.matcher.match(classes, ERROR_DISTANCE_M)
            found[false] = Sized(
                _placed(_false_alarms(matched), part),
                part.frames.size,
                np.unique(drives).size,
                True,
            )
        if size and wanted(ap):
            found[ap] = Sized(_placed(ap_2m(part.matcher, classes), part), size, met)
        if size and wanted(recall):
            matched = part.matcher.match(classes, ERROR_DISTANCE_M)
            found[recall] = Sized(_placed(_recall(matched, truths), part), size, met, True)
    if suffix and wanted(f"{AP}{suffix}"):
        found |= _joint(suffix, part, taxonomy, drives)
    return found


def _joint(suffix: str, part: Part, taxonomy: Taxonomy, drives: Int64s) -> dict[str, Sized]:
    """A slice's mean AP at 2 m, over the classes that it holds."""
    held = [k for k in range(len(taxonomy.names)) if part.matcher.truths_by_frame((k,)).any()]
    if not held:
        return {}
    each = [ap_2m(part.matcher, (kind,)) for kind in held]

    def mean(weights: Float64s) -> float:
        values = np.array([one(weights) for one in each])
        return float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")

    truths = part.matcher.truths_by_frame(tuple(held))
    size, met = int(truths.sum()), np.unique(drives[truths > 0]).size
    return {f"{AP}{suffix}": Sized(_placed(mean, part), size, met)}


def _recall(matched: Matched, truths: Int64s) -> Statistic:
    frame = matched.frame[matched.right & (matched.scores >= OPERATING_PROBABILITY)]
    hits = np.bincount(frame, minlength=truths.size)
    return lambda weights: _share(weights @ hits, weights @ truths)


def _false_alarms(matched: Matched) -> Statistic:
    frame = matched.frame[~matched.right & (matched.scores >= OPERATING_PROBABILITY)]

    def rate(weights: Float64s) -> float:
        alarms = np.bincount(frame, minlength=weights.shape[-1])
        return _share(weights @ alarms, weights.sum(axis=-1))

    return rate


def _share(part: Float64s, of: Float64s) -> Any:
    """Row by row; NaN of nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(of > 0, part / of, np.nan)[()]


def _placed(statistic: Statistic, part: Part) -> Statistic:
    """A part's statistic as one over all frames."""
    return lambda weights: statistic(weights[..., part.frames])


def _errors(matcher: Matcher, matches: Sequence[Matched], drives: int) -> dict[str, Sized]:
    """Mean errors of what is told and right: place, size, heading, velocity."""
    found = [(each, each.right & (each.scores >= OPERATING_PROBABILITY)) for each in matches]
    table = np.concatenate([
        match_errors(matcher, each)[told[each.right]] for each, told in found
    ])  # fmt: skip
    frame = np.concatenate([each.frame[told] for each, told in found])
    sized = {}
    for column, name in enumerate(ERRORS):
        known = ~np.isnan(table[:, column])
        values = mean_of(table[known, column], frame[known])
        sized[f"{ERROR}/{name}"] = Sized(values, int(known.sum()), drives)
    return sized


def _ground_layers(measured: Measured) -> dict[str, Sized]:
    rows = [k for k, counts in enumerate(measured.recording.ground) if counts is not None]
    counts = [counts for counts in measured.recording.ground if counts is not None]
    if not counts:
        return {}
    table, frames = np.stack(counts), np.array(rows)
    return {
        f"iou/{layer}": Sized(
            mean_iou(table[:, :, k : k + 1], frames),
            len(counts),
            np.unique(measured.drives[frames]).size,
        )
        for k, layer in enumerate(GROUND_LAYERS)
    }


def _count(rows: Sequence[object | None]) -> int:
    return sum(row is not None for row in rows)


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
