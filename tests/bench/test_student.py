"""The student's benchmark on a tiny network, and how a report is held against its goals."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import student
from bench.student_accuracy import REPORT, accuracy_figures
from bench.student_model import count_macs
from models.evaluation.document import ModelIdentity, ReportDocument, document_text
from models.evaluation.evaluate import evaluate
from models.student.config import StudentConfig, student_s
from models.student.export import onnx_bytes
from models.student.network import new_student
from tests.bench.test_benches import assert_well_formed
from tests.models.evaluation_drives import NARROW, Oracle, drives

TINY = StudentConfig.model_validate({**student_s().model_dump(), **NARROW, "size": "tiny"})


@pytest.fixture(scope="module")
def document() -> ReportDocument:
    """Runs of the truth whose mean APs are then set by hand."""
    frames = drives(1, 2)
    base = evaluate(Oracle(frames), frames, ModelIdentity(name="s", kind="other"), "city",
                    resamples=0)  # fmt: skip
    other = base.data.model_copy(update={"name": "mountain"})
    int8 = ModelIdentity(name="s", kind="student-int8")

    def having(ap: float, **update: object) -> object:
        headline = dict(base.headline)
        headline["mean_ap"] = headline["mean_ap"].model_copy(update={"value": ap})
        return base.model_copy(update={"headline": headline, **update})

    return ReportDocument.model_validate({"runs": [
        having(0.60, model=int8),
        having(0.30, model=int8, without="lidar"),
        having(0.62, model=ModelIdentity(name="f", kind="student")),
        having(0.64, model=ModelIdentity(name="t", kind="teacher")),
        having(0.45, model=int8, data=other),
    ]})  # fmt: skip


def test_without_a_shipped_student_it_says_what_it_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = student.run(zoo=tmp_path, drive_s=1.2, passes=1, config=TINY)
    assert_well_formed(figures)
    assert all("untrained network of size tiny" in each.name for each in figures[:6])
    assert sum(each.goal == "<= 50" for each in figures) == 2
    assert "no report is shipped" in capsys.readouterr().err


def test_a_report_is_held_against_the_goals(document: ReportDocument, tmp_path: Path) -> None:
    figures = {each.name.split(" (")[0]: each for each in accuracy_figures(document, "measured")}
    digest = document.main.data.digest[:12]
    assert all(digest in each.name for each in accuracy_figures(document, "measured"))
    assert figures["vehicle AP at 2 m"].holds and figures["vehicle AP at 2 m"].value == 1.0
    lost = figures["mean AP lost to int8"]
    assert lost.value == pytest.approx(2.0) and not lost.holds
    assert figures["mean AP"].ratio == pytest.approx(0.60 / 0.64) and figures["mean AP"].holds
    assert not figures["mean AP without lidar"].holds
    assert figures["mean AP on mountain, another domain"].holds
    (tmp_path / REPORT).parent.mkdir()
    (tmp_path / REPORT).write_text(document_text(document))
    shipped, said = student.document_for(tmp_path, ())
    assert shipped == document and said == "from the shipped report"
    alone = ReportDocument(runs=document.runs[:1])
    assert [each.name.split(" (")[0] for each in accuracy_figures(alone, "")] == [
        "vehicle AP at 2 m"
    ]


def test_multiply_accumulates_are_counted() -> None:
    small = count_macs(onnx_bytes(new_student(TINY, 0).eval()))
    # Both convolutions of a residual block over 64 x 64 cells, and one output of 1 x 1.
    assert small > 2 * 64 * 64 * 9 * 24 * 24 + 128 * 128 * 16 * 40
    assert small < 0.5e9
