"""KITTI tracking sequences as recordings: those whose scans are at hand.

Only what the left colour camera sees is labelled, and there are regions in it that nobody
labelled; what a model tells elsewhere counts neither way. Ego poses are not published with the
tracking set: they are estimated from the scans.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, apply_SE3, inverse_SE3
from contracts.samples import Float64s
from offline.labels.kitti import LabelFile, read_labels
from offline.labels.kitti_calibration import Calibration, read_calibration
from offline.labels.points.sweep import SweepFiles, files_of
from offline.sim_to_real.motion import planar_course
from offline.sim_to_real.recorded import Recorded, common_tilt, placed_SE3, pose_of, sweep_of
from offline.sim_to_real.truth import frame_labels, without_word

PERIOD_NS = 100_000_000
_LIDAR_M = np.array([0.76, 0.0, 1.73])
"""Of the lidar: ahead of the rear axle, over the ground (Geiger et al. 2013, sensor setup)."""
_IMAGE_PX = (1242.0, 375.0)
_NAME = "KITTI tracking"


def is_set(folder: Path) -> bool:
    return (folder / "label_02").is_dir() and (folder / "calib").is_dir()


def read_recordings(folder: Path) -> list[Recorded]:
    """Every sequence with labels, calibration and scans. Raises `InputError` where none has."""
    found = []
    for path in sorted((folder / "label_02").glob("*.txt")):
        held = [each for each in folder.glob(f"*{path.stem}*") if each.is_dir()]
        if held:
            found.append(_sequence(folder, path.stem))
    if not found:
        raise InputError("no sequence has both labels and scans", str(folder))
    return found


def _sequence(folder: Path, name: str) -> Recorded:
    calibration = read_calibration(folder / "calib" / f"{name}.txt")
    labels = read_labels(folder / "label_02" / f"{name}.txt")
    files = files_of(folder, name)
    scans = SweepFiles(files, np.eye(4))
    declared = placed_SE3(_LIDAR_M)
    raw = {frame: scans.get(frame) for frame in files}
    held = {frame: scan for frame, scan in raw.items() if scan is not None}
    told = [apply_SE3(declared, scan.xyz_m.astype(np.float64)) for scan in held.values()]
    ego_SE3_lidar = common_tilt(told, _LIDAR_M).righted(declared)
    ego = {f: apply_SE3(ego_SE3_lidar, s.xyz_m.astype(np.float64)) for f, s in held.items()}
    course = planar_course(list(ego.values()))
    poses = tuple(pose_of(_stamp(f), place) for f, place in zip(held, course, strict=True))
    ego_SE3_camera = ego_SE3_lidar @ inverse_SE3(calibration.camera_SE3_lidar)
    boxes = {f: labels.objects.take(labels.objects.frame == f) for f in held}
    notes = [f"{len(held)} frames; poses estimated from the scans; labelled only in the camera's"
             " view"]  # fmt: skip
    if lost := without_word(list(boxes.values())):
        notes.append(f"{lost} boxes of classes without a word in the taxonomy are ignored")
    return Recorded(
        f"{_NAME} {name}",
        tuple(sweep_of(_stamp(f), ego[f], scan.intensity) for f, scan in held.items()),
        poses,
        tuple(
            frame_labels(boxes[f], ego_SE3_camera, ego[f], pose, f"kitti-{name}", _NAME)
            for f, pose in zip(held, poses, strict=True)
        ),
        CameraView(calibration, labels, inverse_SE3(ego_SE3_camera)), tuple(notes),
    )  # fmt: skip


def _stamp(frame: int) -> int:
    """Frames are a tenth of a second apart; the first is not at 0, where no age reaches."""
    return (frame + 1) * PERIOD_NS


@dataclass(frozen=True, slots=True)
class CameraView:
    """What the camera shows, but for regions that nobody labelled."""

    calibration: Calibration
    labels: LabelFile
    camera_SE3_ego: Float64s

    def counts(self, mono_ns: int, centre_m: Float64s) -> Bools:
        """As `View.counts`."""
        pixel = self.calibration.pixels(apply_SE3(self.camera_SE3_ego, centre_m))
        wide, high = _IMAGE_PX
        x, y = pixel[:, 0], pixel[:, 1]
        inside = (x >= 0) & (x < wide) & (y >= 0) & (y < high)
        frame = mono_ns // PERIOD_NS - 1
        for left, top, right, bottom in self.labels.region_px[self.labels.region_frame == frame]:
            inside &= ~((x >= left) & (x <= right) & (y >= top) & (y <= bottom))
        return np.asarray(inside, dtype=np.bool_)
