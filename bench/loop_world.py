"""What the loop's turns are measured in: drives on disk, the pool cut into clips, old frames.

Drives are made once, by their recipes, and read one at a time: all of them together would not
fit beside a training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.canonical import canonical_digest
from contracts.ids import sha256_hex
from contracts.samples import Float32s
from sim_fleet.dataset import shows_rare

if TYPE_CHECKING:
    from models.data.drives import LabelledFrame
    from models.data.frames import LabelledFrames
    from models.student.config import StudentConfig
    from models.student.network import Student

HERE = Path(__file__).parent
ZOO = HERE.parent / "models" / "zoo"
OLD, OLD_TEST, CALIBRATE = "day-train", "old-test", "day-calibrate"
POOL, TARGET_TEST = "pool", "target-test"
SETS = {
    OLD: ZOO / "data", OLD_TEST: HERE / "loop_data", CALIBRATE: ZOO / "data",
    POOL: HERE / "loop_data", TARGET_TEST: HERE / "loop_data",
}  # fmt: skip
EVERY_DRIVE = {OLD: 2}
"""Of a set's drives every so many are used: half of what the student was trained on is kept."""
EVERY_FRAME = {OLD_TEST: 2, CALIBRATE: 2}
"""And of their frames, where more would take long and tell little."""
FRAMES_A_CLIP = 4
_HELD_DRIVES = 6

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PoolClip:
    """Some neighbouring labelled instants of a drive, as a vehicle sends a moment and not a drive.

    `target` tells whether it shows a rare class, as all that is new here does: for the account
    alone, nothing chooses by it.
    """

    clip_id: str
    drive: Path
    rows: tuple[int, ...]
    start_ns: int
    end_ns: int
    target: bool


class LoopData:
    """All sets, under one folder; what is not there yet is driven."""

    def __init__(self, folder: Path, config: StudentConfig, say: Say) -> None:
        self.folder, self.config, self._say = folder, config, say
        self._made: dict[str, list[Path]] = {}
        self._read = lru_cache(maxsize=_HELD_DRIVES)(self._loaded)

    def made(self) -> None:
        """Drive, as far as that is not done yet."""
        from sim_fleet.dataset import read_dataset_spec, write_dataset

        for name, recipes in SETS.items():
            spec = read_dataset_spec(recipes / f"{name}.yaml")
            self._made[name] = write_dataset(
                spec, self.folder / name, partial(self._told, name), EVERY_DRIVE.get(name, 1)
            )

    def _told(self, name: str, done: int, of: int, drive: str) -> None:
        self._say(f"{name}: {done} of {of} drives, {drive}")

    def drives(self, name: str) -> list[Path]:
        """Those in use, once `made`, by name; one without a label is left out."""
        from models.data.drives import LABEL_FOLDER

        found = sorted(self._made[name])
        return [drive for drive in found if any((drive / LABEL_FOLDER).glob("*.npz"))]

    def frames(self, drive: Path) -> LabelledFrames:
        """All frames of one drive; the last few drives are held."""
        return self._read(drive)

    def every_frame(self, name: str) -> Iterator[LabelledFrame]:
        """The frames of a set that are in use, one at a time."""
        for drive in self.drives(name):
            frames = self.frames(drive)
            for row in range(0, len(frames), EVERY_FRAME.get(name, 1)):
                yield frames[row]

    def digests(self) -> dict[str, str]:
        """What each set holds, by name."""
        from models.data.drives import drive_digest

        return {
            name: canonical_digest([drive_digest(drive) for drive in self.drives(name)])
            for name in SETS
        }

    def clips(self) -> list[PoolClip]:
        """The pool, in the order of drives and of time."""
        return [clip for drive in self.drives(POOL) for clip in self._clips_of(drive)]

    def old_frames(self) -> list[tuple[Path, int]]:
        """What the student knows already: drive and row of each frame."""
        return [
            (drive, row) for drive in self.drives(OLD) for row in range(len(self.frames(drive)))
        ]

    def old_embeddings(self, student: Student) -> Float32s:
        """Of `old_frames`, by the shipped student; kept in a file."""
        from models.student.embedding import embeddings_of

        path = self.folder / "old-embeddings.npy"
        if not path.exists():
            places = self.old_frames()
            found = embeddings_of(
                student, (self.frames(drive).frame(row) for drive, row in places),
                lambda done: self._say(f"old embeddings: {done} of {len(places)} frames"),
            )  # fmt: skip
            fresh = path.with_name(f".{path.name}")
            with fresh.open("wb") as stream:
                np.save(stream, found, allow_pickle=False)
            fresh.replace(path)
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)

    def _loaded(self, drive: Path) -> LabelledFrames:
        from models.data.frames import load_frames

        return load_frames([drive], self.config)

    def _clips_of(self, drive: Path) -> Iterator[PoolClip]:
        frames = self.frames(drive)
        for first in range(0, len(frames), FRAMES_A_CLIP):
            rows = tuple(range(first, min(first + FRAMES_A_CLIP, len(frames))))
            times = [frames.labels(row).record.mono_ns for row in rows]
            yield PoolClip(
                sha256_hex(f"{drive.name} {frames.digest} {rows}".encode()), drive, rows,
                times[0], times[-1], any(shows_rare(frames.labels(row)) for row in rows),
            )  # fmt: skip


def slices_of(
    data: LoopData, places: Sequence[tuple[Path, int]], names: Sequence[str]
) -> list[str]:
    """The slice of each frame by its tags' values."""
    from offline.retrain.plan import slice_of

    return [slice_of(data.frames(d).labels(row).record.tags, names) for d, row in places]
