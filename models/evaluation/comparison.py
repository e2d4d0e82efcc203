"""Two models on the same frames: what changed, and how surely.

Every figure is computed of both models on the same resamples of drives, so that what both find
hard cancels out of the difference: the interval is of the gain, not of two figures apart
(paired bootstrap over drives). Where frames came by lot, each weighs the inverse of its
probability (Horvitz and Thompson), so that the figures speak of all that was driven.

A figure's name is `figure[/group][@slice]`: `recall/vulnerable@tod=night`. Groups are the
classes of the taxonomy, and those of `GROUPS`; slices those of `models.evaluation.slices`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Frozen, Int64s, Taxonomy
from contracts.labels import GROUND_LAYERS
from contracts.samples import Float64s
from models.evaluation.detection import ERROR_DISTANCE_M
from models.evaluation.document import ADE, CALIBRATION, FDE, FrameSet, ModelIdentity
from models.evaluation.intervals import Estimate, Statistic
from models.evaluation.matching import Matched
from models.evaluation.report import OPERATING_PROBABILITY, Figure, as_figure
from models.evaluation.slices import Part, parts_of, whole
from models.evaluation.statistics import (
    VEHICLES,
    Measured,
    ap_2m,
    headline_statistics,
    mean_iou,
)
from models.evaluation.trajectory import displacements

GROUPS: Mapping[str, tuple[str, ...]] = {
    "vehicle": VEHICLES,
    "vulnerable": ("pedestrian", "cyclist", "motorcycle", "road_worker"),
    "obstacle": ("animal", "debris"),
}
"""Classes that a driver answers for alike; whoever calls a cyclist a motorcycle has seen it."""

AP, RECALL, FALSE = "ap_2m", "recall", "false_per_frame"
LOWER_IS_BETTER = frozenset({CALIBRATION, ADE, FDE, FALSE})
RESAMPLES = 500
_CONFIDENCE = 0.95


class Difference(Frozen):
    """One figure of both models. `gain` is positive where the candidate is better, with its
    two-sided 95 % interval; None where a model has no such figure. `truths` counts the true
    boxes, or frames, that the figure rests on.
    """

    candidate: Figure
    reference: Figure
    gain: Estimate
    truths: int


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
class Sized:
    """A statistic over the weights of all frames, and how much truth it rests on."""

    statistic: Statistic
    truths: int


def compare(
    candidate: Measured,
    reference: Measured,
    models: tuple[ModelIdentity, ModelIdentity],
    data: FrameSet,
    *,
    inclusion: Float64s | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
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

    Raises `InputError` when the frames are not the same, or a probability is none.
    """
    if candidate.truth.digest() != reference.truth.digest():
        raise InputError("the models were measured on different frames", data.name)
    weights = _weights(inclusion, len(candidate.truth), data.name)
    ours, theirs = sized_statistics(candidate), sized_statistics(reference)
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())
        raise InputError(f"only one of the models has {odd[0]}", data.name)
    draws = _draws(candidate.drives, resamples, seed)
    return Comparison(
        candidate=models[0], reference=models[1], data=data, weighted=inclusion is not None,
        figures={
            name: _difference(name, one, theirs[name], weights, draws)
            for name, one in ours.items()
        },
    )  # fmt: skip


def sized_statistics(measured: Measured) -> dict[str, Sized]:
    """All figures of one model by name, as functions of all frames' weights."""
    taxonomy, truth = measured.taxonomy, measured.truth
    results = measured.recording.results
    overall = whole(results)
    matches = [
        overall.matcher.match((k,), ERROR_DISTANCE_M) for k in range(len(taxonomy.names))
    ]  # fmt: skip
    moved = displacements(overall.matcher, matches, truth.instants)
    every = int(overall.matcher.truths_by_frame(tuple(range(len(taxonomy.names)))).sum())
    sizes = {ADE: moved.frame.size, FDE: moved.frame.size}
    sizes |= {"mean_iou": _count(measured.recording.ground)}
    sizes |= {"light_accuracy": _count(measured.recording.light)}
    found = {
        name: Sized(statistic, sizes.get(name, every))
        for name, statistic in headline_statistics(measured, overall.matcher, moved).items()
    }
    found |= _ground_layers(measured)
    parts = parts_of(
        results, truth.tags, measured.tag_names, measured.ranges_m, truth.visibility, taxonomy
    )
    found |= _of_part("", overall, taxonomy)
    for name, part in parts.items():
        found |= _of_part(f"@{name}", part, taxonomy)
    return found


