"""The clip labeller as a stage: each drive is a clip, its product a label file an instant.

Files are `<mono_ns>.npz` (`contracts.labels`); the figures are how many `instants` are labelled,
how many `tracks` and `boxes` are taught, and how many boxes are `ignored`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, JsonValue

from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.labels import FrameLabels, labels_bytes
from kernels.clip.reader import read_manifest
from offline.executor.ports import Product, Request
from offline.labels.clips.labelling import Labeller, labels_of
from offline.labels.clips.parameters import TEACHER, calibration_file, read_clip_parameters
from offline.labels.clips.seen import see_clip
from offline.labels.clips.sweeps import read_sweeps
from offline.runs.stage import ClipInputs, Stage

STAGE = Stage("label-clip", 1, "offline.labels.clips.stage:label_drive")
CLIP_FILE, RUN_FILE, WEIGHTS_FILE = "clip.mcap", "run.json", "weights.pt"
SUFFIX = ".npz"


class Settings(Frozen):
    """The stage's configuration. `bf16`: run the teacher in low precision on machines that have
    it, faster then; `points`: fit boxes to the lidar's points; `members`: ask only so many of the
    teacher's, its first ones, which is as much faster and a little worse, None: all; `mirror`:
    show it each instant mirrored too, at twice the cost.
    """

    bf16: bool = False
    points: bool = True
    members: int | None = Field(None, ge=1)
    mirror: bool = True

    def told(self) -> dict[str, JsonValue]:
        """As it settles the work; what was labelled before a choice was there is that still."""
        told = self.model_dump(mode="json", exclude_none=True)
        return {name: value for name, value in told.items() if name != "mirror" or not value}


class Files(Frozen):
    """The paths of one drive's files, as `drive_inputs` names them."""

    clip: tuple[Path]
    teacher: tuple[Path, Path]
    parameters: tuple[Path, Path]


def clips_under(paths: Iterable[Path]) -> list[Path]:
    """The clips that some paths mean: files, drives' folders, and folders of either; each once.

    Raises `InputError` for a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        here = [path] if path.is_file() else sorted(path.rglob("*.mcap"))
        here = [clip for clip in here if not clip.name.startswith(".")]
        if not here:
            raise InputError("no clip: no *.mcap anywhere below", str(path))
        found += here
    return list(dict.fromkeys(found))


def drive_inputs(drive: Path, teacher: Path, parameters: Path = TEACHER) -> ClipInputs:
    """What one drive is labelled from: its folder or its clip's file, the folder of the teacher's
    training run, and the file of parameters. Raises `InputError` where there is no clip.
    """
    clip = drive / CLIP_FILE if drive.is_dir() else drive
    if not clip.is_file():
        raise InputError(f"no clip: neither an MCAP file nor a folder with {CLIP_FILE}", str(drive))
    name = clip.parent.resolve().name if clip.name == CLIP_FILE else clip.stem
    return ClipInputs(name, {
        "clip": [clip], "teacher": [teacher / RUN_FILE, teacher / WEIGHTS_FILE],
        "parameters": [parameters, calibration_file(parameters)],
    })  # fmt: skip


def label_drive(request: Request) -> Product:
    """The stage's work. Raises `InputError` for a clip of which nothing can be labelled."""
    from models.runs import load_teacher
    from models.teacher.network import of_first
    from models.teacher.predict import TeacherView

    settings = Settings.model_validate(request["configuration"])
    files = Files.model_validate(request["files"])
    clip, folder = files.clip[0], files.teacher[0].parent
    network, run = load_teacher(folder)
    if settings.members is not None:
        network = of_first(network, settings.members)
    parameters, calibrator = read_clip_parameters(files.parameters[0])
    labeller = Labeller(folder.resolve().name, run.weights, parameters, calibrator)
    view = TeacherView(network, mirror=settings.mirror, bf16=settings.bf16)
    seen = see_clip(clip, view, parameters.seen_from)
    sweeps = read_sweeps(clip, seen.mono_ns) if settings.points else None
    manifest = read_manifest(clip)
    labels = labels_of(
        seen, sweeps, manifest.drive_id, manifest.summary.tags(), network.config.taxonomy, labeller
    )
    return Product(
        {f"{one.record.mono_ns}{SUFFIX}": labels_bytes(one) for one in labels}, _figures(labels)
    )


def _figures(labels: list[FrameLabels]) -> dict[str, int]:
    every = [box for one in labels for box in one.record.boxes]
    taught = [box for box in every if not box.ignored]
    return {
        "instants": len(labels), "tracks": len({box.box.track_id for box in taught}),
        "boxes": len(taught), "ignored": len(every) - len(taught),
    }  # fmt: skip
