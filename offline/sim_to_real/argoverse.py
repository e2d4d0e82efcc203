"""An Argoverse 2 log as a recording: the annotated frames whose sweeps are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.geometry import apply_SE3
from offline.labels.argoverse import ArgoverseLog, read_log
from offline.sim_to_real.recorded import (
    Everywhere,
    Recorded,
    common_tilt,
    placed_SE3,
    pose_of,
    sweep_of,
)
from offline.sim_to_real.truth import frame_labels, without_word

_LIDAR_M = np.array([1.35, 0.0, 1.64])
"""Of the upper lidar in the log's ego frame, whose origin is the rear axle's middle."""
_NAME = "Argoverse 2"


def is_log(folder: Path) -> bool:
    return (folder / "annotations.feather").is_file()


def read_recording(folder: Path) -> Recorded:
    """Raises `InputError` with the file, and for a log without any annotated sweep."""
    log = read_log(folder)
    if not log.sweep_files:
        raise InputError("no sweep of an annotated frame", str(folder))
    frames = sorted(log.sweep_files)
    levelled = {frame: _levelled(log, frame) for frame in frames}
    tilt = common_tilt([points for points, _ in levelled.values()], _LIDAR_M)
    # The lidar's place is where the tilt is about.
    lidar_SE3_level = placed_SE3(-_LIDAR_M)
    ground_SE3_level = tilt.righted(placed_SE3(_LIDAR_M)) @ lidar_SE3_level
    sweeps, labels, poses = [], [], []
    boxes = [log.truth.take(log.truth.frame == frame) for frame in frames]
    for frame, here in zip(frames, boxes, strict=True):
        points, intensity = levelled[frame]
        stamp = int(log.stamp_ns[frame])
        ego = apply_SE3(ground_SE3_level, points)
        height = placed_SE3(np.array([0.0, 0.0, -log.level_SE3_ego[frame][2, 3]]))
        sweeps.append(sweep_of(stamp, ego, intensity))
        poses.append(pose_of(stamp, log.world_SE2_level[frame]))
        labels.append(
            frame_labels(
                here, ground_SE3_level @ height, ego, poses[-1], f"argoverse-{folder.name}", _NAME
            )
        )
    notes = [f"{len(frames)} of {log.frames} annotated frames have a sweep at hand"]
    if lost := without_word(boxes):
        notes.append(f"{lost} boxes of classes without a word in the taxonomy are ignored")
    return Recorded(f"{_NAME} {folder.name[:8]}", tuple(sweeps), tuple(poses), tuple(labels),
                    Everywhere(), tuple(notes))  # fmt: skip


def _levelled(log: ArgoverseLog, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Points about the ego's own height, and intensities."""
    sweep = log.get(frame)
    if sweep is None:
        raise InputError(f"frame {frame} has no sweep")
    points = sweep.xyz_m.astype(np.float64)
    points[:, 2] -= log.level_SE3_ego[frame][2, 3]
    return points, sweep.intensity
