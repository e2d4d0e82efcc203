"""Simulated annotators with stated noise, for tests and studies. Deterministic from a seed.

How people err: centre, sides and yaw are off, more at a distance; fronts are taken for backs;
far and hidden objects are overlooked; classes that look alike are confused; proposals are waved
through although wrong; things are labelled that are not there. All of it may grow with the
number of tasks done (drift).

Levels: of cars that people drew again in Waymo's recordings, average precision against the first
labels was about 86 % at 0.7 and 60 % at 0.8 of 3D overlap (Qi et al. 2021, human label study); the
defaults' centre, size and yaw noise is set so that nearly as many cars between 5 and 75 m reach
those overlaps (`tests`: 0.80 to 0.92 and 0.50 to 0.70). The split between centre, size and yaw, and
all rates of misses, confusions, flips and wrong verdicts, are assumptions; ours for careful,
trained annotators. That errors have heavy tails (Kognic: 14 annotators of 2,500 objects) is a
tenth of boxes with three times the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Bools, Boxes, Finite, Frozen, Int64s, Taxonomy, wrapped
from contracts.review import Verdict
from contracts.samples import Float64s
from models.evaluation.matching import joined
from models.evaluation.overlap import paired_iou_3d
from offline.labels.qa.effort import Effort

VERDICTS = tuple(Verdict)
_TAIL_SHARE, _TAIL = 0.1, 3.0
_SHOWN = 0.25
"""How much rarer an object is overlooked where a proposal shows it: an assumption."""


class Noise(Frozen):
    """Standard deviations of centre (in m, plus a part of the range), sides (ratio) and yaw; and
    probabilities: of seeing back for front; of overlooking an object, plus what comes with 100 m
    and with being wholly hidden; of a wrong class; of leaving a wrong proposal as it is; of moving
    a right one. `false_boxes` are the mean number of boxes a frame with nothing there.
    """

    centre_m: Finite = Field(0.07, ge=0)
    centre_ratio: Finite = Field(0.001, ge=0)
    size_ratio: Finite = Field(0.035, ge=0)
    yaw_rad: Finite = Field(0.02, ge=0)
    flip: Finite = Field(0.01, ge=0, le=1)
    miss: Finite = Field(0.005, ge=0, le=1)
    miss_at_100_m: Finite = Field(0.05, ge=0, le=1)
    miss_hidden: Finite = Field(0.1, ge=0, le=1)
    wrong_class: Finite = Field(0.02, ge=0, le=1)
    waved_through: Finite = Field(0.08, ge=0, le=1)
    needless: Finite = Field(0.1, ge=0, le=1)
    false_boxes: Finite = Field(0.01, ge=0)
    slowness: Finite = Field(1.0, gt=0)

    def grown(self, by: float) -> Noise:
        """The same with every error `by` times as large, probabilities at most 1/2."""
        if not by > 0:
            raise InputError(f"must be over 0, not {by}", "by")
        rates = {"flip", "miss", "miss_at_100_m", "miss_hidden", "wrong_class", "waved_through",
                 "needless"}  # fmt: skip
        kept = {"slowness"}
        return Noise(**{
            name: value if name in kept else min(0.5, value * by) if name in rates else value * by
            for name, value in self.model_dump().items()
        })  # fmt: skip


class Drift(Frozen):
    """From task `after` on errors grow to `factor` times, over `over` tasks."""

    after: int = Field(ge=0)
    over: int = Field(ge=1)
    factor: Finite = Field(gt=0)

    def at(self, task: int) -> float:
        """How many times as large errors are at a task, counted from 0."""
        part = min(1.0, max(0.0, (task - self.after + 1) / self.over))
        return 1 + part * (self.factor - 1)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Answers to n proposals: `verdict` int64 [n] into `VERDICTS`; `boxes` as they shall be, rows
    of which `NO_OBJECT` ones mean nothing; `seconds` [n].
    """

    verdict: Int64s
    boxes: Boxes
    seconds: Float64s

    def kept(self) -> Bools:
        """Which rows are objects, bool [n]."""
        return np.asarray(self.verdict != VERDICTS.index(Verdict.NO_OBJECT))


