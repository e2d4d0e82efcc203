"""`longtail label auto`: tracks from any detector's boxes in KITTI's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, print_json, progress_line
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
    online: Annotated[
        bool, typer.Option("--online", help="Causal: no frame knows a later one.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--everything", help="Also doubtful tracks, for people to judge.")
    ] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make tracks from a detector's boxes: smoothed, completed, scored.

    Writes result files of KITTI's, scores in column 18, that `longtail label eval` reads.
    """
    from offline.labels.auto.kitti_clips import (
        detection_files,
        read_clip,
        result_text,
        sequences_of,
    )
    from offline.labels.auto.offline import label_clip
    from offline.labels.auto.online import track_clip
    from offline.labels.auto.parameters import PUBLISHED, read_parameters

    if online and everything:
        raise InputError("the causal tracker has no doubtful tracks", "--everything")
    names = sequence or sequences_of(detections)
    if not names:
        raise InputError("no .txt file", str(detections))
    by_class = read_parameters(parameters or PUBLISHED)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, name in enumerate(names, start=1):
        clip = read_clip(detection_files(detections, name), calib / f"{name}.txt")
        if online:
            boxes = track_clip(clip, by_class)
        else:
            boxes = label_clip(clip, by_class, everything).boxes
        (out / f"{name}.txt").write_text(result_text(boxes), encoding="utf-8")
        progress_line(f"{number} of {len(names)}: {name}")
        tracks = len(set(boxes.track_id.tolist()))
        rows.append((name, clip.frames, tracks, len(boxes)))
    if as_json:
        columns = ("sequence", "frames", "tracks", "boxes")
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    for name, frames, tracks, boxes_told in rows:
        typer.echo(f"{name}: {tracks} tracks, {boxes_told} boxes in {frames} frames")
