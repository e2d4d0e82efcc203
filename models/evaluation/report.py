"""Detection figures as a document: overall, by class, by range, by slice, and calibration.

The document is JSON by pydantic; a figure that does not exist (a class without any true box)
is null, never 0. Figures are rounded to four digits, so that equal runs compare equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from contracts.geometry import TAXONOMY, Bools, Frozen, Int64s, Taxonomy
from contracts.samples import Float64s
from models.evaluation.detection import ERROR_DISTANCE_M, detection_score
from models.evaluation.matching import FrameResult, Matched, Matcher, Results, matcher_of
from models.evaluation.probability import TOLD_FROM, reliability
from models.evaluation.slices import RANGES_M, Part, Tags, parts_of, whole

Figure = float | None
OPERATING_PROBABILITY = 0.3
"""From which on a detection counts for recall."""


class ClassFigures(Frozen):
    """One class in one slice. `ap` by distance in metres as text. At 2 m: `recall` of what is
    told with at least `OPERATING_PROBABILITY`, `calibration_error` as the ECE of what is told
    with at least `TOLD_FROM`.
    """

    truths: int
    mean_ap: Figure
    ap: dict[str, Figure]
    errors: dict[str, Figure]
    recall: Figure
    calibration_error: Figure


class SliceFigures(Frozen):
    """One slice: how many frames and true boxes, the joint figures and those of each class."""

    frames: int
    truths: int
    mean_ap: Figure
    score: Figure
    errors: dict[str, Figure]
    recall: Figure
    calibration_error: Figure
    classes: dict[str, ClassFigures]


class DetectionReport(Frozen):
    """`slices` by name: `tag=value`, `range=low-high`, `occluded`, `rare`."""

    taxonomy_version: int
    overall: SliceFigures
    slices: dict[str, SliceFigures]


def detection_report(
    results: Sequence[FrameResult],
    tags: Sequence[Tags] = (),
    tag_names: Sequence[str] = (),
    ranges_m: Sequence[tuple[float, float]] = RANGES_M,
    visibility: Sequence[Float64s] = (),
    taxonomy: Taxonomy = TAXONOMY,
) -> DetectionReport:
    """Everything at once; scores must be calibrated probabilities in 0..1.

    `tags` hold one mapping for each frame; each value of each of `tag_names` is a slice.
    """
    parts = parts_of(results, tags, tag_names, ranges_m, visibility, taxonomy)
    return report_of(whole(results), parts, taxonomy)


def report_of(
    overall: Part, parts: Mapping[str, Part], taxonomy: Taxonomy = TAXONOMY
) -> DetectionReport:
    """The report of slices that were made already."""
    return DetectionReport(
        taxonomy_version=taxonomy.version,
        overall=slice_figures(overall.matcher, taxonomy),
        slices={name: slice_figures(part.matcher, taxonomy) for name, part in parts.items()},
    )


def slice_figures(results: Results, taxonomy: Taxonomy = TAXONOMY) -> SliceFigures:
    """The figures of one slice."""
    matcher = matcher_of(results)
    score = detection_score(matcher, taxonomy)
    matches = [matcher.match((k,), ERROR_DISTANCE_M) for k in range(len(taxonomy.classes))]
    told, right, _ = told_and_right(matcher, taxonomy)
    return SliceFigures(
        frames=matcher.frames, truths=sum(match.truths for match in matches),
        mean_ap=as_figure(score.mean_ap), score=as_figure(score.score),
        errors=as_figures(score.errors), recall=_recall(matches),
        calibration_error=calibration_error(told, right),
        classes={
            one.name: ClassFigures(
                truths=one.truths, mean_ap=as_figure(one.mean_ap),
                ap={f"{distance:g}": as_figure(ap) for distance, ap in one.ap.items()},
                errors=as_figures(one.errors), recall=_recall([match]),
                calibration_error=calibration_error(match.scores, match.right),
            )
            for one, match in zip(score.classes, matches, strict=True)
        },
    )  # fmt: skip


def told_and_right(matcher: Matcher, taxonomy: Taxonomy) -> tuple[Float64s, Bools, Int64s]:
    """Probability, outcome and frame of every counted detection at 2 m, class by class."""
    matches = [matcher.match((k,), ERROR_DISTANCE_M) for k in range(len(taxonomy.classes))]
    return (
        np.concatenate([match.scores for match in matches]),
        np.concatenate([match.right for match in matches]),
        np.concatenate([match.frame for match in matches]),
    )


def calibration_error(told: Float64s, right: Bools) -> Figure:
    """The ECE of what is told with at least `TOLD_FROM`; None without any."""
    kept = told >= TOLD_FROM
    return as_figure(reliability(told[kept], right[kept]).error) if kept.any() else None


def _recall(matches: Sequence[Matched]) -> Figure:
    truths = sum(match.truths for match in matches)
    found = sum(int((m.right & (m.scores >= OPERATING_PROBABILITY)).sum()) for m in matches)
    return as_figure(found / truths) if truths else None


def as_figure(value: Figure) -> Figure:
    return None if value is None or math.isnan(value) else round(value, 4)


def as_figures(values: Mapping[str, float]) -> dict[str, Figure]:
    return {name: as_figure(value) for name, value in values.items()}
