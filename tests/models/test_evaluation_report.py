"""The report as a file, as pictures and as a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from models.evaluation.document import (
    EvaluationReport,
    ModelIdentity,
    ReportDocument,
    document_text,
    joined_documents,
    read_document,
)
from models.evaluation.evaluate import Subject, evaluate, evaluate_all
from models.evaluation.page import page_text, write_report
from models.evaluation.plots import draw_history
from models.evaluation.predictor import Prediction, Without
from models.student.inputs import StudentFrame
from tests.models.evaluation_drives import CONFIG, Oracle, drives, only

STUDENT = ModelIdentity(name="student-t", kind="student-int8", digest="a" * 64)
TEACHER = ModelIdentity(name="teacher-t", kind="teacher")
PLOTS = ("precision_recall", "ap_by_range", "ap_by_slice", "reliability", "light",
         "without_sensors")  # fmt: skip


def half_blind(frame: StudentFrame, told: Prediction) -> Prediction:
    """Sees no truck without lidar, and is less sure than right."""
    kept = told.boxes.class_index != (99 if frame.lidar_present else 1)
    return replace(only(told, kept), scores=np.full(int(kept.sum()), 0.6))


@pytest.fixture(scope="module")
def document() -> ReportDocument:
    frames = drives(3, 4)
    student = Oracle(frames, half_blind)
    subjects = [
        Subject(STUDENT, student),
        Subject(STUDENT, Without(student, "lidar", CONFIG.lift), "lidar"),
        Subject(TEACHER, Oracle(frames)),
    ]
    runs = evaluate_all(subjects, frames, "city", resamples=20)
    away = drives(2, 4)
    far = evaluate(Oracle(away, half_blind), away, STUDENT, "mountain", resamples=0)
    return ReportDocument(runs=(*runs, far))


def test_the_runs_are_found_by_what_they_are(document: ReportDocument) -> None:
    assert document.main.model == STUDENT
    assert [run.model for run in document.whole()] == [STUDENT, TEACHER]
    assert [(run.without, share) for run, share in document.with_loss()] == [
        ("lidar", pytest.approx(2 / 3, abs=1e-3))
    ]
    assert [run.data.name for run in document.elsewhere()] == ["mountain"]
    teacher = document.of_kind("teacher")
    assert teacher is not None and teacher.model == TEACHER
    assert document.of_kind("student") is None


def test_a_report_is_read_back_as_it_was_written(document: ReportDocument, tmp_path: Path) -> None:
    page = write_report(tmp_path / "report", document)
    assert read_document(tmp_path / "report" / "report.json") == document
    text = page.read_text()
    for name in PLOTS:
        picture = (page.parent / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) > 5000
        assert f"]({name}.png)" in text
    for told in (
        "student-t (student-int8) on city", "teacher-t (teacher)", "no lidar", "mountain",
        "66.7%", "100.0% of the teacher", "city has 3 drives: too few", "`occluded`",
        document.main.data.digest,
    ):  # fmt: skip
        assert told in text, told
    assert "nan" not in text and "None" not in text
    again = write_report(tmp_path / "again", document)
    assert {p.name: p.read_bytes() for p in again.parent.iterdir()} == {
        p.name: p.read_bytes() for p in page.parent.iterdir()
    }


def test_a_report_without_answers_is_still_a_page(tmp_path: Path) -> None:
    frames = drives(1, 2, light=None)
    blind = Oracle(frames, lambda frame, told: only(told, np.zeros(0, np.int64)))
    report = evaluate(blind, frames, STUDENT, "city", resamples=20)
    text = write_report(tmp_path, ReportDocument(runs=(report,))).read_text()
    assert "No light is labelled" in text and "No detected object could be followed" in text
    assert "| bus | 0 | – |" in text and "Mean AP 0.000" in text
    assert not (tmp_path / "light.png").exists() and not (tmp_path / "reliability.png").exists()


def test_reports_join_unless_they_contradict(document: ReportDocument) -> None:
    one, two = (ReportDocument(runs=(run,)) for run in document.runs[:2])
    assert joined_documents([one, two]).runs == document.runs[:2]
    with pytest.raises(InputError, match="twice"):
        joined_documents([one, one])
    data = document.main.data.model_copy(update={"digest": "b" * 64})
    other: EvaluationReport = document.runs[2].model_copy(update={"data": data})
    with pytest.raises(InputError, match="one name"):
        joined_documents([one, ReportDocument(runs=(other,))])


def test_what_is_no_report_is_refused(document: ReportDocument, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(InputError, match="no report can be read"):
        read_document(path)
    for text, place in (("{", "report.json"), ('{"schema_version": 1, "runs": []}', "runs")):
        path.write_text(text)
        with pytest.raises(InputError, match=place):
            read_document(path)
    newer = document_text(document).replace('"schema_version": 1', '"schema_version": 9', 1)
    path.write_text(newer)
    with pytest.raises(InputError, match="schema_version"):
        read_document(path)
    assert "on city" in page_text(document, {})


def test_the_history_of_a_run_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "run" / "losses.png"
    draw_history([{"heat": 3.0, "boxes": 2.0}, {"heat": 1.0}], path)
    assert path.read_bytes().startswith(b"\x89PNG")
