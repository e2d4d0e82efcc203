"""What can get better with a student, as changes of its answers that look at the truth.

And the small fluctuations that come with any new training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bench.gates_changes import (
    OPERATING,
    Answered,
    Change,
    Rng,
    Rows,
    added,
    away_m,
    every,
    kept,
    logit,
    of_logit,
    right_boxes,
    with_boxes,
)
from contracts.geometry import Bools, wrapped
from contracts.labels import LIGHT_STATES, FrameLabels
from contracts.samples import Float64s
from models.evaluation.predictor import Prediction


def found_more(share: float, rows: Callable[[FrameLabels], Bools]) -> Change:
    """A share of the true objects that were missed is told."""

    def changed(frame: Answered, rng: Rng) -> Prediction:
        truth = frame.labels.boxes()
        if not len(truth):
            return frame.told
        told = frame.told.scores >= OPERATING
        same = frame.told.boxes.class_index[:, None] == truth.class_index[None]
        near = (away_m(frame.told.boxes, truth) < 2) & same & told[:, None]
        inside = frame.told.grid.inside(truth.centre_m[:, :2])
        missed = ~near.any(axis=0) & ~frame.labels.ignored() & inside & rows(frame.labels)
        new = truth.take(missed & (rng.random(len(truth)) < share))
        off = rng.normal(0, 0.25, (len(new), 3)) * (1, 1, 0.3)
        new = replace(new, centre_m=new.centre_m + off)
        return added(frame.told, new, rng.uniform(0.35, 0.95, len(new)))

    return changed


def fewer_false(share: float, rows: Rows = every) -> Change:
    return lambda frame, rng: kept(
        frame.told,
        right_boxes(frame) | ~rows(frame) | (rng.random(len(frame.told.boxes)) >= share),
    )


def truer(part: float, columns: tuple[str, ...]) -> Change:
    """Right boxes come nearer to the truth, in some columns."""

    def changed(frame: Answered, rng: Rng) -> Prediction:
        told, truth = frame.told.boxes, frame.labels.boxes()
        if not len(told) or not len(truth):
            return frame.told
        away = away_m(told, truth)
        nearest = away.argmin(axis=1)
        near = away.min(axis=1) < 2
        moved: dict[str, Float64s] = {}
        for column in columns:
            ours, theirs = getattr(told, column), getattr(truth, column)[nearest]
            step = theirs - ours
            if column == "yaw_rad":
                step = wrapped(step)
            step = np.where(np.isfinite(step), step, 0.0)
            moved[column] = ours + part * step * (near if step.ndim == 1 else near[:, None])
        return with_boxes(frame.told, **moved)

    return changed


def ground_truer(part: float) -> Change:
    def changed(frame: Answered, rng: Rng) -> Prediction:
        truth = frame.labels.ground
        if truth is None:
            return frame.told
        known = truth <= 1
        ground = np.where(known, (1 - part) * frame.told.ground + part * truth, frame.told.ground)
        return replace(frame.told, ground=ground.astype(np.float32))

    return changed


def light_truer(part: float) -> Change:
    def changed(frame: Answered, rng: Rng) -> Prediction:
        light, state = frame.told.light, frame.labels.record.light
        if light is None or state is None:
            return frame.told
        true = np.eye(len(LIGHT_STATES))[LIGHT_STATES.index(state)]
        return replace(frame.told, light=(1 - part) * light + part * true)

    return changed


def trained_anew(sd: float = 0.2) -> Change:
    """Small fluctuations of everything, as between two trainings that are equally good."""

    def changed(frame: Answered, rng: Rng) -> Prediction:
        told, k = frame.told, len(frame.told.boxes)
        scores = of_logit(logit(told.scores) + rng.normal(0, sd, k))
        boxes = replace(
            told.boxes,
            centre_m=told.boxes.centre_m + rng.normal(0, 0.05, (k, 3)) * (1, 1, 0.3),
            size_m=told.boxes.size_m * np.exp(rng.normal(0, 0.01, (k, 3))),
            yaw_rad=wrapped(told.boxes.yaw_rad + rng.normal(0, 0.01, k)),
            velocity_mps=told.boxes.velocity_mps + rng.normal(0, 0.02, (k, 2)),
        )
        return replace(told, boxes=boxes, scores=scores)

    return changed
