"""Frames in memory, and batches of them as tensors.

A `StudentFrame` holds what the vehicle's kernels make of one instant's sensors. Pictures stay
bytes until they are batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.samples import Float32s
from kernels.bev.lift import LiftTable, empty_table
from kernels.bev.radar import RADAR_CHANNELS
from kernels.bev.raster import lidar_channels
from kernels.bev.window import BevTensors
from models.student.config import (
    IMAGE_SCALE,
    IMAGES,
    LIDAR,
    LIFT_DEPTH,
    LIFT_PIXEL,
    PRESENT,
    RADAR,
    StudentConfig,
)
from models.student.network import StudentInputs


@dataclass(frozen=True, slots=True)
class StudentFrame:
    """One instant. `images` uint8 [cameras, 3, h, w] RGB; `table` of the cameras present;
    `lidar`, `radar` float32 rasters; `cameras_present` bool [cameras].

    What is absent is zero, and no entry of the table.
    """

    images: NDArray[np.uint8]
    table: LiftTable
    lidar: Float32s
    radar: Float32s
    cameras_present: NDArray[np.bool_]
    lidar_present: bool = True
    radar_present: bool = True

    def present(self) -> Float32s:
        """Share of cameras, lidar, radar: float32 [3]."""
        share = float(self.cameras_present.mean())
        return np.array([share, self.lidar_present, self.radar_present], dtype=np.float32)


def empty_frame(config: StudentConfig) -> StudentFrame:
    """A frame of a vehicle without any sensor, to be filled."""
    cameras = len(config.cameras)
    raster = config.lidar.grid
    return StudentFrame(
        np.zeros((cameras, 3, config.image_height, config.image_width), dtype=np.uint8),
        empty_table(config.lift, cameras, config.image_width, config.image_height),
        np.zeros((len(lidar_channels(config.lidar)), raster.rows, raster.columns), np.float32),
        np.zeros((len(RADAR_CHANNELS), config.grid.rows, config.grid.columns), np.float32),
        np.zeros(cameras, dtype=np.bool_), False, False,
    )  # fmt: skip


def checked_frame(config: StudentConfig, frame: StudentFrame) -> StudentFrame:
    """The frame itself. Raises `InputError` when an array does not fit the configuration."""
    model = _model_frame(config)
    for name in ("images", "lidar", "radar", "cameras_present"):
        want, found = getattr(model, name), getattr(frame, name)
        if want.shape != found.shape or want.dtype != found.dtype:
            raise InputError(
                f"expected {want.dtype} {list(want.shape)}, found {found.dtype} "
                f"{list(found.shape)}",
                name,
            )
    if frame.table.pixel.shape != model.table.pixel.shape:
        raise InputError("the gather table is for another grid", "table")
    return frame


@lru_cache(maxsize=8)
def _model_frame(config: StudentConfig) -> StudentFrame:
    return empty_frame(config)


def frame_of(tensors: BevTensors) -> StudentFrame:
    """A frame of its own from the vehicle's inputs; pictures go back to bytes."""
    images = np.clip(np.rint(tensors.images / np.float32(IMAGE_SCALE)), 0, 255).astype(np.uint8)
    return StudentFrame(
        images, tensors.table, tensors.lidar.copy(), tensors.radar.copy(),
        tensors.cameras_present, tensors.lidar_present, tensors.radar_present,
    )  # fmt: skip


def batch_of(frames: Sequence[StudentFrame]) -> StudentInputs:
    """Frames as one batch of tensors."""
    images = np.concatenate([frame.images for frame in frames]).astype(np.float32)
    return StudentInputs(
        torch.from_numpy(images * np.float32(IMAGE_SCALE)),
        torch.from_numpy(np.stack([frame.table.pixel for frame in frames])),
        torch.from_numpy(np.stack([frame.table.depth for frame in frames])),
        torch.from_numpy(np.stack([frame.lidar for frame in frames])),
        torch.from_numpy(np.stack([frame.radar for frame in frames])),
        torch.from_numpy(np.stack([frame.present() for frame in frames])),
    )


def feed_of(frame: StudentFrame) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    """One frame as the inputs of the exported graph, by tensor name."""
    return {
        IMAGES: frame.images.astype(np.float32) * np.float32(IMAGE_SCALE),
        LIFT_PIXEL: frame.table.pixel[None],
        LIFT_DEPTH: frame.table.depth[None],
        LIDAR: frame.lidar[None],
        RADAR: frame.radar[None],
        PRESENT: frame.present()[None],
    }
