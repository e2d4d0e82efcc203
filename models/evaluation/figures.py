"""All figures of one model on one set of frames, once every frame was seen."""

from __future__ import annotations

import numpy as np

from contracts.geometry import Bools, Int64s, Taxonomy
from contracts.labels import GROUND_LAYERS, LIGHT_STATES
from contracts.samples import Float64s
from models.evaluation.detection import ERROR_DISTANCE_M, precision_at_levels
from models.evaluation.document import (
    SCORE,
    CalibrationFigures,
    EvaluationReport,
    FrameSet,
    GroundFigures,
    LightFigures,
    ModelIdentity,
    MotionFigures,
    ReliabilityFigures,
)
from models.evaluation.intervals import Estimate, Statistic, estimate
from models.evaluation.matching import Matcher
from models.evaluation.predictor import Modality
from models.evaluation.probability import TOLD_FROM, light_score, reliability
from models.evaluation.recording import Recording
from models.evaluation.report import (
    as_figure,
    calibration_error,
    report_of,
    told_and_right,
)
from models.evaluation.slices import Part, parts_of, whole
from models.evaluation.statistics import Measured, headline_statistics, mean_ap
from models.evaluation.trajectory import HORIZONS_S, Displacements, displacements

_CURVE_DIGITS = 4


def report_from(
    measured: Measured,
    model: ModelIdentity,
    data: FrameSet,
    without: Modality | None,
    resamples: int,
) -> EvaluationReport:
    """The report of one run."""
    taxonomy, truth = measured.taxonomy, measured.truth
    overall = whole(measured.recording.results)
    parts = parts_of(
        measured.recording.results, truth.tags, measured.tag_names, measured.ranges_m,
        truth.visibility, taxonomy,
    )  # fmt: skip
    detection = report_of(overall, parts, taxonomy)
    matches = [overall.matcher.match((k,), ERROR_DISTANCE_M) for k in range(len(taxonomy.names))]
    moved = displacements(overall.matcher, matches, truth.instants)

    def of(statistic: Statistic, frames: Int64s | None = None) -> Estimate:
        drives = measured.drives if frames is None else measured.drives[frames]
        return estimate(statistic, drives, resamples)

    statistics = headline_statistics(measured, overall.matcher, moved)
    headline = {name: of(statistic) for name, statistic in statistics.items()}
    headline[SCORE] = Estimate(value=detection.overall.score)
    return EvaluationReport(
        model=model, data=data, without=without, headline=headline, detection=detection,
        slice_ap={
            name: of(mean_ap(part.matcher, taxonomy), part.frames) for name, part in parts.items()
        },
        curves={
            name: tuple(precision_at_levels(matched).round(_CURVE_DIGITS).tolist())
            for name, matched in zip(taxonomy.names, matches, strict=True) if matched.truths
        },
        ground=_ground(measured.recording), light=_light(measured.recording),
        calibration=_calibration(overall.matcher, parts, taxonomy),
        motion=_motion(moved, taxonomy),
    )  # fmt: skip


def _ground(recording: Recording) -> GroundFigures | None:
    counts = [counts for counts in recording.ground if counts is not None]
    if not counts:
        return None
    both, either = np.sum(counts, axis=0)
    iou = both / np.where(either > 0, either, np.nan)
    known = iou[~np.isnan(iou)]
    return GroundFigures(
        frames=len(counts),
        iou={name: as_figure(float(v)) for name, v in zip(GROUND_LAYERS, iou, strict=True)},
        mean_iou=as_figure(float(known.mean())) if known.size else None,
    )


def _light(recording: Recording) -> LightFigures | None:
    lit = [each for each in recording.light if each is not None]
    if not lit:
        return None
    told = np.stack([probabilities for probabilities, _ in lit])
    truth: Int64s = np.array([state for _, state in lit], dtype=np.int64)
    score = light_score(told.argmax(axis=1), truth, len(LIGHT_STATES))
    right: Bools = told.argmax(axis=1) == truth
    return LightFigures(
        frames=len(lit), states=LIGHT_STATES, accuracy=as_figure(score.accuracy),
        recall={
            name: as_figure(float(v)) for name, v in zip(LIGHT_STATES, score.recall, strict=True)
        },
        confusion=tuple(tuple(row) for row in score.confusion.tolist()),
        calibration_error=as_figure(reliability(told.max(axis=1), right).error),
    )  # fmt: skip


def _calibration(
    matcher: Matcher, parts: dict[str, Part], taxonomy: Taxonomy
) -> CalibrationFigures:
    told, right, _ = told_and_right(matcher, taxonomy)
    kept = told >= TOLD_FROM
    overall = None
    if kept.any():
        found = reliability(told[kept], right[kept])
        overall = ReliabilityFigures(
            told=_figures(found.told), right=_figures(found.right),
            count=tuple(found.count.tolist()), error=as_figure(found.error),
            worst=as_figure(found.worst),
        )  # fmt: skip
    matches = [matcher.match((k,), ERROR_DISTANCE_M) for k in range(len(taxonomy.names))]
    return CalibrationFigures(
        overall=overall,
        by_class={
            name: calibration_error(match.scores, match.right)
            for name, match in zip(taxonomy.names, matches, strict=True)
        },
        by_range={
            name.removeprefix("range="): calibration_error(
                *told_and_right(part.matcher, taxonomy)[:2]
            )
            for name, part in parts.items() if name.startswith("range=")
        },
    )  # fmt: skip


def _figures(values: Float64s) -> tuple[float | None, ...]:
    return tuple(as_figure(value) for value in values.tolist())


def _motion(moved: Displacements, taxonomy: Taxonomy) -> dict[str, MotionFigures]:
    """By group: all, moving, and each class that was followed."""
    groups: dict[str, Bools] = {
        "all": np.ones(moved.frame.size, dtype=np.bool_), "moving": moved.moving,
        **{name: moved.class_index == kind for kind, name in enumerate(taxonomy.names)},
    }  # fmt: skip
    return {name: _motion_of(moved, rows) for name, rows in groups.items() if rows.any()}


def _motion_of(moved: Displacements, rows: Bools) -> MotionFigures:
    told, true = moved.told[rows], moved.true[rows]
    known = ~np.isnan(true).any(axis=1)
    return MotionFigures(
        followed=int(rows.sum()),
        displacement_m={
            f"{horizon:g}": _mean(told[:, k]) for k, horizon in enumerate(HORIZONS_S)
        },
        ade_m=_mean(told), fde_m=_mean(told[:, -1]),
        standing_ade_m=_mean(moved.standing[rows]), true_ade_m=_mean(true[known]),
    )  # fmt: skip


def _mean(values: Float64s) -> float | None:
    return as_figure(float(values.mean())) if values.size else None
