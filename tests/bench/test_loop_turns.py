"""Turns of the loop on a few seconds of simulated drives: made once, stopped, gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench import loop_turns, loop_world
from bench.forgetting_arms import Scores
from bench.loop_records import Measures
from bench.loop_train import held_out, with_epochs
from bench.loop_turns import STUDENT, Line, LoopPlan, LoopTurns
from bench.loop_world import ZOO, LoopData
from contracts.errors import CorruptError
from models.recipe import read_retrain_recipe
from models.runs import load_student, read_run
from sim_fleet.trials import RECIPES, read_trials
from sim_fleet.trials.report import DriveCounts, DriveTrial

TOWN = "traffic: {vehicles_per_km: 16, motorcycle_ratio: 0.97, parked_ratio: 0}, tod: night"
DRIVES = {
    "day-train": ("everyday-suburb, seeds: [1, 2]", ""),
    "old-test": ("everyday-suburb, seeds: [3, 1]", ""),
    "day-calibrate": ("everyday-suburb, seeds: [4, 1]", ""),
    "pool": ("everyday-suburb, seeds: [5, 14]", TOWN),
    "target-test": ("cow-on-country-road, seeds: [28, 1]", ""),
}
SELECTED, LOT = Line("selector", 3, 1), Line("random", 3, 1)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """The folder of drives, and where their recipes are."""
    recipes, folder = tmp_path_factory.mktemp("recipes"), tmp_path_factory.mktemp("loop")
    for name, (drives, more) in DRIVES.items():
        (recipes / f"{name}.yaml").write_text(
            f"apiVersion: longtail/dataset/v1\nname: {name}\ndrives:\n"
            f"  - {{scenario: {drives}, seconds: 2.6, {more}}}\n"
        )
    return folder, dict.fromkeys(DRIVES, recipes)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured; exporting and measuring are stood in for, they take a minute."""
    seen: list[str] = []

    def measured(data: LoopData, model: Path) -> Measures:
        seen.append(model.parent.parent.name)
        drive = DriveTrial(
            name="a", slice="rain", counts=DriveCounts(driven_s=1, driven_m=1, engaged_s=0)
        )
        scores = Scores(old=0.8, new=0.3, old_classes={}, new_classes={})
        return Measures(model="0" * 64, drives=(drive,), scores=scores)

    monkeypatch.setattr(loop_turns, "measured", measured)
    monkeypatch.setattr(loop_turns, "exported", lambda *given: given[6] / "student-s.onnx")
    return seen


def opened(world: tuple[Path, dict[str, Path]], monkeypatch: pytest.MonkeyPatch) -> LoopTurns:
    folder, recipes = world
    monkeypatch.setattr(loop_world, "SETS", recipes)
    student, _ = load_student(STUDENT)
    data = LoopData(folder, student.config, lambda text: None)
    data.made()
    recipe = with_epochs(read_retrain_recipe(loop_world.HERE / "loop_data" / "retrain.yaml"), 1)
    trials = read_trials(RECIPES / "new-animals.yaml")
    plan = LoopPlan(budget_s=12000.0, pool_share=1.0, epochs=1, turns=2)
    return LoopTurns(data, plan, recipe, trials, lambda text: None)


@pytest.mark.soak
def test_turns_are_made_once_and_gone_on_with(
    world: tuple[Path, dict[str, Path]], computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = opened(world, monkeypatch)
    pool = turns.pool(3)
    assert len(pool) == 14 and all(len(clip.rows) == 2 for clip in pool)
    assert any(clip.target for clip in pool)
    first = turns.turn(SELECTED, trials=False)
    bought = first.bought
    assert bought.clips and bought.cost_s > 0 and first.measures.scores.new == 0.3
    by_id = {clip.clip_id: clip for clip in pool}
    learned = [by_id[clip] for clip in bought.clips if not held_out(by_id[clip], 3)]
    assert bought.trained == sum(len(clip.rows) for clip in learned)
    chance = turns.turn(LOT, trials=False)
    assert chance.bought.cost_s <= 1.5 * bought.cost_s
    second = turns.turn(Line("selector", 3, 2), trials=False)
    assert not set(second.bought.clips) & set(bought.clips)
    (start,) = (world[0] / "turns").glob("selector-3-1-*/run")
    (end,) = (world[0] / "turns").glob("selector-3-2-*/run")
    assert read_run(end).parents == {"student": read_run(start).weights}
    assert len(computed) == 3

    again = opened(world, monkeypatch)
    assert again.turn(Line("selector", 3, 2), trials=False) == second
    assert len(computed) == 3, "nothing is computed twice"
    for name in ("made.json", "run/run.json", "run/weights.pt"):
        (start.parent / name).unlink()
    redone = again.turn(SELECTED, trials=False)
    assert redone.model_copy(update={"seconds": first.seconds}) == first
    assert read_run(start).weights == read_run(end).parents["student"], "and the same again"
    (start.parent / "made.json").write_text("{}")
    with pytest.raises(CorruptError, match="no _Made"):
        again.turn(SELECTED, trials=False)
    shutil.rmtree(start.parent)


def test_a_turn_retrains_as_is_published_with_the_statistics_held_more_replay_and_a_blend() -> None:
    ours = read_retrain_recipe(loop_world.HERE / "loop_data" / "retrain.yaml")
    published = read_retrain_recipe(ZOO / "student-s.retrain.yaml")
    replay = published.replay.model_copy(update={"share": ours.replay.share})
    assert ours.replay.share > published.replay.share
    assert ours.blend < published.blend == 1
    assert ours == published.model_copy(
        update={"held": ("statistics",), "replay": replay, "blend": ours.blend}
    )
