"""`longtail label clip`: labelled drives from recorded clips, by a teacher that saw them whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, print_json
from cli.stage_run import RUN_FOLDER, RayOption, WorkersOption, tell_progress


def label_clips(
    drives: Annotated[
        list[Path],
        typer.Argument(metavar="DRIVE...", exists=True, help="Clips, or folders of them."),
    ],
    teacher: Annotated[
        Path, typer.Option("--teacher", exists=True, file_okay=False, help="Its training run.")
    ],
    out: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Folder for the labelled drives.")
    ],
    parameters: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False,
            help="NAME.json, with NAME.calibration.json beside it. Else the shipped teacher's.",
        ),
    ] = None,
    points: Annotated[
        bool, typer.Option(help="Fit boxes to the lidar's points: better boxes, a little slower.")
    ] = True,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Low precision where the device has it, faster then.")
    ] = False,
    members: Annotated[
        int | None,
        typer.Option(min=1, help="Ask only the teacher's first members: faster, a little worse."),
    ] = None,
    mirror: Annotated[
        bool, typer.Option(help="Show it each instant mirrored too: better, and twice the time.")
    ] = True,
    workers: WorkersOption = None,
    ray: RayOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Label recorded clips: boxes as tracks, ground and light, at ten instants a second.

    Writes OUT/<drive>/labels/<mono_ns>.npz with the clip beside them: drives to train on. Each is
    labelled once: called again, it goes on where it was (OUT/.run).
    """
    from offline.executor.choice import executor_of
    from offline.labels.clips.parameters import TEACHER, read_clip_parameters
    from offline.labels.clips.published import publish_drive
    from offline.labels.clips.stage import STAGE, Settings, clips_under, drive_inputs
    from offline.runs.folder import WorkFolder
    from offline.runs.run import Progress, check, run_stage

    chosen = parameters or TEACHER
    read_clip_parameters(chosen)
    clips = [drive_inputs(clip, teacher, chosen) for clip in clips_under(drives)]
    by_name = {each.clip: each.files["clip"][0] for each in clips}
    folder = WorkFolder(out / RUN_FOLDER)

    def tell(progress: Progress) -> None:
        publish_drive(folder, progress.record, by_name[progress.record.clip], out)
        tell_progress(progress)

    settings = Settings(bf16=bf16, points=points, members=members, mirror=mirror).told()
    run = run_stage(STAGE, settings, clips, folder, executor_of(workers, ray), tell)
    figures = [{"drive": each.clip, **each.figures} for each in run.clips if each.output]
    if as_json:
        print_json(figures)
    else:
        for row in figures:
            typer.echo(
                "{drive}: {tracks} tracks, {boxes} boxes taught and {ignored} ignored "
                "at {instants} instants".format(**row)
            )
    check(run)
