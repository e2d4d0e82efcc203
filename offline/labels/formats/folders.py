"""Labelled drives to a folder in another format, and from there back into folders of drives.

| format       | what lies in the folder                                                  |
|--------------|--------------------------------------------------------------------------|
| openlabel    | `DRIVE.json` each                                                        |
| coco         | `annotations.json`, `images/`                                            |
| kitti        | `label_02/`, `calib/`, `drives.json`                                     |
| nuscenes     | `v1.0-longtail/` (tables), `samples/`, `sweeps/`, `maps/`                 |
| fiftyone     | `metadata.json`, `samples.json`, `data/` (type `FiftyOneDataset`)         |
| label-studio | `tasks.json`, `config.xml`, `images/`; what comes back is its JSON export |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from contracts.errors import InputError
from contracts.geometry import TAXONOMY
from contracts.ids import parse_name
from contracts.labels import Provenance
from contracts.samples import CalibrationSample
from offline.labels.formats.cameras import Picture, read_cameras, read_pictures
from offline.labels.formats.coco import FlatBox, Pictured, PicturedDrive, coco_document, read_coco
from offline.labels.formats.fiftyone.reader import read_fiftyone
from offline.labels.formats.fiftyone.writer import write_fiftyone
from offline.labels.formats.files import write_json, write_whole
from offline.labels.formats.kitti_tracking import read_kitti, write_kitti
from offline.labels.formats.label_studio import drive_tasks, label_config
from offline.labels.formats.label_studio_edits import edited
from offline.labels.formats.label_studio_reader import read_answers
from offline.labels.formats.nuscenes.reader import read_nuscenes
from offline.labels.formats.nuscenes.writer import KEYFRAME_HZ, write_nuscenes
from offline.labels.formats.openlabel import openlabel_document
from offline.labels.formats.openlabel_reader import read_openlabel
from offline.labels.formats.sequence import (
    CLIP_FILE,
    LABEL_FOLDER,
    LabelSequence,
    LeftOut,
    read_sequence,
    write_sequence,
)

Format = Literal["openlabel", "coco", "kitti", "label-studio", "nuscenes", "fiftyone"]
FORMATS: tuple[Format, ...] = get_args(Format)
TASKS, CONFIG, ANNOTATIONS, IMAGES = "tasks.json", "config.xml", "annotations.json", "images"


@dataclass(slots=True)
class Exported:
    """What was written, and what the format could not take."""

    drives: int = 0
    frames: int = 0
    pictures: int = 0
    sweeps: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(slots=True)
class Imported:
    """What was read: labels by drive, and what came back that makes no label."""

    sequences: list[LabelSequence] = field(default_factory=list)
    flat: list[FlatBox] = field(default_factory=list)
    adjust: int = 0
    unanswered: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


def labelled_drives(roots: Sequence[Path]) -> list[Path]:
    """Folders with labels under some folders; one may be such a folder itself."""
    found: list[Path] = []
    for root in roots:
        here = sorted({path.parent.parent for path in root.glob(f"**/{LABEL_FOLDER}/*.npz")})
        if not here:
            raise InputError(f"no {LABEL_FOLDER}/*.npz anywhere below", str(root))
        found += [folder for folder in here if not folder.name.startswith(".")]
    return found


def export_drives(
    form: Format, folders: Sequence[Path], out: Path, camera: str | None = None,
    image_prefix: str = "", keyframe_hz: float = KEYFRAME_HZ,
) -> Exported:  # fmt: skip
    """Write drives into the folder `out`, which is made.

    Args:
        camera: of KITTI, the channel in whose axes boxes go; level axes when None.
        image_prefix: of Label Studio, what its picture addresses begin with.
        keyframe_hz: of nuScenes, how many keyframes a second; 0 takes all labelled instants.
    """
    done = Exported()
    out.mkdir(parents=True, exist_ok=True)
    sequences = [read_sequence(folder) for folder in folders]
    _check_drives(sequences)
    done.drives, done.frames = len(sequences), sum(len(one.frames) for one in sequences)
    if form == "openlabel":
        for folder, sequence in zip(folders, sequences, strict=True):
            clip = folder / CLIP_FILE
            cameras = read_cameras(clip) if clip.is_file() else None
            path = out / f"{parse_name(sequence.drive_id, str(folder))}.json"
            write_json(path, openlabel_document(sequence, cameras))
    elif form == "kitti":
        cameras_of = [
            None if camera is None else _camera(folder / CLIP_FILE, camera) for folder in folders
        ]
        done.left_out = write_kitti(list(zip(sequences, cameras_of, strict=True)), out)
    elif form == "nuscenes":
        wrote = write_nuscenes(list(zip(folders, sequences, strict=True)), out, keyframe_hz)
        done.frames, done.pictures, done.sweeps = wrote.frames, wrote.pictures, wrote.sweeps
        done.left_out = wrote.left_out
    elif form == "fiftyone":
        made = write_fiftyone(list(zip(folders, sequences, strict=True)), out)
        done.pictures, done.sweeps, done.left_out = made.pictures, made.sweeps, made.left_out
    else:
        drives = []
        for folder, sequence in zip(folders, sequences, strict=True):
            pictures = write_pictures(folder / CLIP_FILE, sequence, out / IMAGES)
            without = len(sequence.frames) - len({one.instant_ns for one in pictures})
            done.left_out.add("frame without any picture", without)
            done.pictures += len(pictures)
            drives.append(PicturedDrive(sequence, read_cameras(folder / CLIP_FILE), pictures))
        if form == "coco":
            write_json(out / ANNOTATIONS, coco_document(drives))
        else:
            write_json(out / TASKS, drive_tasks(drives, image_prefix))
            write_whole(out / CONFIG, label_config(drives[0].sequence.taxonomy).encode())
    return done


def _check_drives(sequences: Sequence[LabelSequence]) -> None:
    names = [sequence.drive_id for sequence in sequences]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two folders hold drive {twice[0]!r}")


def _camera(clip: Path, channel: str) -> CalibrationSample:
    cameras = read_cameras(clip)
    if channel not in cameras:
        raise InputError(
            f"no camera {channel!r}; there are {', '.join(sorted(cameras))}", str(clip)
        )
    return cameras[channel]


def write_pictures(clip: Path, sequence: LabelSequence, folder: Path) -> list[Pictured]:
    """Extract the pictures of all labelled instants, one at a time in memory."""
    return [
        write_picture(one, sequence.drive_id, folder)
        for one in read_pictures(clip, sequence.instants())
    ]


def write_picture(picture: Picture, drive_id: str, folder: Path) -> Pictured:
    """A picture's file under a folder, as it is in the clip."""
    name = picture.file_name(parse_name(drive_id))
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture.content)
    return Pictured(picture.channel, picture.instant_ns, name)


