"""`longtail label export` and `longtail label import`: labels and tasks for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.label_queue import DrivesOption, FolderOption, state_named, with_queue
from cli.output import JsonOption, print_json
from contracts.errors import InputError

FormatOption = Annotated[
    str, typer.Option("--format", help="label-studio, coco, kitti, openlabel, nuscenes or fiftyone")
]


def export_labels(
    form: FormatOption,
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the files.")],
    drives: DrivesOption,
    queue: Annotated[
        bool, typer.Option("--queue", help="The review queue's tasks, not whole drives.")
    ] = False,
    state: Annotated[str, typer.Option(help="Of the queue: tasks that stand here.")] = "queued",
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="Of the queue: at most so many.")
    ] = 1000,
    camera: Annotated[
        str | None,
        typer.Option(help="Of KITTI: boxes in this camera's axes (/camera/front); else level."),
    ] = None,
    image_prefix: Annotated[
        str, typer.Option(help="Of Label Studio: what its addresses of pictures begin with.")
    ] = "/data/local-files/?d=images/",
    keyframe_hz: Annotated[
        float | None,
        typer.Option(min=0, help="Of nuScenes: keyframes a second, 2 if not told; 0 takes all."),
    ] = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write labelled drives, or review tasks, for another tool.

    Label Studio takes tasks.json into a project with the interface config.xml, and reads the
    pictures where --image-prefix says.
    """
    from offline.labels.formats.folders import export_drives, labelled_drives
    from offline.labels.formats.nuscenes.writer import KEYFRAME_HZ

    wanted = _format(form)
    if queue:
        told = _export_queue(wanted, out, drives, state, limit, image_prefix, folder)
    else:
        if camera is not None and wanted != "kitti":
            raise InputError("is KITTI's: the other formats take all cameras", "--camera")
        if keyframe_hz is not None and wanted != "nuscenes":
            raise InputError("is nuScenes': the other formats take all frames", "--keyframe-hz")
        rate_hz = KEYFRAME_HZ if keyframe_hz is None else keyframe_hz
        done = export_drives(wanted, labelled_drives(drives), out, camera, image_prefix, rate_hz)
        told = {
            "drives": done.drives, "frames": done.frames, "pictures": done.pictures,
            "sweeps": done.sweeps, "left_out": dict(done.left_out.counts),
        }  # fmt: skip
    if as_json:
        print_json(told)
        return
    typer.echo(", ".join(f"{told[name]} {name}" for name in told if isinstance(told[name], int)))
    for what, times in dict(told.get("left_out", {})).items():
        typer.echo(f"left out: {times} × {what}")
    for why in told.get("skipped", []):
        typer.echo(f"skipped: {why}")


def _export_queue(
    form: Any, out: Path, drives: list[Path], state: str, limit: int, image_prefix: str,
    folder: Path | None,
) -> dict[str, Any]:  # fmt: skip
    from offline.labels.queue.clips import ClipFolders
    from offline.labels.queue.exchange import share_tasks

    chosen = state_named(state)
    rows = with_queue(folder, lambda store: store.rows(chosen, limit=limit))
    done = share_tasks(form, rows, ClipFolders(drives), out, image_prefix)
    return {"tasks": done.tasks, "pictures": done.pictures, "skipped": done.skipped}


def import_labels(
    source: Annotated[Path, typer.Argument(exists=True, help="The tool's file or folder.")],
    form: FormatOption,
    out: Annotated[
        Path | None,
        typer.Option("--out", file_okay=False, help="Labels go to OUT/DRIVE/labels/."),
    ] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Into the review queue, as people's answers.")
    ] = False,
    drives: DrivesOption = [],  # noqa: B006
    made_by: Annotated[
        str | None, typer.Option(help="The person who made what the files do not say.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Of OpenLABEL answers: whose they are.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="Of OpenLABEL answers: the work on each task.")
    ] = 0.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Read what another tool made: as label files of drives, or as answers to review tasks.

    A 2D box tells no cuboid: what was moved in a picture keeps its cuboid and waits for an
    expert, what was drawn is told as a missed object.
    """
    wanted = _format(form)
    if queue == (out is not None):
        raise InputError("either a folder for labels, or the queue for answers", "--out, --queue")
    if out is None:
        told = _import_answers(wanted, source, annotator, seconds, folder)
    else:
        told = _import_drives(wanted, source, out, drives, made_by)
    if as_json:
        print_json(told)
        return
    typer.echo(", ".join(f"{told[name]} {name}" for name in told if isinstance(told[name], int)))
    for what, times in dict(told.get("left_out", {})).items():
        typer.echo(f"left out: {times} × {what}")
    for line in told.get("flat", []):
        what = "drawn" if line["place"] is None else "moved"
        typer.echo(f"{what} in the picture only: {line['class']} in {line['camera']} of "
                   f"{line['drive']} at {line['mono_ns']}")  # fmt: skip
    for why in told.get("refused", []):
        typer.echo(f"refused: {why}")


def _import_drives(
    form: Any, source: Path, out: Path, drives: list[Path], made_by: str | None
) -> dict[str, Any]:
    from contracts.labels import Provenance
    from offline.labels.formats.files import validated
    from offline.labels.formats.folders import import_labels as read
    from offline.labels.formats.folders import write_drives

    said_by = None
    if made_by is not None:
        said_by = validated(Provenance, {"source": "human", "made_by": made_by}, "--made-by")
    found = read(form, source, said_by, drives)
    folders = write_drives(found, out)
    return {
        "drives": len(folders),
        "frames": sum(len(one.frames) for one in found.sequences),
        "adjust": found.adjust,
        "unanswered": found.unanswered,
        "left_out": dict(found.left_out.counts),
        "flat": [
            {"drive": one.drive_id, "mono_ns": one.mono_ns, "camera": one.channel,
             "class": one.class_name, "box_px": list(one.box_px), "place": one.place}
            for one in found.flat
        ],
    }  # fmt: skip


def _import_answers(
    form: Any, source: Path, annotator: str | None, seconds: float, folder: Path | None
) -> dict[str, Any]:
    from contracts.clock import SystemClock
    from contracts.ids import parse_name
    from offline.labels.queue.exchange import take_openlabel_answers, take_studio_answers

    if form == "label-studio":
        done = with_queue(folder, lambda store: take_studio_answers(store, source))
    elif form == "openlabel":
        if annotator is None:
            raise InputError("OpenLABEL files do not say who answered: name them", "--annotator")
        name = parse_name(annotator, "--annotator")
        done = with_queue(
            folder,
            lambda store: take_openlabel_answers(store, source, name, seconds, SystemClock()),
        )
    else:
        raise InputError("answers come by label-studio (2D) or openlabel (cuboids)", form)
    return {
        "submitted": done.submitted, "known": done.known, "unfinished": done.unfinished,
        "missed": done.missed, "opened": done.opened, "refused": done.refused,
    }  # fmt: skip


def _format(text: str) -> Any:
    from offline.labels.formats.folders import FORMATS

    if text not in FORMATS:
        raise InputError(f"one of {', '.join(FORMATS)} is expected, not {text!r}", "--format")
    return text
