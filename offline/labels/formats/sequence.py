"""The labelled frames of one drive: what formats read and write, and its folder.

DRIVE/clip.mcap              the recording
DRIVE/labels/<mono_ns>.npz   a label file a frame (`contracts.labels`)
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from contracts.errors import InputError
from contracts.geometry import Taxonomy, taxonomy_of
from contracts.labels import FrameLabels, labels_bytes, read_labels

CLIP_FILE, LABEL_FOLDER = "clip.mcap", "labels"


@dataclass(frozen=True, slots=True)
class LabelSequence:
    """Frames in the order of time, of one drive and one taxonomy; a track is in a frame once."""

    frames: tuple[FrameLabels, ...]

    def __post_init__(self) -> None:
        if not self.frames:
            raise InputError("no frame is labelled")
        first = self.frames[0].record
        for number, frame in enumerate(self.frames):
            record = frame.record
            if record.drive_id != first.drive_id:
                raise InputError(f"is of drive {record.drive_id!r}, the first of "
                                 f"{first.drive_id!r}", f"frame {number}")  # fmt: skip
            if record.taxonomy_version != first.taxonomy_version:
                raise InputError("the taxonomy changes within the drive", f"frame {number}")
            tracks = Counter(b.box.track_id for b in record.boxes if b.box.track_id is not None)
            for track, times in tracks.items():
                if times > 1:
                    raise InputError(f"track {track} is there {times} times", f"frame {number}")
        for number, (before, after) in enumerate(pairwise(self.frames), start=1):
            if after.record.mono_ns <= before.record.mono_ns:
                raise InputError("does not come after the frame before it", f"frame {number}")

    @property
    def drive_id(self) -> str:
        return self.frames[0].record.drive_id

    @property
    def taxonomy(self) -> Taxonomy:
        return taxonomy_of(self.frames[0].record.taxonomy_version)

    def instants(self) -> tuple[int, ...]:
        """`mono_ns` of the frames."""
        return tuple(frame.record.mono_ns for frame in self.frames)


def in_order(frames: Iterable[FrameLabels]) -> LabelSequence:
    """Frames of one drive in any order."""
    return LabelSequence(tuple(sorted(frames, key=lambda frame: frame.record.mono_ns)))


def read_sequence(drive: Path) -> LabelSequence:
    """All label files of a drive's folder. Raises `InputError` when there is none."""
    paths = sorted((drive / LABEL_FOLDER).glob("*.npz"))
    if not paths:
        raise InputError(f"no label file in {LABEL_FOLDER}/", str(drive))
    try:
        return in_order(read_labels(path) for path in paths)
    except InputError as error:
        raise InputError(error.message, error.place or str(drive)) from None


def write_sequence(sequence: LabelSequence, drive: Path) -> None:
    """Write `labels/` of a drive's folder as a whole.

    Raises `InputError` when there are labels already: labels are never replaced in silence.
    """
    folder = drive / LABEL_FOLDER
    if folder.exists():
        raise InputError("there are labels already", str(folder))
    partial = drive / f".{LABEL_FOLDER}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for frame in sequence.frames:
        (partial / f"{frame.record.mono_ns}.npz").write_bytes(labels_bytes(frame))
    partial.rename(folder)


@dataclass(slots=True)
class LeftOut:
    """What a writer could not put into its format: how often, by what it is."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, times: int = 1) -> None:
        if times:
            self.counts[what] += times

    def sentences(self) -> list[str]:
        """One line each, for people."""
        return [f"{times} × {what}" for what, times in sorted(self.counts.items())]
