"""One evaluation as a document: overall, by class, by range, by slice, and its calibration.

The document is JSON by pydantic; a figure that does not exist (a class without any true box)
is null, never 0. Figures are rounded to four digits, so that equal runs compare equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from contracts.geometry import TAXONOMY, Frozen, Taxonomy
from models.evaluation.detection import ERROR_DISTANCE_M, DetectionScore, detection_score
from models.evaluation.matching import FrameResult, match_class
from models.evaluation.probability import reliability
from models.evaluation.slices import RANGES_M, Tags, by_tags, in_range, tag_values

Figure = float | None


class ClassFigures(Frozen):
    """One class in one slice. `ap` by distance in metres as text; `calibration_error` is the
    ECE of its counted detections at 2 m.
    """

    truths: int
    mean_ap: Figure
    ap: dict[str, Figure]
    errors: dict[str, Figure]
    calibration_error: Figure


class SliceFigures(Frozen):
    """One slice: how many frames, the joint figures and those of each class."""

    frames: int
    mean_ap: Figure
    score: Figure
    errors: dict[str, Figure]
    calibration_error: Figure
    classes: dict[str, ClassFigures]


class DetectionReport(Frozen):
    """`slices` by name: `tag=value`, or `range=low-high`."""

    taxonomy_version: int
    overall: SliceFigures
    slices: dict[str, SliceFigures]


def detection_report(
    results: Sequence[FrameResult],
    tags: Sequence[Tags] = (),
    tag_names: Sequence[str] = (),
    ranges_m: Sequence[tuple[float, float]] = RANGES_M,
    taxonomy: Taxonomy = TAXONOMY,
) -> DetectionReport:
    """Everything at once; scores must be calibrated probabilities in 0..1.

    `tags` hold one mapping for each frame; each value of each of `tag_names` is a slice.
    """
    slices: dict[str, Sequence[FrameResult]] = {
        f"range={low:g}-{high:g}": in_range(results, low, high) for low, high in ranges_m
    }
    for name in tag_names:
        for value in tag_values(tags, name):
            slices[f"{name}={value}"] = _with_tag(results, tags, name, value)
    return DetectionReport(
        taxonomy_version=taxonomy.version,
        overall=slice_figures(results, taxonomy),
        slices={name: slice_figures(part, taxonomy) for name, part in slices.items()},
    )


def _with_tag(
    results: Sequence[FrameResult], tags: Sequence[Tags], name: str, value: str
) -> list[FrameResult]:
    return by_tags(results, tags, lambda tag: tag.get(name) == value)


def slice_figures(results: Sequence[FrameResult], taxonomy: Taxonomy = TAXONOMY) -> SliceFigures:
    """The figures of one slice."""
    score = detection_score(results, taxonomy)
    matches = [match_class(results, k, ERROR_DISTANCE_M) for k in range(len(taxonomy.classes))]
    told = np.concatenate([match.scores for match in matches])
    right = np.concatenate([match.right for match in matches])
    return SliceFigures(
        frames=len(results), mean_ap=_figure(score.mean_ap), score=_figure(score.score),
        errors=_figures(score.errors),
        calibration_error=_figure(reliability(told, right).error) if told.size else None,
        classes=_classes(score, [
            reliability(m.scores, m.right).error if m.scores.size else None for m in matches
        ]),
    )  # fmt: skip


def _classes(score: DetectionScore, calibration: Sequence[Figure]) -> dict[str, ClassFigures]:
    return {
        one.name: ClassFigures(
            truths=one.truths, mean_ap=_figure(one.mean_ap),
            ap={f"{distance:g}": _figure(ap) for distance, ap in one.ap.items()},
            errors=_figures(one.errors), calibration_error=_figure(error),
        )
        for one, error in zip(score.classes, calibration, strict=True)
    }  # fmt: skip


def _figure(value: Figure) -> Figure:
    return None if value is None or math.isnan(value) else round(value, 4)


def _figures(values: Mapping[str, float]) -> dict[str, Figure]:
    return {name: _figure(value) for name, value in values.items()}
