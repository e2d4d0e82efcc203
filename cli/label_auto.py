"""`longtail label auto`: tracks from any detector's boxes in KITTI's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, print_json
from cli.stage_run import RUN_FOLDER, RayOption, WorkersOption, tell_progress
from contracts.errors import InputError


def auto_label(
    detections: Annotated[
        Path,
        typer.Option(
            "--detections", exists=True, file_okay=False,
            help="Folder of SEQUENCE.txt, or of folders that end in Car, Pedestrian, Cyclist.",
        ),
    ],
    calib: Annotated[
        Path,
        typer.Option("--calib", exists=True, file_okay=False, help="Folder of SEQUENCE.txt."),
    ],
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the results.")],
    sequence: Annotated[
        list[str], typer.Option(help="Only this one; may be repeated. Else all.")
    ] = [],  # noqa: B006
    parameters: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Else those for PointRCNN's detections."),
    ] = None,
    calibrator: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False,
            help="Tells scores; of `label calibrate`. Else that for PointRCNN's detections.",
        ),
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Causal: no frame knows a later one.")
    ] = False,
    points: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False,
            help="Folder of a folder a sequence with its sweeps, FRAME.bin or FRAME.pcd.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Also doubtful tracks, for people to judge.")
    ] = False,
    openlabel: Annotated[
        bool,
        typer.Option("--openlabel", help="Also SEQUENCE.json: how each box came about."),
    ] = False,
    workers: WorkersOption = None,
    ray: RayOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make tracks from a detector's boxes: smoothed, completed, scored.

    Writes result files of KITTI's, scores in column 18, that `longtail label eval` reads; with
    `--openlabel` also ASAM OpenLABEL, with the provenance of every box. Each
    sequence is labelled once: called again, it goes on where it was (OUT/.run).
    """
    from offline.executor.choice import executor_of
    from offline.labels.auto.kitti_clips import sequences_of
    from offline.labels.auto.kitti_stage import (
        OPENLABEL,
        RESULT,
        STAGE,
        Settings,
        sequence_inputs,
    )
    from offline.labels.auto.parameters import PUBLISHED, read_parameters
    from offline.labels.calibration.calibrator import PUBLISHED as CALIBRATOR
    from offline.labels.calibration.calibrator import read_calibrator
    from offline.runs.folder import WorkFolder
    from offline.runs.publish import publish
    from offline.runs.run import Progress, check, run_stage

    if online and everything:
        raise InputError("the causal tracker has no doubtful tracks", "--everything")
    if online and points is not None:
        raise InputError("the causal tracker takes no points", "--points")
    names = sequence or sequences_of(detections)
    if not names:
        raise InputError("no .txt file", str(detections))
    read_parameters(parameters or PUBLISHED)
    read_calibrator(calibrator or CALIBRATOR)
    clips = [
        sequence_inputs(
            name, detections, calib, parameters or PUBLISHED, calibrator or CALIBRATOR, points
        )
        for name in dict.fromkeys(names)
    ]
    settings = Settings(online=online, everything=everything, openlabel=openlabel)
    folder = WorkFolder(out / RUN_FOLDER)

    def tell(progress: Progress) -> None:
        record = progress.record
        publish(folder, record, RESULT, out / f"{record.clip}.txt")
        if openlabel:
            publish(folder, record, OPENLABEL, out / f"{record.clip}.json")
        tell_progress(progress)

    run = run_stage(STAGE, settings.model_dump(), clips, folder, executor_of(workers, ray), tell)
    figures = [{"sequence": each.clip, **each.figures} for each in run.clips if each.output]
    if as_json:
        print_json(figures)
    else:
        for row in figures:
            typer.echo(
                "{sequence}: {tracks} tracks, {boxes} boxes in {frames} frames".format(**row)
            )
    check(run)
