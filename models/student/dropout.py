"""Modality dropout: in training, sensors are taken away, as they fail on the road.

An absent sensor looks exactly as on the vehicle: zero rasters or pictures, no entry in the
gather table, less in `present`. The cameras and the lidar are never both gone: nothing could
be learned from that. Where two cameras overlap, the vehicle's table would let the other one
answer; here those cells see nothing, which is the harder case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kernels.bev.lift import LiftTable
from models.student.config import StudentConfig
from models.student.inputs import StudentFrame


@dataclass(frozen=True, slots=True)
class DropoutOdds:
    """Chance that a frame loses its lidar, its radar, all of its cameras, or one of them."""

    lidar: float = 0.15
    radar: float = 0.15
    cameras: float = 0.15
    one_camera: float = 0.1


NO_DROPOUT = DropoutOdds(0.0, 0.0, 0.0, 0.0)


def drop_modalities(
    frame: StudentFrame, config: StudentConfig, odds: DropoutOdds, rng: np.random.Generator
) -> StudentFrame:
    """The frame with what is left of its sensors; always draws five numbers."""
    draws = rng.random(5)
    no_lidar = bool(draws[0] < odds.lidar)
    if draws[1] < odds.radar:
        frame = without_radar(frame)
    if no_lidar:
        frame = without_lidar(frame)
    elif draws[2] < odds.cameras:
        for camera in range(len(config.cameras)):
            frame = without_camera(frame, config, camera)
    if draws[3] < odds.one_camera and frame.cameras_present.sum() > 1:
        left = np.flatnonzero(frame.cameras_present)
        frame = without_camera(frame, config, int(left[int(draws[4] * left.size)]))
    return frame


def without_lidar(frame: StudentFrame) -> StudentFrame:
    return replace(frame, lidar=np.zeros_like(frame.lidar), lidar_present=False)


def without_radar(frame: StudentFrame) -> StudentFrame:
    return replace(frame, radar=np.zeros_like(frame.radar), radar_present=False)


def without_camera(frame: StudentFrame, config: StudentConfig, camera: int) -> StudentFrame:
    """The frame without one camera, by its place."""
    each = config.features // len(config.cameras)
    gone = (frame.table.pixel >= camera * each) & (frame.table.pixel < (camera + 1) * each)
    bins = len(config.lift.depth_edges_m)
    table = LiftTable(
        np.where(gone, config.features, frame.table.pixel),
        np.where(gone, config.features * bins, frame.table.depth),
    )
    images, present = frame.images.copy(), frame.cameras_present.copy()
    images[camera], present[camera] = 0, False
    return replace(frame, images=images, table=table, cameras_present=present)
