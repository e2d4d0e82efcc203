"""Frames of one drive as one file: stacked arrays, rasters in half precision.

Half precision keeps a raster's values (0..1, or parts of 30 m/s) to a thousandth, which is less
than a sensor's noise. The file is an npz without compression and without pickle; gather tables,
which depend on calibration alone, are stored once each.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CorruptError
from contracts.labels import FrameLabels, labels_bytes, labels_from
from kernels.bev.lift import LiftTable
from models.data.drives import LabelledFrame
from models.student.inputs import StudentFrame

_ARRAYS = ("images", "lidar", "radar", "present", "table", "pixel", "depth", "label_ends", "labels")


@dataclass(frozen=True, slots=True)
class PackedDrive:
    """k frames: `images` uint8 [k, cameras, 3, h, w]; `lidar`, `radar` float16 [k, ...];
    `present` bool [k, cameras + 2]; `table` int64 [k] row of `pixel` and `depth`.
    """

    images: NDArray[np.uint8]
    lidar: NDArray[np.float16]
    radar: NDArray[np.float16]
    present: NDArray[np.bool_]
    table: NDArray[np.int64]
    pixel: NDArray[np.int64]
    depth: NDArray[np.int64]
    labels: tuple[FrameLabels, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def frame(self, row: int) -> StudentFrame:
        """One frame, as it was but for the rounding."""
        which = int(self.table[row])
        return StudentFrame(
            self.images[row], LiftTable(self.pixel[which], self.depth[which]),
            self.lidar[row].astype(np.float32), self.radar[row].astype(np.float32),
            self.present[row, :-2], bool(self.present[row, -2]), bool(self.present[row, -1]),
        )  # fmt: skip


def packed(frames: Sequence[LabelledFrame]) -> PackedDrive:
    """At least one frame, packed."""
    tables: dict[bytes, int] = {}
    kept: list[LiftTable] = []
    which = []
    for one in frames:
        key = one.frame.table.pixel.tobytes() + one.frame.table.depth.tobytes()
        if key not in tables:
            tables[key] = len(kept)
            kept.append(one.frame.table)
        which.append(tables[key])
    return PackedDrive(
        np.stack([one.frame.images for one in frames]),
        np.stack([one.frame.lidar for one in frames]).astype(np.float16),
        np.stack([one.frame.radar for one in frames]).astype(np.float16),
        np.stack([
            np.append(f.cameras_present, [f.lidar_present, f.radar_present])
            for f in (one.frame for one in frames)
        ]),
        np.array(which, dtype=np.int64),
        np.stack([table.pixel for table in kept]), np.stack([table.depth for table in kept]),
        tuple(one.labels for one in frames),
    )  # fmt: skip


def write_packed(path: Path, drive: PackedDrive) -> None:
    """Write a drive's frames; the file is there whole or not at all, whoever else writes it."""
    files = [labels_bytes(labels) for labels in drive.labels]
    arrays = {name: getattr(drive, name) for name in _ARRAYS if not name.startswith("label")}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as stream:
        np.savez(
            stream, allow_pickle=False, **arrays,
            label_ends=np.cumsum([len(one) for one in files]),
            labels=np.frombuffer(b"".join(files), np.uint8),
        )  # fmt: skip
    partial.replace(path)


def read_packed(path: Path) -> PackedDrive:
    """Raises `CorruptError` for anything but a whole file of frames."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptError(f"these are no packed frames: {error}", str(path)) from error
    ends = arrays.pop("label_ends").tolist()
    content = arrays.pop("labels").tobytes()
    labels = tuple(
        labels_from(content[start:end], f"{path}: labels {number}")
        for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    )
    return PackedDrive(**arrays, labels=labels)
