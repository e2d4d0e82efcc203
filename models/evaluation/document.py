"""An evaluation as it is kept: `report.json`.

One file holds one or more runs: each a model, on a set of labelled frames, with all sensors or
without one kind. The first run is the one that the report is about; the others are what it is
compared with. Figures that do not exist are null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex
from models.evaluation.intervals import Estimate
from models.evaluation.predictor import Modality
from models.evaluation.report import DetectionReport, Figure

MEAN_AP, SCORE, VEHICLE_AP = "mean_ap", "score", "vehicle_ap_2m"
MEAN_IOU, LIGHT, CALIBRATION = "mean_iou", "light_accuracy", "calibration_error"
ADE, FDE = "ade_m", "fde_m"
_MAX_FILE_BYTES = 64 * 1024**2

ModelKind = Literal["student", "student-int8", "teacher", "other"]


class ModelIdentity(Frozen):
    """Which model was measured; `digest` of its file, None when it is none (training)."""

    name: str = Field(min_length=1, max_length=200)
    kind: ModelKind
    digest: Sha256Hex | None = None

    @property
    def title(self) -> str:
        return f"{self.name} ({self.kind})"


class FrameSet(Frozen):
    """What it was measured on; `digest` of clips and labels, or of the labels alone where the
    frames did not come from clips.
    """

    name: str = Field(min_length=1, max_length=200)
    digest: Sha256Hex
    frames: int
    drives: int
    truths: int


class ReliabilityFigures(Frozen):
    """By bin of equal width: mean told, share right, how many; `error` is the ECE."""

    told: tuple[Figure, ...]
    right: tuple[Figure, ...]
    count: tuple[int, ...]
    error: Figure
    worst: Figure


class CalibrationFigures(Frozen):
    """Of boxes told with at least `TOLD_FROM`, at 2 m; ECE by class and by range."""

    overall: ReliabilityFigures | None
    by_class: dict[str, Figure]
    by_range: dict[str, Figure]


class GroundFigures(Frozen):
    """Intersection over union by layer, and how many frames had their ground labelled."""

    frames: int
    iou: dict[str, Figure]
    mean_iou: Figure


class LightFigures(Frozen):
    """`confusion` by state: truth by row, told by column; `calibration_error` of the state
    that is told.
    """

    frames: int
    states: tuple[str, ...]
    accuracy: Figure
    recall: dict[str, Figure]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: Figure


class MotionFigures(Frozen):
    """Constant velocity against the true tracks; see `models.evaluation.trajectory`.

    `displacement_m` by horizon in seconds as text; `standing_ade_m` if nothing moved,
    `true_ade_m` by the true motion.
    """

    followed: int
    displacement_m: dict[str, Figure]
    ade_m: Figure
    fde_m: Figure
    standing_ade_m: Figure
    true_ade_m: Figure


class EvaluationReport(Frozen):
    """One run. `headline` by name, with intervals by drive where there are several drives;
    `slice_ap` the mean AP of each slice of `detection`; `curves` precision at recall 0, 0.01 ..
    1 at 2 m by class; `motion` by group: all, moving, and each class.
    """

    schema_version: Literal[1] = 1
    model: ModelIdentity
    data: FrameSet
    without: Modality | None = None
    headline: dict[str, Estimate]
    detection: DetectionReport
    slice_ap: dict[str, Estimate]
    curves: dict[str, tuple[float, ...]]
    ground: GroundFigures | None
    light: LightFigures | None
    calibration: CalibrationFigures
    motion: dict[str, MotionFigures]

    def value(self, name: str) -> Figure:
        """A headline figure; None when it does not exist."""
        found = self.headline.get(name)
        return None if found is None else found.value


class ReportDocument(Frozen):
    """All runs of one report, the first being the one that it is about."""

    schema_version: Literal[1] = 1
    runs: tuple[EvaluationReport, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_run_comes_twice(self) -> ReportDocument:
        keys = [(run.model, run.data.name, run.without) for run in self.runs]
        if len(set(keys)) != len(keys):
            raise ValueError("runs: the same model on the same frames comes twice")
        sets = {(run.data.name, run.data.digest) for run in self.runs}
        if len({name for name, _ in sets}) != len(sets):
            raise ValueError("runs: two sets of frames have one name")
        return self

    @property
    def main(self) -> EvaluationReport:
        return self.runs[0]

    def whole(self) -> Iterator[EvaluationReport]:
        """Runs with all sensors on the frames of the main one."""
        return (run for run in self.runs if run.without is None and run.data == self.main.data)

    def with_loss(self) -> Iterator[tuple[EvaluationReport, float | None]]:
        """Runs of the main model without a sensor, and the share of full mean AP kept."""
        full = self.main.value(MEAN_AP)
        for run in self.runs:
            if run.without is None or (run.model, run.data) != (self.main.model, self.main.data):
                continue
            left = run.value(MEAN_AP)
            yield run, None if left is None or not full else left / full

    def elsewhere(self) -> Iterator[EvaluationReport]:
        """Runs of the main model with all sensors on other frames."""
        return (
            run for run in self.runs
            if run.without is None and run.model == self.main.model and run.data != self.main.data
        )  # fmt: skip

    def of_kind(self, kind: ModelKind) -> EvaluationReport | None:
        """The first whole run of a kind of model on the main frames."""
        return next((run for run in self.whole() if run.model.kind == kind), None)


def joined_documents(documents: Iterable[ReportDocument]) -> ReportDocument:
    """All runs in one document; the first of all stays the main one."""
    runs = tuple(run for document in documents for run in document.runs)
    try:
        return ReportDocument(runs=runs)
    except ValidationError as error:
        raise InputError(error.errors()[0]["msg"]) from error


def document_text(document: ReportDocument) -> str:
    """The file's content: the same document gives the same text."""
    return json.dumps(document.model_dump(mode="json"), indent=1) + "\n"


def read_document(path: Path) -> ReportDocument:
    """Read a `report.json`. Raises `InputError` when it is none."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(f"larger than {_MAX_FILE_BYTES} bytes", str(path))
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"no report can be read here: {error.strerror}", str(path)) from error
    try:
        return ReportDocument.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], f"{path}: {where}" if where else str(path)) from error
