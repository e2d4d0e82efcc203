"""What can go wrong with a student, and what can get better, as changes of its answers.

A change takes what the shipped student said of a frame and tells what another would have said.
Regressions look at the frame's tags and the answer alone; improvements look at the truth. The
same seed and frame give the same change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contracts.geometry import TAXONOMY, Bools, Boxes, no_boxes, wrapped
from contracts.labels import LIGHT_STATES, FrameLabels
from contracts.samples import Float64s
from models.evaluation.matching import joined
from models.evaluation.predictor import Prediction
from models.evaluation.weighed import GROUPS

OPERATING = 0.3


@dataclass(frozen=True, slots=True)
class Answered:
    """One frame: its labels, and what the student said."""

    labels: FrameLabels
    told: Prediction


Rng = np.random.Generator
Change = Callable[[Answered, Rng], Prediction]
Rows = Callable[[Answered], Bools]
"""Which boxes of an answer, bool [k]."""


_GROUP = np.array(
    [next(g for g, each in enumerate(GROUPS.values()) if name in each) for name in TAXONOMY.names]
)

# --- which boxes -------------------------------------------------------------------------------


def every(frame: Answered) -> Bools:
    return np.ones(len(frame.told.boxes), dtype=np.bool_)


def of(*names: str) -> Rows:
    """Boxes of some classes or groups."""
    classes = [TAXONOMY.index(n) for name in names for n in GROUPS.get(name, (name,))]
    return lambda frame: np.isin(frame.told.boxes.class_index, classes)


def beyond(limit_m: float) -> Rows:
    return lambda frame: np.hypot(*frame.told.boxes.centre_m[:, :2].T) > limit_m


def to_the_left(frame: Answered) -> Bools:
    """In what the left camera shows."""
    xy = frame.told.boxes.centre_m
    return np.asarray((xy[:, 1] > 3) & (np.abs(xy[:, 0]) < 3 * xy[:, 1]))


def aside(limit_m: float) -> Rows:
    """To the sides of the ego."""
    return lambda frame: np.abs(frame.told.boxes.centre_m[:, 1]) > limit_m


def both(*rows: Rows) -> Rows:
    return lambda frame: np.logical_and.reduce([each(frame) for each in rows])


def about_hidden(frame: Answered) -> Bools:
    """Nearest to a true object of which little shows."""
    truth = frame.labels.boxes()
    hidden = np.array([(b.visibility or 0) < 0.4 for b in frame.labels.record.boxes], np.bool_)
    away = away_m(frame.told.boxes, truth)
    if not away.size:
        return np.zeros(len(frame.told.boxes), np.bool_)
    return np.asarray((away.min(axis=1) < 2) & hidden[away.argmin(axis=1)])


def right_boxes(frame: Answered) -> Bools:
    """Within 2 m of a true object of its group of classes, or of one that is ignored."""
    truth, told = frame.labels.boxes(), frame.told.boxes
    same = _GROUP[told.class_index][:, None] == _GROUP[truth.class_index][None]
    near = away_m(told, truth) < 2
    return np.asarray((near & (same | frame.labels.ignored()[None])).any(axis=1))


def away_m(told: Boxes, truth: Boxes) -> Float64s:
    apart = told.centre_m[:, None, :2] - truth.centre_m[None, :, :2]
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]))


# --- where -------------------------------------------------------------------------------------


def where(name: str, value: str, change: Change, otherwise: Change | None = None) -> Change:
    """A change of the frames with a tag, and perhaps another of all others."""

    def changed(frame: Answered, rng: Rng) -> Prediction:
        if frame.labels.record.tags.get(name) == value:
            return change(frame, rng)
        return frame.told if otherwise is None else otherwise(frame, rng)

    return changed


def in_drive(drive_id: str, change: Change) -> Change:
    def changed(frame: Answered, rng: Rng) -> Prediction:
        return change(frame, rng) if frame.labels.record.drive_id == drive_id else frame.told

    return changed


def then(*changes: Change) -> Change:
    """One after the other."""

    def changed(frame: Answered, rng: Rng) -> Prediction:
        told = frame.told
        for change in changes:
            told = change(Answered(frame.labels, told), rng)
        return told

    return changed


# --- boxes -------------------------------------------------------------------------------------


def dropped(rows: Rows, share: float = 1.0) -> Change:
    """Boxes are no longer told."""
    return lambda frame, rng: kept(
        frame.told, ~(rows(frame) & (rng.random(len(frame.told.boxes)) < share))
    )


def moved(ahead_m: float = 0.0, left_m: float = 0.0, rows: Rows = every) -> Change:
    def changed(frame: Answered, rng: Rng) -> Prediction:
        by = rows(frame)[:, None] * np.array([ahead_m, left_m, 0.0])
        return with_boxes(frame.told, centre_m=frame.told.boxes.centre_m + by)

    return changed


def turned(by_rad: float, rows: Rows = every) -> Change:
    def changed(frame: Answered, rng: Rng) -> Prediction:
        return with_boxes(
            frame.told, yaw_rad=wrapped(frame.told.boxes.yaw_rad + rows(frame) * by_rad)
        )

    return changed


def scaled(factor: float) -> Change:
    return lambda frame, rng: with_boxes(frame.told, size_m=frame.told.boxes.size_m * factor)


def velocity_times(factor: float) -> Change:
    return lambda frame, rng: with_boxes(
        frame.told, velocity_mps=frame.told.boxes.velocity_mps * factor
    )


def still_below(limit_mps: float) -> Change:
    """What moves slowly is told to stand."""

    def changed(frame: Answered, rng: Rng) -> Prediction:
        velocity = frame.told.boxes.velocity_mps
        moves = np.hypot(velocity[:, :1], velocity[:, 1:]) >= limit_mps
        return with_boxes(frame.told, velocity_mps=velocity * moves)

    return changed


def doubled(frame: Answered, rng: Rng) -> Prediction:
    """Each box comes twice, a metre apart: suppression is broken."""
    told = frame.told
    twin = replace(told.boxes, centre_m=told.boxes.centre_m + np.array([1.0, 0.0, 0.0]))
    return added(told, twin, told.scores * 0.95)


def phantom(ahead_m: float, share: float, left_m: float = 0.0) -> Change:
    """A car before the ego, where nothing is, in a share of the frames."""

    def changed(frame: Answered, rng: Rng) -> Prediction:
        if rng.random() >= share:
            return frame.told
        return added(frame.told, one_box((ahead_m, left_m), "car"), np.array([0.6]))

    return changed


def called(was: str, now: str) -> Change:
    """A class is taken for another."""
    old, new = TAXONOMY.index(was), TAXONOMY.index(now)
    return lambda frame, rng: with_boxes(
        frame.told,
        class_index=np.where(
            frame.told.boxes.class_index == old, new, frame.told.boxes.class_index
        ),
    )


# --- probabilities -----------------------------------------------------------------------------


def rescored(curve: Callable[[Float64s], Float64s], rows: Rows = every) -> Change:
    def changed(frame: Answered, rng: Rng) -> Prediction:
        scores = frame.told.scores
        return replace(frame.told, scores=np.where(rows(frame), curve(scores), scores))

    return changed


def too_sure(scores: Float64s) -> Float64s:
    """What is told stays told and keeps its order, and is nearly certain."""
    above = np.clip((scores - OPERATING) / (1 - OPERATING), 0, 1)
    return np.where(scores > OPERATING, OPERATING + (1 - OPERATING) * above**0.2, scores)


def too_shy(scores: Float64s) -> Float64s:
    """What is told stays told and keeps its order, just above the operating point."""
    above = np.clip((scores - OPERATING) / (1 - OPERATING), 0, 1)
    return np.where(scores > OPERATING, OPERATING + 0.35 * above, scores)


def saturated(scores: Float64s) -> Float64s:
    return np.where(scores > 0.15, 0.98, scores)


def logit_shifted(by: float) -> Callable[[Float64s], Float64s]:
    return lambda scores: of_logit(logit(scores) + by)


# --- ground and light --------------------------------------------------------------------------


def ground_rolled(cells: int) -> Change:
    return lambda frame, rng: replace(frame.told, ground=np.roll(frame.told.ground, cells, axis=2))


def lanes_lost(frame: Answered, rng: Rng) -> Prediction:
    ground = frame.told.ground.copy()
    ground[1] = 0.0
    return replace(frame.told, ground=ground)


def light_swapped(one: int, other: int) -> Change:
    """Two states are taken for each other."""
    order = np.arange(len(LIGHT_STATES))
    order[[one, other]] = other, one

    def changed(frame: Answered, rng: Rng) -> Prediction:
        light = frame.told.light
        return frame.told if light is None else replace(frame.told, light=light[order])

    return changed


def light_never(frame: Answered, rng: Rng) -> Prediction:
    """No light is ever seen."""
    if frame.told.light is None:
        return frame.told
    return replace(frame.told, light=np.array([0.97, 0.01, 0.01, 0.01]))


# --- of predictions ----------------------------------------------------------------------------


def kept(told: Prediction, rows: Bools) -> Prediction:
    return replace(
        told, boxes=told.boxes.take(rows), scores=told.scores[rows],
        distributions=told.distributions[rows],
    )  # fmt: skip


def with_boxes(told: Prediction, **columns: Any) -> Prediction:
    return replace(told, boxes=replace(told.boxes, **columns))


def added(told: Prediction, boxes: Boxes, scores: Float64s) -> Prediction:
    """More boxes behind those that are there."""
    known = np.zeros((len(boxes), len(TAXONOMY.names)), np.float32)
    known[np.arange(len(boxes)), boxes.class_index] = scores
    return replace(
        told, boxes=joined([told.boxes, boxes]), scores=np.concatenate([told.scores, scores]),
        distributions=np.concatenate([told.distributions, known]),
    )  # fmt: skip


def one_box(xy_m: tuple[float, float], name: str) -> Boxes:
    return Boxes(
        np.array([[*xy_m, 0.8]]), np.array([[4.2, 1.9, 1.6]]), np.zeros(1), np.zeros((1, 2)),
        np.array([TAXONOMY.index(name)]), np.array([-1]), no_boxes().frame,
    )  # fmt: skip


def logit(scores: Float64s) -> Float64s:
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))


def of_logit(values: Float64s) -> Float64s:
    return np.asarray(1 / (1 + np.exp(-values)))
