"""`longtail loop retrain` over tiny datasets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.loop import app
from contracts.errors import InputError
from models.recipe import read_retrain_recipe
from models.runs import read_run
from tests.offline.retrain.world import write_new, write_old, write_run

RECIPE = """\
apiVersion: longtail/retrain/v1
name: quick
train: {epochs: 1, batch: 4}
replay: {share: 0.4, slices: [tod]}
mix: {tags: [tod]}
"""
ZOO = Path(__file__).parents[2] / "models/zoo"


def loop(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_student_is_retrained(tmp_path: Path) -> None:
    start = write_run(tmp_path / "start")
    new = write_new(tmp_path / "new")
    write_old(tmp_path / "old")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    command = [
        "retrain", "--from", tmp_path / "start", "--new", tmp_path / "new" / "dataset",
        "--replay", tmp_path / "old", "--recipe", recipe, "--out", tmp_path / "out",
        "--threads", "1",
    ]  # fmt: skip
    told = loop(*command)
    assert "6 new frames, 2 of 6 old ones replayed" in told
    run = read_run(tmp_path / "out")
    assert run.dataset == new and run.parents == {"student": start.weights}
    assert len(json.loads((tmp_path / "out" / "history.json").read_text())) == 1
    assert (tmp_path / "out" / "losses.png").stat().st_size > 1000
    again = json.loads(loop(*command, "--json"))
    assert again["replayed_slices"] == {"day": 1, "night": 1}
    recipe.write_text(RECIPE + "anchor: -1\n")
    with pytest.raises(InputError, match="anchor"):
        loop(*command)


def test_the_shipped_recipe_is_one() -> None:
    recipe = read_retrain_recipe(ZOO / "student-s.retrain.yaml")
    assert recipe.replay.share == 0.05 and recipe.anchor > 0
