"""One loop of a study: learn, measure, choose within the budget, label; again.

What a seed settles is the same for all strategies: which part of the pool is to be had, what is
labelled at first, and the first weights of each turn's learner.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen, Int64s
from contracts.samples import Float64s
from offline.acquisition.study.ports import Learner, Opinion, StudyPool, start_of
from offline.acquisition.study.strategies import Strategy, Turn


class Plan(Frozen):
    """How a study is run: `turns` choices of `budget` expected boxes each, from a part of
    `pool_share` of the pool; `start_common` common clips are labelled at first, and one clip of
    each rare class.
    """

    turns: int = Field(4, ge=1, le=100)
    budget: Finite = Field(500, gt=0)
    pool_share: float = Field(0.6, gt=0, le=1)
    start_common: int = Field(20, ge=0)


class Point(Frozen):
    """After so many labelled clips and boxes, the start included: figures by name."""

    clips: int
    boxes: int
    rare_clips: int
    figures: dict[str, Finite]


class Curve(Frozen):
    """One loop: the points after the start and after each turn."""

    strategy: str
    seed: int
    points: tuple[Point, ...] = Field(min_length=1)

    def boxes(self) -> Float64s:
        return np.array([point.boxes for point in self.points], dtype=np.float64)

    def figure(self, name: str) -> Float64s:
        """Raises `InputError` when a point lacks it."""
        if any(name not in point.figures for point in self.points):
            raise InputError(f"has no figure {name!r}", f"{self.strategy}, seed {self.seed}")
        return np.array([point.figures[name] for point in self.points])


Progress = Callable[[Point], None]


def run_loop(
    pool: StudyPool,
    learner: Learner,
    strategy: Strategy,
    name: str,
    plan: Plan,
    seed: int,
    progress: Progress = lambda point: None,
) -> Curve:
    """The loop with one strategy. It ends early when nothing more can be chosen."""
    rows, labelled = dealt(pool, plan, seed)
    points: list[Point] = []
    for turn in range(plan.turns + 1):
        last = turn == plan.turns
        left = np.setdiff1d(rows, labelled)
        opinion = learner.learned(labelled, left[:0] if last else left, _number(seed, turn, 1))
        points.append(_point(pool, labelled, opinion))
        progress(points[-1])
        if last or not left.size:
            break
        now = np.array(labelled, dtype=np.int64)
        chosen = strategy(Turn(pool, left, now, opinion, plan.budget, _number(seed, turn, 2)))
        if not chosen:
            break
        labelled = sorted({*labelled, *chosen})
    return Curve(strategy=name, seed=seed, points=tuple(points))


def dealt(pool: StudyPool, plan: Plan, seed: int) -> tuple[Int64s, list[int]]:
    """The part of the pool that a seed may choose from, and what of it is labelled at first."""
    rng = np.random.default_rng([seed, 0])
    size = max(1, round(plan.pool_share * len(pool)))
    rows = np.sort(rng.permutation(len(pool))[:size])
    return rows, start_of(pool, rows, plan.start_common, rng)


def _point(pool: StudyPool, labelled: list[int], opinion: Opinion) -> Point:
    return Point(
        clips=len(labelled), boxes=int(pool.boxes[labelled].sum()),
        rare_clips=int(pool.rare[labelled].any(axis=1).sum()), figures=dict(opinion.figures),
    )  # fmt: skip


def _number(seed: int, turn: int, purpose: int) -> int:
    return int(np.random.SeedSequence([seed, turn, purpose]).generate_state(1)[0])