def _of_part(suffix: str, part: Part, taxonomy: Taxonomy) -> dict[str, Sized]:
    """AP, recall and false alarms of every group that the part holds."""
    groups: dict[str, tuple[int, ...]] = {name: (taxonomy.index(name),) for name in taxonomy.names}
    groups |= {
        name: tuple(taxonomy.index(member) for member in members if member in taxonomy.names)
        for name, members in GROUPS.items()
    }
    found: dict[str, Sized] = {}
    for name, classes in groups.items():
        truths = part.matcher.truths_by_frame(classes)
        matched = part.matcher.match(classes, ERROR_DISTANCE_M)
        key, size = f"/{name}{suffix}", int(truths.sum())
        found[f"{FALSE}{key}"] = Sized(_placed(_false_alarms(matched), part), part.frames.size)
        if size:
            found[f"{AP}{key}"] = Sized(_placed(ap_2m(part.matcher, classes), part), size)
            found[f"{RECALL}{key}"] = Sized(_placed(_recall(matched, truths), part), size)
    if suffix:
        found |= _joint(suffix, part, taxonomy)
    return found


def _joint(suffix: str, part: Part, taxonomy: Taxonomy) -> dict[str, Sized]:
    """A slice's mean AP at 2 m, over the classes that it holds."""
    held = [k for k in range(len(taxonomy.names)) if part.matcher.truths_by_frame((k,)).any()]
    if not held:
        return {}
    each = [ap_2m(part.matcher, (kind,)) for kind in held]

    def mean(weights: Float64s) -> float:
        values = np.array([one(weights) for one in each])
        return float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")

    size = int(part.matcher.truths_by_frame(tuple(held)).sum())
    return {f"{AP}{suffix}": Sized(_placed(mean, part), size)}


def _recall(matched: Matched, truths: Int64s) -> Statistic:
    frame = matched.frame[matched.right & (matched.scores >= OPERATING_PROBABILITY)]

    def recall(weights: Float64s) -> float:
        asked = float(truths @ weights)
        return float(weights[frame].sum()) / asked if asked else float("nan")

    return recall


def _false_alarms(matched: Matched) -> Statistic:
    frame = matched.frame[~matched.right & (matched.scores >= OPERATING_PROBABILITY)]

    def rate(weights: Float64s) -> float:
        frames = float(weights.sum())
        return float(weights[frame].sum()) / frames if frames else float("nan")

    return rate


def _placed(statistic: Statistic, part: Part) -> Statistic:
    """A part's statistic as one over all frames."""
    return lambda weights: statistic(weights[part.frames])


def _ground_layers(measured: Measured) -> dict[str, Sized]:
    rows = [k for k, counts in enumerate(measured.recording.ground) if counts is not None]
    counts = [counts for counts in measured.recording.ground if counts is not None]
    if not counts:
        return {}
    table, frames = np.stack(counts), np.array(rows)
    return {
        f"iou/{layer}": Sized(mean_iou(table[:, :, k : k + 1], frames), len(counts))
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


def _difference(
    name: str, ours: Sized, theirs: Sized, weights: Float64s, draws: Float64s | None
) -> Difference:
    sign = (
        -1.0 if name.split("/", maxsplit=1)[0].split("@", maxsplit=1)[0] in LOWER_IS_BETTER else 1.0
    )
    one, other = ours.statistic(weights), theirs.statistic(weights)
    gain = sign * (one - other)
    low = high = float("nan")
    if draws is not None and not np.isnan(gain):
        gains = sign * np.array([
            ours.statistic(draw) - theirs.statistic(draw) for draw in draws * weights
        ])  # fmt: skip
        known = gains[~np.isnan(gains)]
        if known.size > 1:
            tail = 100 * (1 - _CONFIDENCE) / 2
            low, high = np.percentile(known, (tail, 100 - tail)).tolist()
    return Difference(
        candidate=as_figure(one), reference=as_figure(other),
        gain=Estimate(value=as_figure(gain), low=as_figure(low), high=as_figure(high)),
        truths=ours.truths,
    )  # fmt: skip
