"""Datasets as a retraining reads them: frames with what is known of where each comes from.

A dataset is a folder as `offline.datasets.export` writes it, of which the split `train` is read
and the manifest tells weights of label sets and the random stream; or any folder of labelled
drives, of which nothing more is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.datasets import DatasetVersion
from contracts.errors import CorruptError, InputError
from contracts.samples import Float64s
from offline.datasets.export import MANIFEST_FILE
from offline.retrain.mix import Tags

if TYPE_CHECKING:
    from models.data.frames import LabelledFrames
    from models.student.config import StudentConfig

TRAIN = "train"
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset's frames, with tags, `weights` float64 [n] of their label sets, and `inclusion`
    float64 [n]: the probability by which the random stream drew the frame, NaN where it did not.

    `name` is the folder's, `digest` the dataset version's own, or of the drives where there is no
    version.
    """

    name: str
    digest: str
    frames: LabelledFrames
    tags: tuple[Tags, ...]
    weights: Float64s
    inclusion: Float64s

    def __len__(self) -> int:
        return len(self.frames)


def read_source(folder: Path, config: StudentConfig, told: Told = lambda done, of: None) -> Source:
    """A dataset's frames for training.

    Raises `InputError` where there is none, when its manifest and its folders differ, and for a
    random clip that does not tell by which probability it was drawn; `CorruptError` for a
    manifest that is damaged.
    """
    from models.data.drives import drive_folders
    from models.data.frames import load_frames

    manifest = folder / MANIFEST_FILE
    version = _version(manifest) if manifest.is_file() else None
    root = folder if version is None else folder / TRAIN
    drives = drive_folders([root])
    frames = load_frames(drives, config, told)
    tags = tuple(frames.labels(place).record.tags for place in range(len(frames)))
    weights, inclusion = np.ones(len(frames)), np.full(len(frames), np.nan)
    if version is not None:
        known = _by_instant(version, str(manifest))
        for place in range(len(frames)):
            clip = drives[int(frames.drive_of[place])].name
            instant = frames.labels(place).record.mono_ns
            if (clip, instant) not in known:
                raise InputError(f"clip {clip} at {instant} is not in the manifest", str(folder))
            weights[place], inclusion[place] = known[clip, instant]
    digest = frames.digest if version is None else version.digest()
    return Source(folder.resolve().name, digest, frames, tags, weights, inclusion)


def _version(path: Path) -> DatasetVersion:
    from pydantic import ValidationError

    try:
        return DatasetVersion.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise CorruptError(f"this is no dataset version: {reason}", str(path)) from error


def _by_instant(version: DatasetVersion, place: str) -> dict[tuple[str, int], tuple[float, float]]:
    """Weight and inclusion probability of each frame to train on, by clip and instant."""
    weight_of = {each.digest: each.weight for each in version.label_sets}
    found = {}
    for each in version.clips(TRAIN):
        clip, inclusion = each.clip, float("nan")
        if clip.stream == "random":
            if clip.inclusion_probability is None:
                raise InputError(f"random clip {clip.clip_id} tells no probability", place)
            inclusion = clip.inclusion_probability
        for frame in each.frames:
            found[clip.clip_id, frame.mono_ns] = weight_of[frame.label_set], inclusion
    return found
