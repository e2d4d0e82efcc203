"""`longtail model train | teach | distill | eval | export` on one short drive, end to end.

Two frames teach nobody to see; what is shown is that each command takes what the one before
wrote, tells where it came from, and refuses what is no model.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.model import app
from contracts.errors import InputError
from models.runs import read_run
from tests.sim_fleet.labelled import short_drive

RECIPE = """\
apiVersion: longtail/recipe/v1
name: quick
student: [{epochs: 1}, {epochs: 1}]
teacher: {sight: {epochs: 1}, members: {epochs: 1}, count: 2}
distill: {epochs: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, the recipe, and a run folder of each command."""
    folder = tmp_path_factory.mktemp("models")
    short_drive(folder / "data")
    (folder / "recipe.yaml").write_text(RECIPE)
    common = ["--recipe", str(folder / "recipe.yaml"), "--data", str(folder / "data"),
              "--threads", "1"]  # fmt: skip
    run(["train", *common, "--out", str(folder / "student")])
    run(["teach", *common, "--out", str(folder / "teacher")])
    run(["distill", *common, "--out", str(folder / "distilled"), "--start",
         str(folder / "student"), "--teacher", str(folder / "teacher")])  # fmt: skip
    return folder


def run(arguments: list[str]) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_each_run_tells_what_it_was_made_of(folder: Path) -> None:
    first, student = read_run(folder / "student" / "stage-1"), read_run(folder / "student")
    sight, teacher = read_run(folder / "teacher" / "sight"), read_run(folder / "teacher")
    distilled = read_run(folder / "distilled")
    assert student.parents == {"stage-1": first.weights}
    assert teacher.parents == {"sight": sight.weights} and teacher.members == 2
    assert distilled.parents == {"student": student.weights, "teacher": teacher.weights}
    runs = [first, student, sight, teacher, distilled]
    assert len({one.dataset for one in runs}) == len({one.recipe for one in runs}) == 1
    assert len({one.weights for one in runs}) == 5
    assert sight.config.ahead_slots and not distilled.config.ahead_slots
    for name in ("student", "teacher", "distilled"):
        assert len(json.loads((folder / name / "history.json").read_text())) == 1
        assert (folder / name / "losses.png").stat().st_size > 1000
        assert not (folder / name / "checkpoint.pt").exists()


def test_runs_are_measured_side_by_side(folder: Path) -> None:
    told = json.loads(run([
        "eval", str(folder / "distilled"), str(folder / "teacher"), "--data",
        str(folder / "data"), "--resamples", "0", "--json", "--out", str(folder / "report"),
    ]))  # fmt: skip
    assert [one["model"]["kind"] for one in told["runs"]] == ["student", "teacher"]
    assert {one["data"]["frames"] for one in told["runs"]} == {2}
    assert (folder / "report" / "report.md").exists()


def test_what_says_nothing_is_not_exported(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"score|detection|slope"):
        run(["export", str(folder / "distilled"), "--data", str(folder / "data"), "--calibrate",
             str(folder / "data"), "--out", str(out), "--float"])  # fmt: skip
    assert not out.exists()
    with pytest.raises(InputError, match="not a student"):
        run(["export", str(folder / "teacher"), "--data", str(folder / "data"), "--calibrate",
             str(folder / "data"), "--out", str(out)])  # fmt: skip
