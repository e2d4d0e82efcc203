"""Evidence over folders of labelled drives: two models on the same frames."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.ids import sha256_hex
from kernels.clip.reader import read_manifest
from models.data.drives import CLIP_FILE, LABEL_FOLDER, LabelledFrame, drive_digest, drive_folders
from models.evaluation.comparison import compare
from models.evaluation.document import FrameSet
from models.evaluation.evaluate import Subject, measure
from models.evaluation.statistics import Measured
from models.student.config import StudentConfig
from offline.gates.evidence import ComparisonEvidence
from offline.gates.model_file import ModelFile

ANY_DRIVE = "*"
Progress = Callable[[int, int], None]
Wanted = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class DriveSet:
    """Labelled drives under one name; `inclusion` is the probability of each folder's draw, None
    where the drives are all that there is to speak of.
    """

    name: str
    folders: tuple[Path, ...]
    inclusion: Mapping[Path, float] | None = None


@dataclass(slots=True)
class _Frames:
    """The frames of some folders, a drive in memory at a time; `folders` grows by one a frame."""

    drives: Sequence[Path]
    config: StudentConfig
    progress: Progress
    folders: list[Path] = field(default_factory=list)

    def __iter__(self) -> Iterator[LabelledFrame]:
        from models.data.frames import load_frames

        for number, folder in enumerate(self.drives, start=1):
            if any((folder / LABEL_FOLDER).glob("*.npz")):
                for each in load_frames([folder], self.config):
                    self.folders.append(folder)
                    yield each
            self.progress(number, len(self.drives))


@dataclass(frozen=True, slots=True)
class BothMeasured:
    """What two models answered on the same frames: `data` tells of these, `folders` from which
    drive each frame is.
    """

    data: FrameSet
    candidate: Measured
    reference: Measured
    folders: tuple[Path, ...]


def both_measured(
    candidate: ModelFile, reference: ModelFile, drives: DriveSet,
    progress: Progress = lambda done, of: None,
) -> BothMeasured:  # fmt: skip
    """Both models on all frames of a set.

    A pass for both together where their frames are made alike, else a pass for each. Raises
    `InputError` when there is no labelled frame.
    """
    models = (candidate, reference)
    digest = sha256_hex("\n".join(sorted(map(drive_digest, drives.folders))).encode())

    def measured(some: Sequence[ModelFile]) -> tuple[FrameSet, tuple[Measured, ...], list[Path]]:
        frames = _Frames(drives.folders, some[0].config, progress)
        subjects = [Subject(one.identity, one.predictor) for one in some]
        data, found = measure(subjects, frames, drives.name, digest=digest)
        return data, found, frames.folders

    if candidate.config == reference.config:
        data, (ours, theirs), folders = measured(models)
    else:
        (data, (ours,), folders), (_, (theirs,), _) = (measured([one]) for one in models)
    return BothMeasured(data, ours, theirs, tuple(folders))


def comparison_evidence(
    candidate: ModelFile, reference: ModelFile, drives: DriveSet, measured: BothMeasured,
    wanted: Wanted,
) -> ComparisonEvidence:  # fmt: skip
    """Both models on a set, by what they answered on its frames; `wanted` tells which figures
    are judged.
    """
    inclusion = None
    if drives.inclusion is not None:
        inclusion = np.array([drives.inclusion[folder] for folder in measured.folders])
    return ComparisonEvidence(
        comparison=compare(
            measured.candidate, measured.reference, (candidate.identity, reference.identity),
            measured.data.model_copy(update={"name": drives.name}), wanted=wanted,
            inclusion=inclusion,
        )
    )  # fmt: skip


def hard_drives(roots: Sequence[Path]) -> DriveSet:
    """Drives to measure tails on. Raises `InputError` for a root without any."""
    return DriveSet("tails", tuple(drive_folders(roots)))


def random_drives(roots: Sequence[Path], table: Path | None) -> DriveSet:
    """Drives of the random stream, each with the probability of its draw.

    Args:
        table: JSON `{drive: probability}`, or CSV with the columns `drive` and `probability`; a
            drive is named by its folder, `*` speaks for all that are not named. None: what
            each clip's manifest says.

    Raises `InputError` where a drive has no probability over 0 up to 1.
    """
    folders = tuple(drive_folders(roots))
    told = {} if table is None else read_probabilities(table)
    return DriveSet("random", folders, {each: _probability(each, told) for each in folders})


def _probability(folder: Path, told: Mapping[str, float]) -> float:
    for name in (folder.name, ANY_DRIVE):
        if name in told:
            return told[name]
    probability = read_manifest(folder / CLIP_FILE).inclusion_probability
    if probability is None:
        raise InputError("nobody says with which probability it was drawn", str(folder))
    return probability


def read_probabilities(path: Path) -> dict[str, float]:
    """Probabilities by drive. Raises `InputError`."""
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".csv":
            rows = csv.DictReader(io.StringIO(text))
            found = {row["drive"]: float(row["probability"]) for row in rows}
        else:
            found = {str(name): float(value) for name, value in json.loads(text).items()}
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise InputError(f"tells no probability for each drive: {error}", str(path)) from error
    for name, value in found.items():
        if not 0 < value <= 1:
            raise InputError(f"{value:g} is no probability over 0 up to 1", f"{path}: {name}")
    return found
