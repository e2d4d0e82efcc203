"""All labelled frames of some drives, in memory.

What a drive's clip gives for one configuration is kept beside it, under `.frames/`, by the digest
of clip, labels and configuration: the second run reads arrays instead of decoding a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.ids import sha256_hex
from contracts.labels import FrameLabels
from models.data.drives import LabelledFrame, drive_digest, drive_folders, read_drive
from models.data.packed import PackedDrive, packed, read_packed, write_packed
from models.student.config import StudentConfig
from models.student.inputs import StudentFrame
from models.student.targets import FrameTargets, targets_of

CACHE_FOLDER = ".frames"
Progress = Callable[[int, int], None]
"""Called after each drive: how many are read, of how many."""


class LabelledFrames(Sequence[LabelledFrame]):
    """Frames of whole drives, in the order of drives and of time.

    `digest` names clips and labels: the same data give the same digest, wherever they lie.
    `drive_of` int64 [n] is each frame's drive by its place in `drives`.
    """

    def __init__(self, drives: Sequence[PackedDrive], digest: str) -> None:
        self._drives = [drive for drive in drives if len(drive)]
        self.digest = digest
        sizes = [len(drive) for drive in self._drives]
        self.drive_of = np.repeat(np.arange(len(sizes)), sizes)
        self._row_of = np.concatenate([np.arange(size) for size in sizes] or [np.zeros(0, int)])

    def __len__(self) -> int:
        return int(self._row_of.size)

    def __getitem__(self, place: int) -> LabelledFrame:  # type: ignore[override]
        return LabelledFrame(self.frame(place), self.labels(place))

    def __iter__(self) -> Iterator[LabelledFrame]:
        return (self[place] for place in range(len(self)))

    def frame(self, place: int) -> StudentFrame:
        return self._drives[int(self.drive_of[place])].frame(int(self._row_of[place]))

    def labels(self, place: int) -> FrameLabels:
        return self._drives[int(self.drive_of[place])].labels[int(self._row_of[place])]

    def targets(self, config: StudentConfig) -> list[FrameTargets]:
        """What each frame shows, as a network of that configuration is told it."""
        return [targets_of(config, self.labels(place)) for place in range(len(self))]


def load_frames(
    roots: Sequence[Path], config: StudentConfig,
    progress: Progress = lambda done, of: None,
) -> LabelledFrames:  # fmt: skip
    """All frames of the drives under the roots.

    Raises `InputError` where there is no drive, or none with a label; see `drives.read_drive`.
    """
    folders = drive_folders(roots)
    shape = sha256_hex(config.model_dump_json().encode())
    drives, digests = [], []
    for number, folder in enumerate(folders, start=1):
        digests.append(drive_digest(folder))
        drive = _drive(folder, config, sha256_hex((shape + digests[-1]).encode())[:24])
        if drive is not None:
            drives.append(drive)
        progress(number, len(folders))
    if not drives:
        raise InputError("no drive there has a label", ", ".join(str(root) for root in roots))
    return LabelledFrames(drives, sha256_hex("\n".join(sorted(digests)).encode()))


def _drive(folder: Path, config: StudentConfig, key: str) -> PackedDrive | None:
    path = folder / CACHE_FOLDER / f"{key}.npz"
    if path.exists():
        return read_packed(path)
    frames = list(read_drive(folder, config))
    if not frames:
        return None
    drive = packed(frames)
    path.parent.mkdir(exist_ok=True)
    write_packed(path, drive)
    return drive
