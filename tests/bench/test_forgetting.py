"""The forgetting study's arithmetic, on figures that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import forgetting
from bench.forgetting_arms import (
    JOINT,
    LEAST_TRUTHS,
    NAIVE,
    RECIPE,
    START,
    Scores,
    Study,
    Told,
    arms,
    kept_or_made,
    scores_of,
)
from bench.forgetting_plot import draw_forgetting
from contracts.errors import CorruptError
from contracts.geometry import TAXONOMY, Boxes
from models.evaluation.matching import FrameResult
from models.recipe import read_retrain_recipe
from tests.bench.test_benches import assert_well_formed

OLD = {START: 0.8, NAIVE: 0.6, RECIPE: 0.76}
NEW = {START: 0.2, JOINT: 0.5}


def told(way: str, arm: str, seed: int, by: float = 1.0) -> Told:
    old = by * OLD.get(arm, 0.7)
    scores = Scores(
        old=old, new=by * NEW.get(arm, 0.4), old_classes={"car": old}, new_classes={"cyclist": 0.4},
        old_slices={"region=city": old, "region=country": old - 0.1},
    )  # fmt: skip
    return Told.model_validate(
        {"way": way, "arm": arm, "seed": seed, "scores": scores.model_dump(), "seconds": 1.0}
    )


@pytest.fixture
def study() -> Study:
    full, heads = (
        [
            told(way, name, seed, by) for seed in seeds
            for name in (START, *(arm.name for arm in arms(1.0, 1.0, forgetting.BLEND[way])))
        ]
        for way, seeds, by in (("full", (1,), 1.0), ("heads", (2, 1), 1.1))
    )  # fmt: skip
    return Study(settings={}, data={}, told=(*full, *heads))


def test_the_old_is_held_against_before_and_the_new_against_joint_training(study: Study) -> None:
    assert study.ways() == ["full", "heads"]
    assert study.kept("heads", NAIVE) == [pytest.approx(0.75)] * 2
    assert study.learned("full", RECIPE) == [pytest.approx(0.8)]
    assert study.worst_slice("full", NAIVE) == pytest.approx(0.5 / 0.7)
    figures = forgetting.figures_of(study)
    assert_well_formed(figures)
    lost = next(each for each in figures if "loses" in each.name)
    assert lost.value == pytest.approx(20) and lost.holds
    kept = next(each for each in figures if each.goal == ">= 98")
    assert kept.value == pytest.approx(95) and not kept.holds


def test_it_is_drawn(study: Study, tmp_path: Path) -> None:
    draw_forgetting(tmp_path / "study.png", study)
    assert (tmp_path / "study.png").stat().st_size > 5000


def test_an_arm_is_made_once(tmp_path: Path) -> None:
    made = told("full", NAIVE, 1)
    assert kept_or_made(tmp_path, "key", "full", NAIVE, 1, lambda: made) == made
    again = kept_or_made(tmp_path, "key", "full", NAIVE, 1, lambda: told("full", NAIVE, 1, 0.5))
    assert again == made
    (path,) = tmp_path.iterdir()
    path.write_text("{}")
    with pytest.raises(CorruptError, match="no scores"):
        kept_or_made(tmp_path, "key", "full", NAIVE, 1, lambda: made)


def test_a_class_of_a_few_boxes_is_left_out() -> None:
    car, bus = TAXONOMY.index("car"), TAXONOMY.index("bus")

    def result(kinds: list[int]) -> FrameResult:
        n = len(kinds)
        boxes = Boxes(
            np.column_stack([10.0 * np.arange(n), np.zeros(n), np.zeros(n)]), np.ones((n, 3)),
            np.zeros(n), np.zeros((n, 2)), np.array(kinds), np.full(n, -1),
        )  # fmt: skip
        right = np.array([kind == car for kind in kinds])
        return FrameResult(boxes.take(right), np.ones(right.sum()), boxes, np.zeros(n, np.bool_))

    frames = [result([car] * LEAST_TRUTHS), result([bus] * (LEAST_TRUTHS - 1))]
    tags = [{"region": "city"}, {"region": "country"}]
    scores = scores_of(frames, [result([bus] * LEAST_TRUTHS)], tags)
    assert scores.old_classes == {"car": pytest.approx(1.0)}
    assert scores.new_classes == {"bus": 0.0}


def test_the_study_trains_as_the_shipped_recipe_does() -> None:
    recipe = read_retrain_recipe(forgetting.ZOO / "student-s.retrain.yaml")
    every = arms(forgetting.ANCHOR["full"], 0.0, forgetting.BLEND["full"])
    ours = next(arm for arm in every if arm.name == RECIPE)
    assert (recipe.train.epochs, recipe.train.max_rate) == (forgetting.EPOCHS, forgetting.MAX_RATE)
    assert (recipe.restraint(), recipe.replay.share) == (ours.restraint, ours.share)


def test_the_recipe_of_heads_blends_and_has_its_arms_without_beside_it() -> None:
    whole, part = ({arm.name: arm for arm in arms(1.0, 2.0, blend)} for blend in (1.0, 0.8))
    assert set(part) - set(whole) == {"replay 1 % + anchor", "replay 5 % + anchor"}
    assert whole[RECIPE].restraint == part["replay 5 % + anchor"].restraint
    assert part[RECIPE].restraint.blend == 0.8
