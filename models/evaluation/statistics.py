"""Figures of one model as functions of frame weights: what bootstraps and draws weigh anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Int64s, Taxonomy
from contracts.samples import Float64s
from models.evaluation.detection import ERROR_DISTANCE_M, weighted_ap
from models.evaluation.document import (
    ADE,
    CALIBRATION,
    FDE,
    LIGHT,
    MEAN_AP,
    MEAN_IOU,
    VEHICLE_AP,
)
from models.evaluation.intervals import Statistic
from models.evaluation.matching import DISTANCES_M, Matcher
from models.evaluation.probability import TOLD_FROM, reliability
from models.evaluation.recording import Recording, Truth
from models.evaluation.report import told_and_right
from models.evaluation.trajectory import Displacements

VEHICLES = ("car", "truck", "bus")


@dataclass(frozen=True, slots=True)
class Measured:
    """Truth, answers, the drive of each frame int64 [frames], and how to slice."""

    truth: Truth
    recording: Recording
    drives: Int64s
    taxonomy: Taxonomy
    tag_names: tuple[str, ...]
    ranges_m: tuple[tuple[float, float], ...]


def headline_statistics(
    measured: Measured, matcher: Matcher, moved: Displacements
) -> dict[str, Statistic]:
    """The headline figures by frame weights."""
    taxonomy = measured.taxonomy
    vehicles = tuple(taxonomy.index(name) for name in VEHICLES)
    found: dict[str, Statistic] = {
        MEAN_AP: mean_ap(matcher, taxonomy),
        VEHICLE_AP: ap_2m(matcher, vehicles),
        **{
            f"{name}_ap_2m": ap_2m(matcher, (kind,))
            for name, kind in zip(VEHICLES, vehicles, strict=True)
        },
        CALIBRATION: ece(matcher, taxonomy),
        ADE: mean_of(moved.told.mean(axis=1), moved.frame),
        FDE: mean_of(moved.told[:, -1], moved.frame),
    }
    rows = [k for k, counts in enumerate(measured.recording.ground) if counts is not None]
    counts = [counts for counts in measured.recording.ground if counts is not None]
    if counts:
        found[MEAN_IOU] = mean_iou(np.stack(counts), np.array(rows))
    lit = [(k, *each) for k, each in enumerate(measured.recording.light) if each is not None]
    if lit:
        right = np.array([float(told.argmax() == state) for _, told, state in lit])
        found[LIGHT] = mean_of(right, np.array([k for k, _, _ in lit], dtype=np.int64))
    return found


def mean_ap(matcher: Matcher, taxonomy: Taxonomy) -> Statistic:
    """Over the classes that have truth, and all distances."""

    def statistic(weights: Float64s) -> float:
        table = np.array([
            [weighted_ap(matcher, (kind,), distance, weights) for distance in DISTANCES_M]
            for kind in range(len(taxonomy.names))
        ])  # fmt: skip
        counted = ~np.isnan(table).any(axis=1)
        return float(table[counted].mean()) if counted.any() else float("nan")

    return statistic


def ap_2m(matcher: Matcher, classes: tuple[int, ...]) -> Statistic:
    """AP at 2 m of some classes, taken as one."""
    return lambda weights: weighted_ap(matcher, classes, ERROR_DISTANCE_M, weights)


def mean_of(values: Float64s, frame: Int64s) -> Statistic:
    """The mean of values [m], each counted as often as its frame."""

    def statistic(weights: Float64s) -> float:
        often = weights[frame]
        total = float(often.sum())
        return float(values @ often) / total if total else float("nan")

    return statistic


def mean_iou(counts: Int64s, frames: Int64s) -> Statistic:
    """Of intersections and unions int64 [n, 2, layers] of n frames."""

    def statistic(weights: Float64s) -> float:
        both, either = np.tensordot(weights[frames], counts, axes=1)
        known = either > 0
        return float((both[known] / either[known]).mean()) if known.any() else float("nan")

    return statistic


def ece(matcher: Matcher, taxonomy: Taxonomy) -> Statistic:
    """Calibration error at 2 m of what is told with at least `TOLD_FROM`."""
    told, right, frame = told_and_right(matcher, taxonomy)
    kept = told >= TOLD_FROM
    told, right, frame = told[kept], right[kept], frame[kept]

    def statistic(weights: Float64s) -> float:
        often = weights[frame]
        if not often.any():
            return float("nan")
        return reliability(told, right, weights=often).error

    return statistic
