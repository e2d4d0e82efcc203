"""`longtail model export | pack`: a training run as a model for vehicles, or as a smaller run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import absolute, progress_line

if TYPE_CHECKING:
    from contracts.model_manifest import Calibration

RANGE_FRAMES = 48
TOLD_FROM = 0.25
"""Raw score of the shipped student at which about one box in ten is right: fainter ones would name
classes in every clip that nobody finds there."""


def pack(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the smaller copy.")],
) -> None:
    """Copy a run with its weights in half precision, to be kept or sent."""
    from models.runs import WEIGHTS_FILE, pack_run

    pack_run(run, out)
    size_bytes = (out / WEIGHTS_FILE).stat().st_size
    typer.echo(f"{absolute(out)}: {size_bytes / 1e6:.1f} MB")


def export(
    run: Annotated[Path, typer.Argument(help="Folder of the student's run.")],
    data: Annotated[
        list[Path], typer.Option("--data", help="Drives that it was trained on: int8 ranges.")
    ],
    calibrate: Annotated[
        list[Path], typer.Option("--calibrate", help="Other drives: scores to probabilities.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for model and manifest.")],
    name: Annotated[str, typer.Option(help="The model's name.")] = "student-s",
    version: Annotated[int, typer.Option(min=1)] = 1,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Raw score from which on boxes are told.")
    ] = TOLD_FROM,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            exists=True,
            dir_okay=False,
            help="Manifest of the model before: of classes that the calibrating drives hardly "
            "show, its probabilities are kept.",
        ),
    ] = None,
    float_graph: Annotated[bool, typer.Option("--float", help="Float instead of int8.")] = False,
) -> None:
    """Write ONNX and manifest: int8, calibrated, self-tested."""
    import numpy as np

    from models.data.frames import load_frames
    from models.runs import load_student
    from models.student.deploy import deployed
    from models.student.export import write_student
    from offline.retrain.lineage import export_lineage

    student, trained = load_student(run)
    seen = load_frames(data, student.config)
    others = load_frames(calibrate, student.config)
    rows = np.linspace(0, len(seen) - 1, min(RANGE_FRAMES, len(seen))).astype(int)
    lineage = export_lineage(trained, others.digest, int8=not float_graph)
    made = deployed(
        student, [seen.frame(int(row)) for row in rows],
        [(one.frame, one.labels) for one in others],
        name=name, version=version, score_threshold=threshold, lineage=lineage,
        int8=not float_graph, before=_calibration(like), progress=progress_line,
    )  # fmt: skip
    path = write_student(out, made.content, made.manifest)
    typer.echo(f"{absolute(path)}: {len(made.content) / 1e6:.2f} MB")


def _calibration(manifest: Path | None) -> Calibration | None:
    from offline.gates.model_file import read_model

    return None if manifest is None else read_model(manifest).manifest.calibration
