"""Tasks whose answer is known, hidden among the others, and what they tell of who answers.

Places in the queue are gold by independent draws, so that no rhythm gives them away; a gold task
is made like any other, with a proposal that is right, moved, of another class, or of nothing, or
with the proposal withheld, in shares near what the auto-labeller itself gets wrong (`Mix`). What
is known of it stays apart (`contracts.review.SealedPurpose`).

Each annotator, and the auto-labeller as if it were one, has a running record: confusion of
classes, geometry errors, recall of planted objects, and a test that may be looked at after every
answer (`betting.py`): it fails who is expected to get more than `worst_failures` of gold wrong.
Somebody at that level or better is ever failed with probability `alpha` at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Bools, Boxes, Finite, Frozen, Int64s, wrapped
from contracts.review import Purpose, ReviewTask
from contracts.samples import Float64s
from models.evaluation.overlap import paired_iou_3d
from offline.labels.qa.betting import Purse, bet, full_purse
from offline.labels.qa.misses import Recall, clopper_pearson


class Plant(StrEnum):
    """What a gold task's proposal is to its truth. `INVENTED` has no truth, `WITHHELD` shows no
    proposal.
    """

    RIGHT = "right"
    MOVED = "moved"
    RECLASSED = "reclassed"
    INVENTED = "invented"
    WITHHELD = "withheld"


PLANTS = tuple(Plant)


class Mix(Frozen):
    """Shares of plants; what is left is right. Defaults: people must not learn that gold is
    always wrong.
    """

    moved: Finite = Field(0.15, ge=0, le=1)
    reclassed: Finite = Field(0.05, ge=0, le=1)
    invented: Finite = Field(0.1, ge=0, le=1)
    withheld: Finite = Field(0.1, ge=0, le=1)

    def shares(self) -> Float64s:
        """Of each of `PLANTS`, adding up to 1. Raises `InputError` when they exceed it."""
        rest = 1 - self.moved - self.reclassed - self.invented - self.withheld
        if rest < 0:
            raise InputError("shares of plants add up to more than 1", "mix")
        return np.array([rest, self.moved, self.reclassed, self.invented, self.withheld])


def queue_with_gold(
    routed: Sequence[ReviewTask], gold: Sequence[ReviewTask], share: float, seed: int
) -> list[tuple[ReviewTask, Purpose]]:
    """The routed tasks in their order, with gold in between, each gold task at most once.

    A gold task takes tier, wanted judgements and priority of the task that it stands before, so
    that none of these tells it from others, nor a queue by priority puts it elsewhere.

    Args:
        routed: what people are needed for.
        gold: candidates; which are taken and when follows from the seed.
        share: of all places that are gold, in expectation; fewer when the candidates run out.
        seed: of all draws.
    """
    if not 0 <= share < 1:
        raise InputError(f"lies in 0..1 (exclusive), not {share}", "share")
    rng = np.random.default_rng(seed)
    waiting = [gold[place] for place in rng.permutation(len(gold)).tolist()]
    result: list[tuple[ReviewTask, Purpose]] = []
    for task in routed:
        alike = {
            "tier": task.tier, "judgements_wanted": task.judgements_wanted,
            "priority": task.priority,
        }  # fmt: skip
        while waiting and rng.random() < share:
            result.append((waiting.pop().model_copy(update=alike), Purpose.GOLD))
        result.append((task, Purpose.ROUTED))
    return result


def planted(
    truth: Boxes, classes: int, rng: np.random.Generator, mix: Mix | None = None
) -> tuple[Int64s, Boxes]:
    """A plant for each true box, int64 [n] into `PLANTS`, and the proposal to be shown (of
    `WITHHELD` ones the true box, not to be shown).

    A moved box lies a third of its own length off, or is turned by 20 degrees: overlap under 0.7.
    An invented one stands behind, twice as far away as its row's true box: the caller sees to it
    that nothing is there.
    """
    n = len(truth)
    plant = rng.choice(len(PLANTS), size=n, p=(mix or Mix()).shares())
    moved = plant == PLANTS.index(Plant.MOVED)
    turned = moved & (rng.random(n) < 0.3)
    shift = np.where(moved & ~turned, truth.size_m[:, 0] / 3, 0.0)
    way = rng.uniform(-np.pi, np.pi, n)
    centre = truth.centre_m.copy()
    centre[plant == PLANTS.index(Plant.INVENTED), :2] *= -2
    centre[:, 0] += shift * np.cos(way)
    centre[:, 1] += shift * np.sin(way)
    other = (truth.class_index + rng.integers(1, classes, n)) % classes
    return plant, replace(
        truth, centre_m=centre,
        yaw_rad=wrapped(truth.yaw_rad + np.where(turned, np.radians(20), 0.0)),
        class_index=np.where(plant == PLANTS.index(Plant.RECLASSED), other, truth.class_index),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Columns over n gold answers: `truth`, `said` int64 [n] classes, the number of classes for
    "no object"; `centre_m`, `size_ratio`, `axis_rad` float64 [n] errors, NaN where either is no
    object; `passed` bool [n].
    """

    truth: Int64s
    said: Int64s
    centre_m: Float64s
    size_ratio: Float64s
    axis_rad: Float64s
    passed: Bools

    def __len__(self) -> int:
        return int(self.truth.size)


