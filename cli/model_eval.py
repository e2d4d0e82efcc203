"""`longtail model eval|report`: how good students are on labelled drives, as a report with plots.

The first model is the one that the report is about; further ones are measured on the same
frames beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import JsonOption, absolute, print_json
from contracts.errors import InputError
from contracts.ids import sha256_hex

if TYPE_CHECKING:
    from models.data.drives import LabelledFrame
    from models.evaluation.document import (
        EvaluationReport,
        ModelIdentity,
        ModelKind,
        ReportDocument,
    )
    from models.evaluation.evaluate import Subject
    from models.evaluation.predictor import Modality, Predictor
    from models.student.config import StudentConfig

DataOption = Annotated[
    list[Path],
    typer.Option("--data", exists=True, file_okay=False, help="Folder of labelled drives."),
]
OtherDomainOption = Annotated[
    list[Path],
    typer.Option(
        "--other-domain", exists=True, file_okay=False,
        help="Folder of drives from elsewhere, for the first model.",
    ),
]  # fmt: skip
WithoutOption = Annotated[
    list[str],
    typer.Option("--without", help="Also without camera, lidar or radar, for the first model."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", file_okay=False, help="Folder for the report.")
]
NameOption = Annotated[
    str | None, typer.Option(help="What to call the frames; else as their folders are called.")
]


def evaluate_model(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="ONNX files, or folders of training runs."),
    ],
    data: DataOption,
    other_domain: OtherDomainOption = [],  # noqa: B006
    without: WithoutOption = [],  # noqa: B006
    out: OutOption = None,
    name: NameOption = None,
    resamples: Annotated[int, typer.Option(min=0, help="Of the intervals; 0: none.")] = 200,
    as_json: JsonOption = False,
) -> None:
    """Measure one model, or several side by side, on labelled drives."""
    document = measured_document(models, data, other_domain, without, name, resamples)
    _tell(document, out, as_json)


def report_model(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT...", help="report.json files, to be joined.")
    ],
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the report.")],
    as_json: JsonOption = False,
) -> None:
    """Join reports of several models into one, and draw it anew."""
    from models.evaluation.document import joined_documents, read_document

    _tell(joined_documents([read_document(path) for path in reports]), out, as_json)


@dataclass(frozen=True, slots=True)
class Opened:
    """A model ready to be measured, and the configuration by which its frames are made."""

    model: ModelIdentity
    predictor: Predictor
    config: StudentConfig


def measured_document(
    models: Sequence[Path],
    data: Sequence[Path],
    other_domain: Sequence[Path] = (),
    without: Sequence[str] = (),
    name: str | None = None,
    resamples: int = 200,
) -> ReportDocument:
    """Measure models on folders of labelled drives; a pass for each way of making frames."""
    from models.evaluation.document import ReportDocument
    from models.evaluation.evaluate import Subject, evaluate_all
    from models.evaluation.predictor import Without

    lost, opened = _modalities(without), [open_model(path) for path in models]
    main = opened[0]
    blinded = [
        Subject(main.model, Without(main.predictor, modality, main.config.lift), modality)
        for modality in lost
    ]

    def measure(some: Sequence[Opened], roots: Sequence[Path], called: str | None, *more: Subject
                ) -> tuple[EvaluationReport, ...]:  # fmt: skip
        drives = _Drives(roots, some[0].config)
        subjects = [*(Subject(one.model, one.predictor) for one in some), *more]
        return evaluate_all(
            subjects, drives, called or drives.name, digest=drives.digest(), resamples=resamples
        )

    runs: list[EvaluationReport] = []
    for config in dict.fromkeys(one.config for one in opened):
        alike = [one for one in opened if one.config == config]
        runs += measure(alike, data, name, *(blinded if main in alike else ()))
    for root in other_domain:
        runs += measure([main], [root], None)
    return ReportDocument(runs=tuple(runs))


class _Drives:
    """Labelled frames of some folders, a drive in memory at a time."""

    def __init__(self, roots: Sequence[Path], config: StudentConfig) -> None:
        from models.data.drives import drive_folders

        self._folders, self._config = drive_folders(roots), config
        self.name = "+".join(root.resolve().name for root in roots)

    def digest(self) -> str:
        """Over clips and labels, as `models.data.frames` tells it of the same drives."""
        from models.data.drives import drive_digest

        return sha256_hex("\n".join(sorted(map(drive_digest, self._folders))).encode())

    def __iter__(self) -> Iterator[LabelledFrame]:
        from models.data.drives import LABEL_FOLDER
        from models.data.frames import load_frames

        for number, folder in enumerate(self._folders, start=1):
            typer.echo(f"{self.name}: drive {number} of {len(self._folders)}", err=True)
            # A drive without labels is no fault of the others.
            if any((folder / LABEL_FOLDER).glob("*.npz")):
                yield from load_frames([folder], self._config)


def open_model(path: Path) -> Opened:
    """An ONNX file with its manifest, or the folder of a training run.

    Raises `InputError` for anything else, `CorruptError` where a digest does not fit.
    """
    if path.is_dir():
        return _opened_run(path)
    from edge_agent.perception.manifests import verified_model
    from models.evaluation.adapters import GraphPredictor, config_for
    from models.evaluation.document import ModelIdentity

    found = verified_model(path)
    manifest = found.manifest
    predictor = GraphPredictor(manifest, found.content)
    identity = ModelIdentity(
        name=f"{manifest.name}-{manifest.version}", kind=_kind(found.content),
        digest=manifest.sha256,
    )  # fmt: skip
    return Opened(identity, predictor, config_for(manifest))


def _opened_run(folder: Path) -> Opened:
    from models.evaluation.adapters import NetworkPredictor, TeacherPredictor
    from models.evaluation.document import ModelIdentity
    from models.runs import load_student, load_teacher, read_run
    from models.teacher.predict import TeacherView

    run, name = read_run(folder), folder.resolve().name
    if run.kind == "student":
        network, _ = load_student(folder)
        identity = ModelIdentity(name=name, kind="student", digest=run.weights)
        return Opened(identity, NetworkPredictor(network), run.config)
    if run.kind != "teacher":
        raise InputError(f"a {run.kind} is part of a teacher, and no model of its own", str(folder))
    teacher, _ = load_teacher(folder)
    identity = ModelIdentity(name=name, kind="teacher", digest=run.weights)
    return Opened(identity, TeacherPredictor(TeacherView(teacher)), run.config)


def _kind(content: bytes) -> ModelKind:
    import onnx

    nodes = onnx.load_from_string(content).graph.node
    return "student-int8" if any(n.op_type == "QuantizeLinear" for n in nodes) else "student"


def _modalities(names: Sequence[str]) -> list[Modality]:
    from models.evaluation.predictor import MODALITIES

    known: dict[str, Modality] = {modality: modality for modality in MODALITIES}
    for name in names:
        if name not in known:
            raise InputError(f"{name!r} is none of {', '.join(known)}", "--without")
    return [known[name] for name in dict.fromkeys(names)]


def _tell(document: ReportDocument, out: Path | None, as_json: bool) -> None:
    from models.evaluation.page import comparison, write_report

    page = None if out is None else write_report(out, document)
    if as_json:
        print_json(document.model_dump(mode="json"))
        return
    typer.echo("\n".join(comparison(document)))
    if page is not None:
        typer.echo(f"written: {absolute(page)}")
