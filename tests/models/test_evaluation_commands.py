"""`longtail model eval|report` on a drive as the simulator writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.model import app
from cli.model_eval import measured_document
from contracts.errors import InputError, LongtailError
from contracts.model_manifest import Calibration
from models.data.frames import load_frames
from models.evaluation.adapters import config_for
from models.evaluation.document import read_document
from models.student.config import StudentConfig, student_s
from models.student.export import onnx_bytes, student_manifest, write_student
from models.student.network import new_student
from sim_fleet.dataset import DatasetSpec, write_dataset
from tests.models.evaluation_drives import NARROW


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drives") / "town"
    spec = DatasetSpec.model_validate({
        "apiVersion": "longtail/dataset/v1", "name": "town",
        "drives": [{"scenario": "everyday-city", "seeds": [3, 1], "seconds": 3.5}],
    })  # fmt: skip
    write_dataset(spec, folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("model"), 1)


def written(folder: Path, seed: int) -> Path:
    config = StudentConfig.model_validate({**student_s().model_dump(), **NARROW})
    content = onnx_bytes(new_student(config, seed).eval())
    manifest = student_manifest(
        config, content, name=f"student-{seed}", version=1, calibration=Calibration(),
        score_threshold=0.3, lineage={},
    )  # fmt: skip
    assert config_for(manifest) == student_s(), "frames do not depend on the network's widths"
    return write_student(folder, content, manifest)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_model_is_measured_and_its_report_drawn(
    model: Path, drives: Path, tmp_path: Path
) -> None:
    out = tmp_path / "one"
    found = call("eval", model, "--data", drives, "--without", "lidar", "--out", out, "--json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert "town: drive 1 of 1" in found.stderr
    document = read_document(out / "report.json")
    assert document.model_dump(mode="json") == told
    full, blind = document.runs
    assert full.model.kind == "student" and full.model.name == "student-1-1"
    assert full.data.name == "town" and full.data.frames == 3 and full.data.drives == 1
    assert full.data.digest == load_frames([drives], student_s()).digest
    assert blind.without == "lidar" and blind.light is not None and full.ground is not None
    assert (out / "report.md").read_text().startswith("# student-1-1 (student) on town")

    two = written(tmp_path, 2)
    again = call("eval", two, "--data", drives, "--out", tmp_path / "two")
    assert again.exit_code == 0 and "| mean AP |" in again.stdout
    both = call("report", out / "report.json", tmp_path / "two" / "report.json",
                "--out", tmp_path / "both")  # fmt: skip
    assert both.exit_code == 0 and "student-2-1" in both.stdout
    joined = read_document(tmp_path / "both" / "report.json")
    assert [run.model.name for run in joined.whole()] == ["student-1-1", "student-2-1"]
    side_by_side = measured_document([model, two], [drives], [drives / "everyday-city-3"])
    assert side_by_side.runs[:2] == tuple(joined.whole())
    assert [run.data.name for run in side_by_side.elsewhere()] == ["everyday-city-3"]


def test_what_cannot_be_measured_is_one_clear_error(
    model: Path, drives: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    no_model = tmp_path / "no.onnx"
    no_model.write_bytes(b"nothing")
    for arguments, match in (
        ((model, "--data", empty), "no labelled drive"),
        ((model, "--data", drives, "--without", "sonar"), "camera, lidar, radar"),
        ((no_model, "--data", drives), "manifest"),
        ((empty, "--data", drives), "no finished training run"),
        ((tmp_path / "gone.onnx", "--data", drives), "no model can be read"),
    ):
        found = call("eval", *arguments)
        assert isinstance(found.exception, LongtailError), arguments
        assert match in str(found.exception)
    missing = call("report", tmp_path / "none.json", "--out", tmp_path)
    assert isinstance(missing.exception, InputError)