def judged(
    truth: Boxes, is_there: Bools, answer: Boxes, said: Bools, classes: int, *,
    least_iou: float = 0.5,
) -> Outcomes:  # fmt: skip
    """Answers to gold, row by row.

    Args:
        truth: true boxes [n]; any where nothing is.
        is_there: whether there is an object, bool [n].
        answer: the annotator's boxes, same rows; any where there is none.
        said: whether the annotator has a box, likewise.
        classes: of the taxonomy.
        least_iou: 3D overlap under which an answer fails for its geometry.
    """
    both = is_there & said
    kind = np.where(is_there, truth.class_index, classes)
    told = np.where(said, answer.class_index, classes)
    off = np.linalg.norm(truth.centre_m - answer.centre_m, axis=1)
    ratio = np.abs(np.log(answer.size_m / truth.size_m)).max(axis=1, initial=0)
    axis = np.abs(wrapped(2 * (answer.yaw_rad - truth.yaw_rad)) / 2)
    fits = paired_iou_3d(truth, answer) >= least_iou
    centre, size, turn = (np.where(both, error, np.nan) for error in (off, ratio, axis))
    return Outcomes(
        kind, told, centre, size, turn, np.asarray((kind == told) & (fits | ~is_there))
    )  # fmt: skip


class GoldPlan(Frozen):
    """How much of gold may be failed, and how often that may be held against somebody wrongly."""

    worst_failures: Finite = Field(0.1, gt=0, lt=1)
    alpha: Finite = Field(0.05, gt=0, lt=1)
    start_every: int = Field(10, ge=1)


@dataclass(frozen=True, slots=True)
class GoldRecord:
    """What gold tells of one annotator: `confusion` int64 [true, said], no object last; sums of
    squared errors over `measured` boxes; the running test and whether it ever failed.
    """

    confusion: Int64s
    measured: int = 0
    squares: tuple[float, float, float] = (0.0, 0.0, 0.0)
    answered: int = 0
    passed: int = 0
    purse: Purse = field(default_factory=full_purse)
    failed_at: int | None = None

    @property
    def rms(self) -> tuple[float, float, float]:
        """Root mean square error of centre (m), sides (ratio), axis (rad); NaN without any."""
        n = self.measured or float("nan")
        centre, size, axis = (float(np.sqrt(total / n)) for total in self.squares)
        return centre, size, axis

    def recall(self) -> Recall:
        """Of planted objects, of whatever class they were called."""
        there = self.confusion[:-1]
        return Recall(int(there.sum()), int(there[:, :-1].sum()))

    def pass_rate(self, risk: float = 0.05) -> tuple[float, float]:
        """Exact bounds of the share passed, for one look: (0, 1) before the first answer."""
        return clopper_pearson(self.passed, self.answered, risk)


def new_record(classes: int) -> GoldRecord:
    return GoldRecord(np.zeros((classes + 1, classes + 1), dtype=np.int64))


def with_outcomes(record: GoldRecord, outcomes: Outcomes, plan: GoldPlan) -> GoldRecord:
    """The record after further answers, in their order."""
    confusion = record.confusion.copy()
    np.add.at(confusion, (outcomes.truth, outcomes.said), 1)
    known = ~np.isnan(outcomes.centre_m)
    columns = (outcomes.centre_m, outcomes.size_ratio, outcomes.axis_rad)
    centre, size, axis = (
        total + float((column[known] ** 2).sum())
        for total, column in zip(record.squares, columns, strict=True)
    )
    purse, failed_at = record.purse, record.failed_at
    for number, good in enumerate(outcomes.passed.tolist(), start=record.answered + 1):
        purse = bet(purse, float(not good), plan.worst_failures, plan.start_every)
        if failed_at is None and purse.evidence >= 1 / plan.alpha:
            failed_at = number
    return GoldRecord(
        confusion, record.measured + int(known.sum()), (centre, size, axis),
        record.answered + len(outcomes), record.passed + int(outcomes.passed.sum()), purse,
        failed_at,
    )  # fmt: skip


def smoothed(confusion: Int64s, right: float = 9.0, wrong: float = 1.0) -> Float64s:
    """Probabilities [true, said] from counts, with the pseudo-counts of `dawid_skene.Prior`: what
    `class_posterior` takes for annotators whom gold knows.
    """
    classes = len(confusion)
    extra = np.full((classes, classes), wrong / max(1, classes - 1))
    np.fill_diagonal(extra, right)
    counts = confusion + extra
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))