def import_labels(
    form: Format, source: Path, said_by: Provenance | None, base: Sequence[Path] = ()
) -> Imported:
    """What a file or folder of a format holds.

    Args:
        said_by: who is named for what the format does not say.
        base: of Label Studio, the drives whose labels were exported.
    """
    if form == "openlabel":
        paths = sorted(source.glob("*.json")) if source.is_dir() else [source]
        if not paths:
            raise InputError("no .json file", str(source))
        return Imported([read_openlabel(path, said_by) for path in paths])
    if form == "coco":
        found = read_coco(source / ANNOTATIONS if source.is_dir() else source, said_by)
        return Imported(list(found.sequences), list(found.flat))
    if form == "kitti":
        if said_by is None:
            raise InputError("KITTI's files do not say who made them: name them", "--made-by")
        sequences, left_out = read_kitti(source, said_by)
        return Imported(sequences, left_out=left_out)
    if form == "nuscenes":
        sequences, left_out = read_nuscenes(source, said_by)
        return Imported(sequences, left_out=left_out)
    if form == "fiftyone":
        told = read_fiftyone(source, said_by)
        return Imported(told.sequences, told.flat, left_out=told.left_out)
    if not base:
        raise InputError("name the drives whose labels were exported", "--drives")
    path = source / TASKS if source.is_dir() else source
    labels = [read_sequence(folder) for folder in labelled_drives(base)]
    done = edited(labels, read_answers(path, TAXONOMY.names))
    return Imported(done.sequences, done.missed, len(done.adjust), done.unanswered)


def write_drives(imported: Imported, out: Path) -> list[Path]:
    """The labels into `OUT/DRIVE/labels/`; the folders. Raises `InputError` where some are."""
    _check_drives(imported.sequences)
    folders = [out / parse_name(one.drive_id) for one in imported.sequences]
    for folder in folders:
        if (folder / LABEL_FOLDER).exists():
            raise InputError("there are labels already", str(folder / LABEL_FOLDER))
    for folder, sequence in zip(folders, imported.sequences, strict=True):
        write_sequence(sequence, folder)
    return folders
