"""`longtail loop sim-to-real`: the student as it is, on recordings of real roads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, absolute
from contracts.errors import InputError


def sim_to_real(
    model: Annotated[
        Path, typer.Option("--model", exists=True, dir_okay=False, help="ONNX, manifest beside it.")
    ],
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder of the report.")],
    real: Annotated[
        list[Path],
        typer.Option(
            "--real", exists=True, file_okay=False,
            help="Argoverse 2 log, KITTI's tracking set, or a folder of these; may be repeated.",
        ),
    ] = [],  # noqa: B006
    simulated: Annotated[
        list[Path],
        typer.Option("--simulated", exists=True, file_okay=False, help="Labelled drives."),
    ] = [],  # noqa: B006
    drives: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Also write the recordings here, as labelled drives."),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Measure a model on real recordings, beside simulated drives with the same sensors.

    Nothing is trained or tuned on the recordings.
    """
    from cli.model_eval import open_model
    from offline.sim_to_real.drives import write_drive
    from offline.sim_to_real.measure import Subject
    from offline.sim_to_real.report import recordings, write
    from offline.sim_to_real.report import sim_to_real as measure

    if not real and not simulated:
        raise InputError("give recordings with --real, drives with --simulated, or both")
    if drives is not None:
        for recorded in recordings(real):
            write_drive(recorded, drives)
    opened = open_model(model)
    report = measure(Subject(opened.model, opened.predictor, opened.config), real, simulated)
    page = write(report, out)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
        return
    for each in report.sets:
        typer.echo(f"{each.name}: {each.frames} frames, {', '.join(each.sensors)}")
        for figures in each.figures:
            if figures.range_m == "all" and figures.truths:
                ap = "–" if figures.ap is None else f"{figures.ap:.3f}"
                recall = "–" if figures.recall is None else f"{figures.recall:.3f}"
                typer.echo(f"  {figures.group}: AP {ap}, recall {recall} ({figures.truths} boxes)")
    typer.echo(f"written: {absolute(page)}")
