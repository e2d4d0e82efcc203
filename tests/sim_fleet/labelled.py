"""One short labelled drive, made once for all tests that read it."""

from __future__ import annotations

from pathlib import Path

from sim_fleet.dataset import DatasetSpec, DrivesSpec, write_dataset

SPEC = DatasetSpec(
    apiVersion="longtail/dataset/v1", name="short",
    drives=(DrivesSpec(scenario="everyday-city", seeds=(7, 1), seconds=3.2, every_s=0.9),),
)  # fmt: skip


def short_drive(folder: Path) -> Path:
    """The drive's folder, with labels at 1.8 and 2.7 s."""
    (drive,) = write_dataset(SPEC, folder)
    return drive
