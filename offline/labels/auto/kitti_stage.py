"""The auto-labeller over KITTI's sequences as a stage: each sequence is a clip.

The product is `RESULT`, KITTI's result file with scores, and `OPENLABEL` beside it where it is
asked for, which tells how each box came about; the figures are how many `frames`,
`tracks` and `boxes` it tells, and how many of the frames had `sweeps`, where points were given.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.ids import sha256_hex
from offline.executor.ports import Product, Request
from offline.labels.auto.clip import PROVENANCES
from offline.labels.auto.kitti_clips import detection_files, read_clip, result_text
from offline.labels.auto.offline import label_clip
from offline.labels.auto.online import track_clip
from offline.labels.auto.openlabel import openlabel_bytes
from offline.labels.auto.parameters import parameters_digest, read_parameters
from offline.labels.calibration.calibrator import read_calibrator
from offline.labels.points.sweep import files_of
from offline.runs.stage import ClipInputs, Stage

RESULT, OPENLABEL = "labels.txt", "labels.openlabel.json"
STAGE = Stage("auto-label", 2, "offline.labels.auto.kitti_stage:label_sequence")


class Settings(Frozen):
    """The stage's configuration. `online`: causal; `everything`: also doubtful tracks;
    `openlabel`: also as OpenLABEL.
    """

    online: bool = False
    everything: bool = False
    openlabel: bool = False


class Files(Frozen):
    """The paths of one sequence's files, as `sequence_inputs` names them."""

    detections: tuple[Path, ...] = Field(min_length=1)
    calibration: tuple[Path]
    parameters: tuple[Path]
    calibrator: tuple[Path]
    points: tuple[Path, ...] = ()


def sequence_inputs(
    sequence: str, detections: Path, calibrations: Path, parameters: Path, calibrator: Path,
    points: Path | None = None,
) -> ClipInputs:  # fmt: skip
    """What one sequence is labelled from: folders of detections, calibrations and, if any, of
    sweeps (as `points.sweep.files_of`), and the files of parameters and of what tells scores.
    Raises `InputError` when it has no detections, or no sweeps in a folder that was given.
    """
    files = {
        "detections": detection_files(detections, sequence),
        "calibration": [calibrations / f"{sequence}.txt"],
        "parameters": [parameters],
        "calibrator": [calibrator],
    }
    if points is not None:
        files["points"] = list(files_of(points, sequence).values())
    return ClipInputs(sequence, files)


def label_sequence(request: Request) -> Product:
    """The stage's work. Raises `InputError` with `file:line`."""
    settings = Settings.model_validate(request["configuration"])
    files = Files.model_validate(request["files"])
    if settings.online and settings.everything:
        raise InputError("the causal tracker has no doubtful tracks", "everything")
    if settings.online and files.points:
        raise InputError("the causal tracker takes no points", "points")
    by_class = read_parameters(files.parameters[0])
    clip = read_clip(files.detections, files.calibration[0], files.points)
    calibrator = read_calibrator(files.calibrator[0])
    if settings.online:
        boxes = track_clip(clip, by_class)
        how = ["tracked"] * len(boxes)
    else:
        labels = label_clip(clip, by_class, settings.everything, calibrator)
        boxes, how = labels.boxes, [PROVENANCES[kind] for kind in labels.provenance.tolist()]
    tracks = len(set(boxes.track_id.tolist()))
    figures = {"frames": clip.frames, "tracks": tracks, "boxes": len(boxes)}
    if files.points:
        figures["sweeps"] = sum(int(path.stem) < clip.frames for path in files.points)
    told = {RESULT: result_text(boxes).encode()}
    if settings.openlabel:
        made_of = parameters_digest(by_class) + calibrator.digest
        told[OPENLABEL] = openlabel_bytes(
            str(request["clip"]), clip.frames, boxes, how, sha256_hex(made_of.encode())
        )
    return Product(told, figures)
