"""Labelled drives by the name of their folder, which is the name of their clip in review tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_ingest.stores.files import disk_errors
from contracts.errors import InputError
from contracts.ids import parse_name, sha256_hex
from contracts.labels import FrameLabels, LabelledBox, Provenance, labels_bytes
from offline.datasets.export import place_file
from offline.labels.formats.folders import labelled_drives
from offline.labels.formats.sequence import (
    CLIP_FILE,
    LABEL_FOLDER,
    LabelSequence,
    read_sequence,
)
from offline.runs.files import write_durably


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive's folder and its labels; frame n of a task is the n-th of them."""

    name: str
    folder: Path
    labels: LabelSequence

    def digest(self) -> str:
        """Of all labels."""
        return sha256_hex(b"".join(labels_bytes(frame) for frame in self.labels.frames))


def read_drives(roots: Sequence[Path]) -> dict[str, Drive]:
    """All labelled drives below some folders, by name.

    Raises `InputError` where there is none, or two of a name.
    """
    found: dict[str, Drive] = {}
    for folder in labelled_drives(roots):
        name = parse_name(folder.resolve().name, str(folder))
        if name in found:
            raise InputError(f"two drives are called {name!r}: {found[name].folder}", str(folder))
        found[name] = Drive(name, folder, read_sequence(folder))
    return found


def said_by(labelled: LabelledBox, frame: FrameLabels) -> Provenance:
    """Who said a box: the frame's word where the box has none of its own."""
    return labelled.provenance or frame.record.provenance


def write_drive(drive: Drive, frames: Iterable[FrameLabels], out: Path) -> int:
    """Write labels to OUT/NAME/labels with the drive's recording, if it has one, linked beside.

    Files that hold the same are left alone. Returns how many were written.

    Raises `InputError` when label files of other instants are there.
    """
    folder = out / drive.name
    contents = {f"{one.record.mono_ns}.npz": labels_bytes(one) for one in frames}
    labels = folder / LABEL_FOLDER
    foreign = {path.name for path in labels.glob("*.npz")} - set(contents)
    if foreign:
        raise InputError(f"holds labels of another drive: {min(foreign)}", str(labels))
    written = 0
    for name, content in contents.items():
        path = labels / name
        if not path.is_file() or path.read_bytes() != content:
            write_durably(path, content)
            written += 1
    source, beside = drive.folder / CLIP_FILE, folder / CLIP_FILE
    if source.is_file() and not beside.exists():
        with disk_errors(str(beside)):
            partial = beside.with_name(f".{CLIP_FILE}")
            partial.unlink(missing_ok=True)
            place_file(source, partial)
            partial.replace(beside)
    return written
