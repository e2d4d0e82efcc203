"""A study's clips on disk: labelled drives as cells of a frozen student, one file each.

What is there is left; so a run that was stopped goes on with the next drive. A drive is cut into
clips of a few labelled frames each, as a vehicle sends moments and not drives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Int64s
from contracts.ids import sha256_hex
from offline.acquisition.study.ports import StudyPool

if TYPE_CHECKING:
    from models.student.cells import CellFrames
    from models.student.network import Student

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips by name and drive, their `frames` one after the other, and `clip_of_frame` int64
    [frames], rising; `digest` over all of it.
    """

    names: tuple[str, ...]
    drives: tuple[str, ...]
    frames: CellFrames
    clip_of_frame: Int64s
    digest: str

    def rows_of(self, clips: Sequence[int]) -> Int64s:
        """Frames of some clips, rising."""
        return np.flatnonzero(np.isin(self.clip_of_frame, clips))


def make_cells(
    student: Student, drives: Sequence[Path], out: Path,
    progress: Progress = lambda done, of: None,
) -> None:  # fmt: skip
    """Write the cells of every drive that are not there yet. The student is only read."""
    from models.data.frames import load_frames
    from models.student.cells import cells_of, write_cells

    out.mkdir(parents=True, exist_ok=True)
    for number, drive in enumerate(drives, start=1):
        path = out / f"{drive.name}.npz"
        if not path.exists():
            write_cells(path, cells_of(student, load_frames([drive], student.config)))
        progress(number, len(drives))


def read_clips(folder: Path, frames_a_clip: int, every: int = 1) -> Clips:
    """All clips of a folder, in the order of their names; of each drive's frames every so many.

    Raises `InputError` for an empty folder.
    """
    from models.student.cells import joined_cells, read_cells

    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise InputError("no cells of any drive", str(folder))
    parts = [read_cells(path).taken(every) for path in paths]
    names, drives, clip_of_frame = [], [], []
    for path, part in zip(paths, parts, strict=True):
        for frame in range(len(part)):
            if frame % frames_a_clip == 0:
                names.append(f"{path.stem}.{frame // frames_a_clip}")
                drives.append(path.stem)
            clip_of_frame.append(len(names) - 1)
    told = f"{frames_a_clip} {every} {[sha256_hex(path.read_bytes()) for path in paths]}"
    return Clips(
        tuple(names), tuple(drives), joined_cells(parts), np.array(clip_of_frame, np.int64),
        sha256_hex(told.encode()),
    )  # fmt: skip


def pool_of(clips: Clips) -> StudyPool:
    """Clips as a pool: embeddings are means over frames, boxes those that somebody can judge."""
    frames, n = clips.frames, len(clips.names)
    counts = np.bincount(clips.clip_of_frame, minlength=n)
    embeddings = np.zeros((n, frames.embedding.shape[1]))
    np.add.at(embeddings, clips.clip_of_frame, frames.embedding)
    judged = ~frames.truth_ignored
    clip_of_box = clips.clip_of_frame[frames.truth_frame[judged]]
    kinds = [TAXONOMY.index(name) for name in TAXONOMY.rare_names]
    shown = np.zeros((n, len(TAXONOMY.classes)), dtype=np.bool_)
    shown[clip_of_box, frames.truth_class[judged]] = True
    first = np.searchsorted(clips.clip_of_frame, np.arange(n))
    last = np.searchsorted(clips.clip_of_frame, np.arange(n), side="right") - 1
    return StudyPool(
        clip_ids=tuple(sha256_hex(name.encode()) for name in clips.names),
        drive_ids=clips.drives,
        start_ns=frames.mono_ns[first], end_ns=frames.mono_ns[last],
        embeddings=(embeddings / counts[:, None]).astype(np.float32),
        frames=counts.astype(np.int64), boxes=np.bincount(clip_of_box, minlength=n),
        rare=shown[:, kinds],
    )  # fmt: skip
