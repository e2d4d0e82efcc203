"""Clips for the auto-labeller from KITTI's folders, and what it made as result files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from offline.labels.auto.camera_view import CameraView
from offline.labels.auto.clip import Clip, in_order
from offline.labels.kitti import LabelFile, TrackedBoxes, label_text, read_detections
from offline.labels.kitti_calibration import read_calibration
from offline.labels.points.sweep import SweepFiles

CLASS_NAMES = ("Car", "Pedestrian", "Cyclist")
NO_REGIONS = np.zeros(0, dtype=np.int64), np.zeros((0, 4))
_IMAGE_PX = {707: (1223.0, 369.0), 718: (1240.0, 375.0), 721: (1241.0, 374.0)}
"""Last column and row of KITTI's rectified images, by whole pixels of the focal length."""


def detection_files(folder: Path, sequence: str) -> list[Path]:
    """SEQUENCE.txt of a folder, or of the folders in it that end in a class's name, as AB3DMOT
    has them. Raises `InputError` where there is none.
    """
    places = _places(folder)
    files = [path / f"{sequence}.txt" for path in places if (path / f"{sequence}.txt").is_file()]
    if not files:
        classes = ", ".join(f"*{name}" for name in CLASS_NAMES)
        raise InputError(f"no {sequence}.txt in it, nor in a folder {classes}", str(folder))
    return files


def sequences_of(folder: Path) -> list[str]:
    """Names of all sequences with detections."""
    return sorted({path.stem for place in _places(folder) for path in place.glob("*.txt")})


def _places(folder: Path) -> list[Path]:
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    return [folder, *(path for path in inner if path.name.endswith(CLASS_NAMES))]


def read_clip(files: Iterable[Path], calibration: Path, sweeps: Sequence[Path] = ()) -> Clip:
    """One clip; `sweeps` are files named by their frames. Raises `InputError` with `file:line`."""
    found = in_order([read_detections(path) for path in files])
    camera = read_calibration(calibration)
    focal = int(camera.projections[2, 0, 0])
    if focal not in _IMAGE_PX:
        raise InputError(f"no camera of KITTI's has a focal length of {focal} pixels",
                         str(calibration))  # fmt: skip
    frames = 1 + int(found.frame.max(initial=-1))
    by_frame = {int(path.stem): path for path in sweeps}
    points = SweepFiles(by_frame, camera.camera_SE3_lidar) if by_frame else None
    return Clip(frames, found, CameraView(camera, _IMAGE_PX[focal]), sweeps=points)


def result_text(boxes: TrackedBoxes) -> str:
    """A KITTI result file with scores."""
    return label_text(LabelFile(boxes, *NO_REGIONS))
