"""Loops over a toy pool: what is labelled, within which budget, and what choosing saves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import CorruptError, InputError
from offline.acquisition.study.ports import start_of
from offline.acquisition.study.result import (
    PoolFacts,
    StudyResult,
    kept_or_run,
    loop_key,
    savings_of,
)
from offline.acquisition.study.run import Curve, Plan, dealt, run_loop
from offline.acquisition.study.strategies import COST, STRATEGIES, Turn
from tests.offline.acquisition.study.toy import BOXES, ToyLearner, toy_pool

PLAN = Plan(turns=3, budget=120, pool_share=0.75, start_common=4)
POOL = toy_pool()


def loop(name: str, seed: int, plan: Plan = PLAN) -> Curve:
    return run_loop(POOL, ToyLearner(POOL), STRATEGIES[name], name, plan, seed)


def turn(seed: int = 1, budget: float = 120) -> Turn:
    rows, labelled = dealt(POOL, PLAN, seed)
    opinion = ToyLearner(POOL).learned(labelled, rows, seed)
    left = np.setdiff1d(rows, labelled)
    return Turn(POOL, left, np.array(labelled), opinion, budget, seed)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_chosen_was_to_be_had_and_is_paid_for(name: str) -> None:
    given = turn()
    chosen = STRATEGIES[name](given)
    assert chosen == STRATEGIES[name](given)
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(given.rows.tolist())
    spent = sum(COST.expected(given.features(row)) for row in chosen)
    assert given.budget - BOXES < spent <= given.budget


def test_chance_is_blind_and_the_others_are_not() -> None:
    given = turn()
    other = ToyLearner(POOL).learned([0], given.rows, 99)
    blind = Turn(POOL, given.rows, given.labelled, other, given.budget, given.seed)
    assert STRATEGIES["random"](given) == STRATEGIES["random"](blind)
    assert STRATEGIES["entropy"](given) != STRATEGIES["entropy"](blind)
    best = STRATEGIES["entropy"](given)
    entropy = given.opinion.scores["entropy"]
    assert entropy[best].min() >= np.delete(entropy[given.rows], np.isin(given.rows, best)).max()


def test_k_centre_takes_the_farthest_first() -> None:
    given = turn()
    vectors = POOL.embeddings
    away = np.linalg.norm(vectors[given.rows][:, None] - vectors[given.labelled][None], axis=2)
    assert STRATEGIES["k-centre"](given)[0] == given.rows[away.min(axis=1).argmax()]


def test_a_seed_gives_every_strategy_the_same_start() -> None:
    first = {name: loop(name, 5).points[0] for name in STRATEGIES}
    assert len({point.model_dump_json() for point in first.values()}) == 1
    assert first["random"].rare_clips == POOL.rare.shape[1]
    assert first["random"].clips == POOL.rare.shape[1] + PLAN.start_common


def test_loops_repeat_and_label_more_each_turn() -> None:
    learner = ToyLearner(POOL)
    curve = run_loop(POOL, learner, STRATEGIES["selector"], "selector", PLAN, 2)
    assert curve == loop("selector", 2)
    for before, after in zip(learner.asked, learner.asked[1:], strict=False):
        assert set(before) < set(after)
    assert curve.boxes().tolist() == [BOXES * len(clips) for clips in learner.asked]


def test_a_loop_ends_with_its_pool() -> None:
    curve = loop("random", 1, PLAN.model_copy(update={"budget": 600.0, "turns": 9}))
    assert curve.points[-1].clips == round(0.75 * len(POOL))
    assert len(curve.points) < 10


def test_a_pool_without_a_rare_class_is_refused() -> None:
    common = np.flatnonzero(~POOL.rare.any(axis=1))
    with pytest.raises(InputError, match="rare class"):
        start_of(POOL, common, 2, np.random.default_rng(0))
    with pytest.raises(InputError, match="common clips"):
        start_of(POOL, np.arange(len(POOL)), 1000, np.random.default_rng(0))


def test_a_selector_that_is_told_the_truth_saves_and_noise_does_not() -> None:
    seeds = range(6)
    curves = [loop(name, seed) for name in STRATEGIES for seed in seeds]
    found = {one.strategy: one for one in savings_of(curves, ("rare",))}
    assert found["selector"].all_boxes.low > 0.1
    assert found["entropy"].all_boxes.low < 0.05
    data = PoolFacts(
        clips=len(POOL), boxes=int(POOL.boxes.sum()), rare_clips=20, pool="0" * 64,
        test="1" * 64, test_frames=0,
    )  # fmt: skip
    result = StudyResult(
        plan=PLAN, data=data, settings={}, curves=tuple(curves), savings=tuple(found.values())
    )
    assert StudyResult.model_validate_json(result.model_dump_json()) == result
    assert result.saving_of("selector", "rare") == found["selector"]
    with pytest.raises(InputError, match="no saving"):
        result.saving_of("oracle", "rare")


def test_a_finished_loop_is_not_run_again(tmp_path: Path) -> None:
    curve = loop("random", 3)
    key = loop_key("plan", "pool")
    assert kept_or_run(tmp_path, key, "random", 3, lambda: curve) == curve
    again = kept_or_run(tmp_path, key, "random", 3, lambda: pytest.fail("was run again"))
    assert again == curve
    assert loop_key("plan", "other") != key
    (path,) = tmp_path.glob("*.json")
    path.write_text("{", "utf-8")
    with pytest.raises(CorruptError, match="no loop"):
        kept_or_run(tmp_path, key, "random", 3, lambda: curve)
