"""Small clips, and a run over them as a program that tests kill."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from offline.executor.local_pool import LocalPool
from offline.executor.ray_cluster import RayCluster
from offline.runs.folder import WorkFolder
from offline.runs.run import Progress, run_stage
from offline.runs.stage import ClipInputs, Stage
from tests.offline.executor.works import SMOOTH

STAGE = Stage("smooth", 1, SMOOTH)
CONFIGURATION = {"width": 3}


def write_clips(folder: Path, count: int) -> list[ClipInputs]:
    """Courses of 20 places, each its own."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        np.savetxt(folder / f"clip-{number:03}.txt", np.cumsum(rng.normal(0, 1, (20, 2)), axis=0))
    return clips_of(folder)


def clips_of(folder: Path) -> list[ClipInputs]:
    return [ClipInputs(path.stem, {"points": [path]}) for path in sorted(folder.glob("*.txt"))]


def without_flushes() -> None:
    """A kill, unlike a power cut, loses nothing of what was written; flushes take the time."""
    os.fsync = lambda _: None


def main() -> None:
    """CLIPS WORK EXECUTOR: a line on standard output for each clip that ends."""

    def tell(progress: Progress) -> None:
        sys.stdout.write(f"{progress.record.clip} {progress.computed}\n")
        sys.stdout.flush()

    without_flushes()
    clips, work = Path(sys.argv[1]), Path(sys.argv[2])
    executor = RayCluster("local", 2) if sys.argv[3] == "ray" else LocalPool(2)
    run_stage(STAGE, CONFIGURATION, clips_of(clips), WorkFolder(work), executor, tell)


if __name__ == "__main__":
    main()
