"""Ways to choose what is labelled next, all within the same budget of expected boxes.

The plain ones put the clips in an order and go down it, taking what the rest of the budget pays
for. `selector` is the product: `offline.acquisition.selector` with its random stream, whose
clips count in its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from contracts.geometry import Int64s
from contracts.samples import Float64s
from offline.acquisition.cost import DEFAULTS, ClipFeatures, CostModel
from offline.acquisition.coverage import Cover
from offline.acquisition.draw import lot
from offline.acquisition.lattice import lattice_of
from offline.acquisition.records import Candidate, Labelled, SelectorConfig, Shard
from offline.acquisition.selector import Selector
from offline.acquisition.study.ports import Opinion, StudyPool

_SPACE = "study"


@dataclass(frozen=True, slots=True)
class Turn:
    """One choice: `rows` int64 of the pool's clips that may be chosen, those `labelled` already,
    what the learner says, the budget in boxes, and a seed of this turn's own.
    """

    pool: StudyPool
    rows: Int64s
    labelled: Int64s
    opinion: Opinion
    budget: float
    seed: int

    def features(self, row: int) -> ClipFeatures:
        """What the clip's cost is told from, before it is labelled."""
        return ClipFeatures(
            frames=int(self.pool.frames[row]), boxes=int(self.opinion.expected_boxes[row]),
            rare_boxes=int(self.opinion.expected_rare[row]),
        )  # fmt: skip


Strategy = Callable[[Turn], list[int]]
"""Chooses clips by their rows."""
COST: CostModel = DEFAULTS["boxes"]


def at_random(turn: Turn) -> list[int]:
    """By lot, blind to what a clip shows."""
    ids = turn.pool.clip_ids
    return _paid(turn, sorted(turn.rows.tolist(), key=lambda r: lot(turn.seed, "study", ids[r])))


def by_entropy(turn: Turn) -> list[int]:
    """The highest predictive entropy first."""
    return _paid(turn, _falling(turn, turn.opinion.scores["entropy"]))


def by_k_centre(turn: Turn) -> list[int]:
    """What lies farthest from all that is labelled or chosen, again and again."""
    vectors, told = turn.pool.embeddings[turn.rows], turn.pool.embeddings[turn.labelled]
    cover = Cover([vectors], lattice_of([vectors, told]))
    cover.add_vectors(told)

    def order() -> Iterable[int]:
        left = np.ones(len(turn.rows), dtype=np.bool_)
        while left.any():
            place = int(np.where(left, cover.nearest_squared, -1.0).argmax())
            left[place] = False
            yield int(turn.rows[place])

    chosen: list[int] = []
    money = turn.budget
    place_of = {int(row): place for place, row in enumerate(turn.rows)}
    for row in order():
        cost = COST.expected(turn.features(row))
        if cost <= money:
            money -= cost
            chosen.append(row)
            cover.add_row(place_of[row])
    return chosen


@dataclass(frozen=True, slots=True)
class BySelector:
    """The selector; `config` is used with each turn's budget and seed."""

    config: SelectorConfig

    def __call__(self, turn: Turn) -> list[int]:
        pool, scores = turn.pool, turn.opinion.scores
        wanted = sorted(self.config.score_weights)
        candidates = tuple(
            Candidate(
                clip_id=pool.clip_ids[row], drive_id=pool.drive_ids[row],
                start_ns=int(pool.start_ns[row]), end_ns=int(pool.end_ns[row]),
                scores={name: float(scores[name][row]) for name in wanted},
                features=turn.features(row),
            )
            for row in turn.rows.tolist()
        )  # fmt: skip
        told = Labelled(
            frozenset(pool.clip_ids[row] for row in turn.labelled.tolist()),
            pool.embeddings[turn.labelled], _SPACE,
        )  # fmt: skip
        config = self.config.model_copy(update={"budget": turn.budget, "seed": turn.seed})
        shard = Shard(candidates, pool.embeddings[turn.rows], _SPACE)
        report = Selector(config, COST, told).select([shard])
        row_of = {pool.clip_ids[row]: row for row in turn.rows.tolist()}
        return [row_of[chosen.clip_id] for chosen in report.selections]


OURS = BySelector(SelectorConfig(budget=1, seed=0, min_gap_s=6.0))
"""As it ships, and clips of one drive no closer than six seconds: they show the same things."""
STRATEGIES: Mapping[str, Strategy] = {
    "random": at_random, "entropy": by_entropy, "k-centre": by_k_centre, "selector": OURS,
}  # fmt: skip


def _falling(turn: Turn, score: Float64s) -> list[int]:
    return [int(row) for row in turn.rows[np.argsort(-score[turn.rows], kind="stable")]]


def _paid(turn: Turn, order: Iterable[int]) -> list[int]:
    chosen: list[int] = []
    money = turn.budget
    for row in order:
        cost = COST.expected(turn.features(row))
        if cost <= money:
            money -= cost
            chosen.append(row)
    return chosen
