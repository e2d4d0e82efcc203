"""A camera's view of boxes: their projection, cut off at the image's edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Bools
from contracts.samples import Float64s
from offline.labels.kitti import TrackedBoxes
from offline.labels.kitti_calibration import Calibration

_NEAREST_M = 0.1
_LEAST_PX = 3.0
_EDGE_PX = 1.0


@dataclass(frozen=True, slots=True)
class CameraView:
    """`size_px`: the last column and row of the image."""

    calibration: Calibration
    size_px: tuple[float, float]

    def box_px(self, boxes: TrackedBoxes) -> Float64s:
        """As `View.box_px`; a box is not shown whose middle is behind the camera, or of which
        next to nothing is within the image.
        """
        footprint = boxes.as_boxes().corners_m()
        half = boxes.size_m[:, 2] / 2
        corners = np.concatenate([
            np.concatenate([footprint, np.broadcast_to(z[:, None, None], (len(boxes), 4, 1))], 2)
            for z in (boxes.centre_m[:, 2] - half, boxes.centre_m[:, 2] + half)
        ], axis=1)  # fmt: skip
        # A corner beside the camera would come to lie anywhere: it is moved ahead of it.
        corners[..., 0] = np.maximum(corners[..., 0], _NEAREST_M)
        px = self.calibration.pixels(corners.reshape(-1, 3)).reshape(-1, 8, 2)
        low, high = (np.clip(edge, 0, self.size_px) for edge in (px.min(axis=1), px.max(axis=1)))
        hidden = (boxes.centre_m[:, 0] <= _NEAREST_M) | ((high - low) < _LEAST_PX).any(axis=1)
        return np.where(hidden[:, None], np.nan, np.concatenate([low, high], axis=1))

    def cut(self, box_px: Float64s) -> Bools:
        """As `View.cut`."""
        right = self.size_px[0] - _EDGE_PX
        return np.asarray((box_px[:, 0] <= _EDGE_PX) | (box_px[:, 2] >= right))
