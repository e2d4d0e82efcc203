"""The digest by which a training run, and the manifest of its model, names its data.

`models.data.frames` makes it of the folders that it is given; here it is told of a dataset
version, so that a model leads to the version that it was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from contracts.datasets import DatasetClip, DatasetVersion
from contracts.ids import sha256_hex
from offline.datasets.label_sets import CLIP_FILE

EVERYTHING = "*"


def training_digests(version: DatasetVersion) -> dict[str, str]:
    """Of each split, and of all of them as `EVERYTHING`, when exported."""
    names = [name for name, _ in version.rule.parts]
    found = {name: training_digest(version.clips(name)) for name in names}
    return {**found, EVERYTHING: training_digest(version.clips())}


def training_digest(clips: Iterable[DatasetClip]) -> str:
    """As `models.data.frames.load_frames` tells it of the clips that have frames."""
    drives = sorted(_drive_digest(clip) for clip in clips if clip.frames)
    return sha256_hex("\n".join(drives).encode())


def label_name(mono_ns: int) -> str:
    """A label file's name in a drive's folder."""
    return f"{mono_ns}.npz"


def _drive_digest(clip: DatasetClip) -> str:
    """As `models.data.drives.drive_digest`."""
    labels = sorted((label_name(frame.mono_ns), frame.labels) for frame in clip.frames)
    digest = hashlib.sha256()
    for name, content in [(CLIP_FILE, clip.clip.content), *labels]:
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()