@dataclass(frozen=True, slots=True)
class Annotator:
    """Somebody who labels. What is drawn comes from the generator given, and from nothing else."""

    noise: Noise
    effort: Effort
    taxonomy: Taxonomy = TAXONOMY

    def draw(self, truth: Boxes, visibility: Float64s, rng: np.random.Generator) -> Boxes:
        """What the annotator labels in one frame without proposals: some of the true boxes, with
        errors, and now and then one that is not there. `visibility` is [n] in 0..1.
        """
        seen = rng.random(len(truth)) >= self.misses(truth, visibility)
        found = self.blurred(truth, rng).take(seen)
        extra = int(rng.poisson(self.noise.false_boxes))
        if not len(truth) or not extra:
            return found
        ghosts = truth.take(rng.integers(0, len(truth), extra))
        turned, away = rng.uniform(-np.pi, np.pi, extra), rng.uniform(5, 60, extra)
        place = np.column_stack([away * np.cos(turned), away * np.sin(turned), np.zeros(extra)])
        return joined([found, replace(ghosts, centre_m=place, yaw_rad=wrapped(turned))])

    def review(
        self, proposal: Boxes, truth: Boxes, is_there: Bools, visibility: Float64s,
        rng: np.random.Generator, *, good_iou: float = 0.7, hardness: Float64s | None = None,
    ) -> Reviewed:  # fmt: skip
        """Answers to proposals, row by row.

        Args:
            proposal: boxes shown [n].
            truth: what is there, same rows; any box where nothing is.
            is_there: whether there is an object, bool [n].
            visibility: float64 [n] in 0..1.
            rng: all that is random.
            good_iou: 3D overlap from which a careful annotator leaves a box as it is.
            hardness: how many times as likely errors of existence and class are, [n], 1 where
                None. Shared by all annotators, it makes them err together, which Dawid and
                Skene's model takes them not to.
        """
        n = len(proposal)
        if len(truth) != n or is_there.shape != (n,):
            raise InputError("a true box and a flag for each proposal")
        fits = paired_iou_3d(proposal, truth) >= good_iou
        right = is_there & fits & (proposal.class_index == truth.class_index)
        hard = np.ones(n) if hardness is None else hardness
        chance = rng.random(n)
        waved = np.minimum(0.5, self.noise.waved_through * hard)
        leaves = np.where(right, chance >= self.noise.needless, chance < waved)
        missed = np.minimum(0.5, _SHOWN * self.misses(truth, visibility) * hard)
        overlooked = is_there & (rng.random(n) < missed)
        gone = (overlooked | ~is_there) & ~(leaves & ~overlooked)
        verdict = np.full(n, VERDICTS.index(Verdict.ADJUSTED))
        verdict[leaves] = VERDICTS.index(Verdict.VERIFIED)
        verdict[gone] = VERDICTS.index(Verdict.NO_OBJECT)
        moved = (verdict == VERDICTS.index(Verdict.ADJUSTED))[:, None]
        blurred = self.blurred(truth, rng, hard)
        boxes = replace(
            proposal,
            centre_m=np.where(moved, blurred.centre_m, proposal.centre_m),
            size_m=np.where(moved, blurred.size_m, proposal.size_m),
            yaw_rad=np.where(moved[:, 0], blurred.yaw_rad, proposal.yaw_rad),
            class_index=np.where(moved[:, 0], blurred.class_index, proposal.class_index),
        )
        spent = self.effort.verify_s + moved[:, 0] * self.effort.adjust_s
        return Reviewed(verdict, boxes, spent * self.noise.slowness * rng.lognormal(-0.045, 0.3, n))

    def misses(self, truth: Boxes, visibility: Float64s) -> Float64s:
        """Probability that each true box [n] is overlooked, [n]."""
        away = np.hypot(truth.centre_m[:, 0], truth.centre_m[:, 1])
        noise = self.noise
        found = (1 - noise.miss) * (1 - noise.miss_at_100_m * np.minimum(1, away / 100))
        return np.asarray(1 - found * (1 - noise.miss_hidden * (1 - visibility)))

    def blurred(
        self, truth: Boxes, rng: np.random.Generator, hardness: Float64s | float = 1.0
    ) -> Boxes:
        """The true boxes as the annotator sees them; `hardness` as in `review`, of classes."""
        n, noise = len(truth), self.noise
        tail = np.where(rng.random(n) < _TAIL_SHARE, _TAIL, 1.0)
        away = np.hypot(truth.centre_m[:, 0], truth.centre_m[:, 1])
        centre = (noise.centre_m + noise.centre_ratio * away) * tail
        yaw = truth.yaw_rad + rng.normal(0, noise.yaw_rad, n) * tail
        yaw += np.pi * (rng.random(n) < noise.flip)
        return replace(
            truth,
            centre_m=truth.centre_m + rng.normal(0, 1, (n, 3)) * centre[:, None] * (1, 1, 0.5),
            size_m=truth.size_m * np.exp(rng.normal(0, noise.size_ratio, (n, 3)) * tail[:, None]),
            yaw_rad=wrapped(yaw),
            class_index=self._classes(truth.class_index, rng, hardness),
        )

    def _classes(
        self, truth: Int64s, rng: np.random.Generator, hardness: Float64s | float
    ) -> Int64s:
        """A class of the same group in place of the right one, where the group has another."""
        result = truth.copy()
        wrong = rng.random(truth.size) < np.minimum(0.5, self.noise.wrong_class * hardness)
        pick = rng.random(truth.size)
        for group in self.taxonomy.groups:
            members = np.array([self.taxonomy.index(name) for name in group])
            if members.size < 2:
                continue
            rows = np.flatnonzero(wrong & np.isin(truth, members))
            own = np.searchsorted(members, truth[rows])
            step = 1 + (pick[rows] * (members.size - 1)).astype(np.int64)
            result[rows] = members[(own + step) % members.size]
        return result
