"""The student's accuracy, as a report of `models.evaluation` has it, against its goals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from bench.figures import Figure, figure
from bench.student_model import FLOAT_MODEL, MODEL
from models.evaluation.document import (
    MEAN_AP,
    VEHICLE_AP,
    EvaluationReport,
    ReportDocument,
    read_document,
)
from models.evaluation.predictor import MODALITIES

REPORT = "student-s.report/report.json"


def document_for(zoo: Path, data: Sequence[Path]) -> tuple[ReportDocument | None, str]:
    """The shipped report, or what is measured now on `data`; and which of both."""
    if data:
        from cli.model_eval import measured_document

        models = [path for path in (zoo / MODEL, zoo / FLOAT_MODEL) if path.is_file()]
        if models:
            return measured_document(models, data, without=MODALITIES), "measured now"
    elif (zoo / REPORT).is_file():
        return read_document(zoo / REPORT), "from the shipped report"
    missing = "student" if data else "report"
    typer.echo(f"no {missing} is shipped: figures of accuracy are left out", err=True)
    return None, ""


def accuracy_figures(document: ReportDocument, said: str) -> list[Figure]:
    """What a report says against the goals; only of runs that it holds.

    Args:
        said: where the figures come from, for their names.
    """
    data = document.main.data
    suffix = f"({said}: {data.frames} frames of {data.name}, digest {data.digest[:12]})"
    int8 = document.of_kind("student-int8") or document.main
    plain, teacher = document.of_kind("student"), document.of_kind("teacher")
    figures = []
    vehicles = int8.value(VEHICLE_AP)
    if vehicles is not None:
        figures.append(figure(f"vehicle AP at 2 m {suffix}", vehicles, "AP", goal=">= 0.8"))
    pair = _pair(plain, int8)
    if pair is not None:
        lost = 100 * (pair[0] - pair[1])
        figures.append(figure(f"mean AP lost to int8 {suffix}", lost, "AP points", goal="<= 1"))
    pair = _pair(int8, teacher)
    if pair is not None:
        figures.append(
            figure(f"mean AP {suffix}", pair[0], "AP", reference="the teacher",
                   reference_value=pair[1], goal="ratio >= 0.92")
        )  # fmt: skip
    for run in (run for run, kept in document.with_loss() if kept is not None):
        pair = _pair(run, document.main)
        if pair is not None:
            figures.append(
                figure(f"mean AP without {run.without} {suffix}", pair[0], "AP",
                       reference="with all sensors", reference_value=pair[1],
                       goal="ratio >= 0.6")
            )  # fmt: skip
    for run in document.elsewhere():
        pair = _pair(run, document.main)
        if pair is not None:
            figures.append(
                figure(f"mean AP on {run.data.name}, another domain {suffix}", pair[0], "AP",
                       reference="in its own domain", reference_value=pair[1],
                       goal="ratio <= 1")
            )  # fmt: skip
    return figures


def _pair(one: EvaluationReport | None, two: EvaluationReport | None) -> tuple[float, float] | None:
    """Mean APs of both, where both have one that can be divided by."""
    values = [None if run is None else run.value(MEAN_AP) for run in (one, two)]
    return (values[0], values[1]) if values[0] is not None and values[1] else None
