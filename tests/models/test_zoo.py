"""The shipped student: what it says of itself is true, and it sees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contracts.ids import sha256_hex
from edge_agent.perception.bev import OnnxBevModel
from edge_agent.perception.runtime import load_model
from models.data.drives import read_drive
from models.evaluation.adapters import GraphPredictor
from models.evaluation.document import read_document
from models.evaluation.matching import FrameResult, match_class
from models.recipe import read_recipe
from models.runs import load_student, load_teacher
from models.student.config import student_s
from models.teacher.config import teacher_config
from models.teacher.predict import TeacherView
from tests.sim_fleet.labelled import short_drive

ZOO = Path(__file__).parents[2] / "models" / "zoo"
CAR = 0


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_drive(tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def model() -> OnnxBevModel:
    found = load_model(ZOO / "student-s.onnx")  # with its self-test
    assert isinstance(found, OnnxBevModel)
    return found


def test_its_lineage_leads_to_what_is_shipped_beside_it(model: OnnxBevModel) -> None:
    lineage = model.manifest.lineage
    student, run = load_student(ZOO / "runs" / "student-s")
    _, teacher = load_teacher(ZOO / "runs" / "teacher-s")
    assert lineage["weights_sha256"] == run.parents["float32"]
    assert lineage["teacher_sha256"] == teacher.parents["float32"] == run.parents["teacher"]
    assert lineage["recipe_sha256"] == run.recipe
    assert run.recipe == read_recipe(ZOO / "student-s.recipe.yaml").digest()
    assert lineage["dataset_sha256"] == run.dataset == teacher.dataset
    assert student.config == student_s() and teacher.config == teacher_config(student_s())
    assert teacher.members == 8


def test_its_report_is_of_these_bytes(model: OnnxBevModel) -> None:
    report = read_document(ZOO / "student-s.report" / "report.json")
    digest = sha256_hex((ZOO / "student-s.onnx").read_bytes())
    assert report.main.model.digest == digest == model.digest
    kinds = {run.model.kind for run in report.runs}
    assert kinds == {"student", "student-int8", "teacher"}
    assert json.loads((ZOO / "student-s.report" / "report.json").read_text())["runs"]


def test_it_finds_the_cars_of_a_street(model: OnnxBevModel, drive: Path) -> None:
    predictor = GraphPredictor(model.manifest, (ZOO / "student-s.onnx").read_bytes())
    results = []
    for one in read_drive(drive, student_s()):
        told = predictor.predict(one.frame)
        sure = told.scores > 0.5
        grid = model.manifest.decoder.bev
        assert grid is not None
        truth = one.labels.boxes()
        unjudged = one.labels.ignored() | ~grid.grid.inside(truth.centre_m[:, :2])
        results.append(FrameResult(told.boxes.take(sure), told.scores[sure], truth, unjudged))
    matched = match_class(results, CAR, 2.0)
    assert matched.truths >= 6
    assert matched.right.sum() >= 0.7 * matched.truths
    assert matched.right.mean() >= 0.7


def test_its_teacher_sees_the_same_street_with_eight_opinions(drive: Path) -> None:
    teacher, _ = load_teacher(ZOO / "runs" / "teacher-s")
    view = TeacherView(teacher)
    frame = next(iter(read_drive(drive, teacher.config))).frame
    maps = view.maps(frame)
    assert maps.members.shape[0] == 8 and maps.heat[CAR].max() > 0.5
    assert np.ptp(maps.members[:, CAR], axis=0).max() > 0.05
