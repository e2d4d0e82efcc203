"""`longtail loop acquire` over real models and a simulated drive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.loop import app
from contracts.errors import InputError
from offline.acquisition.adapters.request import AcquisitionReport
from tests.sim_fleet.labelled import short_drive

ZOO = Path(__file__).resolve().parents[2] / "models" / "zoo"
TRACKS = {"flicker", "gaps", "flips", "jumps"}


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_drive(tmp_path_factory.mktemp("short"))


def longtail(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["acquire", *map(str, arguments)])


def scores_in(folder: Path) -> list[dict[str, Any]]:
    import numpy as np

    found = []
    for path in folder.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as held:
            found.append(json.loads(held["record"].tobytes()))
    return found


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("runs/student-s", {"mutual_information", "expected_entropy", "disagreement"}),
        ("runs/teacher-s", {"mutual_information", "expected_entropy", "disagreement"}),
        ("student-s.onnx", set()),
    ],
)
def test_each_kind_of_model_scores_a_drive_once(
    drive: Path, tmp_path: Path, model: str, names: set[str]
) -> None:
    told = ["--pool", drive, "--by", ZOO / model, "--budget", 5000, "--seed", 1]
    kept = ["--scores", tmp_path / "scores"]
    out = tmp_path / "report.json"
    done = longtail(*told, *kept, "--out", out)
    assert done.exit_code == 0, done.exception
    assert "1 of 1 clips" in done.stdout and "1 clips scored, 0 had been" in done.stdout
    report = AcquisitionReport.model_validate_json(out.read_text())
    (chosen,) = report.selection.selections
    assert chosen.stream == "random" and chosen.inclusion_probability == 1.0
    assert chosen.expected_cost > 10  # a street full of cars, for six instants
    assert report.places[chosen.clip_id] == str(drive / "clip.mcap")
    (record,) = scores_in(tmp_path / "scores")
    assert set(record["scores"]) == names | {"entropy", "ambiguity"}
    assert record["scores"]["ambiguity"] > 0.1
    assert record["features"]["frames"] == 6 or model == "runs/teacher-s"
    again = longtail(*told, *kept, "--json")
    found = AcquisitionReport.model_validate_json(again.stdout)
    assert (found.reused, found.selection) == (1, report.selection)


def test_what_cannot_be_asked_is_one_clear_error(drive: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> InputError:
        error = longtail(*arguments).exception
        assert isinstance(error, InputError), error
        return error

    assert refused("--budget", 1, "--seed", 1).place == "--pool"
    assert refused("--pool", drive).place == "select.budget"
    wanted = ("--pool", drive, "--budget", 100, "--seed", 1)
    assert "let a model score it" in refused(*wanted).message
    assert refused(*wanted, "--passes", 4).place == "--passes"
    assert "a teacher has members" in refused(
        *wanted, "--by", ZOO / "runs" / "teacher-s", "--passes", 4
    ).message  # fmt: skip
    assert "no finished training run" in refused(*wanted, "--by", tmp_path).message
    assert "no clip" in refused("--pool", tmp_path, "--budget", 1, "--seed", 1).message
