"""Every figure of one model as a function of frame weights, by name.

A figure's name is `figure[/group][@slice]`: `recall/vulnerable@tod=night`. `error/NAME[/group]` are
mean errors of what is told and right. Groups are the classes of the taxonomy, and those of
`GROUPS`, which errors have alone; slices those of `models.evaluation.slices`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contracts.geometry import Int64s, Taxonomy
from contracts.labels import GROUND_LAYERS
from contracts.samples import Float64s
from models.evaluation.detection import ERROR_DISTANCE_M, ERRORS, match_errors
from models.evaluation.document import ADE, FDE
from models.evaluation.intervals import Statistic
from models.evaluation.matching import Matched, Matcher
from models.evaluation.report import OPERATING_PROBABILITY
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
Wanted = Callable[[str], bool]


def every_figure(name: str) -> bool:
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


def sized_statistics(measured: Measured, wanted: Wanted = every_figure) -> dict[str, Sized]:
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
    found |= _ground_layers(measured) | _errors(overall.matcher, matches, driven, taxonomy)
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

    def rate(weights: Float64s) -> Any:
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


def _errors(
    matcher: Matcher, matches: Sequence[Matched], drives: int, taxonomy: Taxonomy
) -> dict[str, Sized]:
    """Mean errors of what is told and right: place, size, heading, velocity; of all classes, and
    of each group, since people walk slowly among many cars that stand.
    """
    found = [(each, each.right & (each.scores >= OPERATING_PROBABILITY)) for each in matches]
    tables = [match_errors(matcher, each)[told[each.right]] for each, told in found]
    frames = [each.frame[told] for each, told in found]
    groups = {"": range(len(matches))} | {
        f"/{name}": [taxonomy.index(member) for member in members if member in taxonomy.names]
        for name, members in GROUPS.items()
    }
    sized = {}
    for group, classes in groups.items():
        if not classes:
            continue
        table = np.concatenate([tables[kind] for kind in classes])
        frame = np.concatenate([frames[kind] for kind in classes])
        for column, name in enumerate(ERRORS):
            known = ~np.isnan(table[:, column])
            values = mean_of(table[known, column], frame[known])
            sized[f"{ERROR}/{name}{group}"] = Sized(values, int(known.sum()), drives)
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
