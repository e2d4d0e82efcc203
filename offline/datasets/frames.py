"""A split of a dataset version as frames, one at a time: what a PyTorch `DataLoader` takes.

    frames = version_frames(version, store, "train", config, Path("cache"))
    loader = DataLoader(Examples(frames, config), batch_size=8, shuffle=True, collate_fn=...)

`LabelledFrames` and `models.data.examples.Examples` have `__len__` and `__getitem__`, all that a
map-style dataset needs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.datasets import DatasetVersion
from contracts.errors import CorruptError, InputError
from models.data.frames import LabelledFrames, load_frames
from models.student.config import StudentConfig
from offline.datasets.export import export
from offline.datasets.store import DatasetStore
from offline.datasets.training import training_digests


def version_frames(
    version: DatasetVersion, store: DatasetStore, split: str, config: StudentConfig,
    folder: Path, progress: Callable[[int, int], None] = lambda done, of: None,
) -> LabelledFrames:  # fmt: skip
    """The labelled frames of a split, in the order of clips and of time.

    Args:
        folder: keeps the version's export, made when it is not there, and the decoded frames.
        progress: called after each clip that is read: how many, of how many.

    Raises `InputError` for a split that the version has not got, or one without a label;
    `CorruptError` when the frames are not those of the version; else as `export`.
    """
    digests = training_digests(version)
    if split not in {name for name, _ in version.rule.parts}:
        names = ", ".join(name for name, _ in version.rule.parts)
        raise InputError(f"has no split {split!r}, but {names}", "split")
    out = folder / version.digest()
    folder.mkdir(parents=True, exist_ok=True)
    export(version, store, out)
    frames = load_frames([out / split], config, progress)
    if frames.digest != digests[split]:
        raise CorruptError("these are not the version's frames", str(out / split))
    return frames
