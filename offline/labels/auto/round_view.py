"""What a lidar sees all around it, as a picture unrolled: columns are bearings, rows elevations.

The picture's middle column is straight ahead, its two ends meet straight behind. A box across
that seam is told in one piece and reaches beyond the picture's end, so nothing is ever cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Bools, wrapped
from contracts.samples import Float64s
from offline.labels.kitti import TrackedBoxes

WIDTH_PX = 3600.0
"""Columns of the whole circle: a tenth of a degree each, as a spinning lidar steps."""
_PX_PER_RAD = WIDTH_PX / (2 * np.pi)
_LEAST_M = 0.1


@dataclass(frozen=True, slots=True)
class RoundView:
    """`reach_m`: how far boxes are told, on the ground; `origin_m`: where the sensor sits in the
    frame that boxes are in.
    """

    reach_m: float = 200.0
    origin_m: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def box_px(self, boxes: TrackedBoxes) -> Float64s:
        """As `View.box_px`; a box is not shown that lies out of reach or around the sensor."""
        footprint = boxes.as_boxes().corners_m() - np.array(self.origin_m[:2])
        centre = boxes.centre_m - np.array(self.origin_m)
        range_m = np.hypot(footprint[..., 0], footprint[..., 1])
        bearing = np.arctan2(centre[:, 1], centre[:, 0])
        aside = wrapped(np.arctan2(footprint[..., 1], footprint[..., 0]) - bearing[:, None])
        half = boxes.size_m[:, 2:] / 2
        ends = np.concatenate([centre[:, 2:] - half, centre[:, 2:] + half], axis=1)
        far = np.maximum(range_m[:, :, None], _LEAST_M)
        elevation = np.arctan2(np.broadcast_to(ends[:, None], (len(boxes), 4, 2)), far)
        elevation = elevation.reshape(len(boxes), 8)
        result = _PX_PER_RAD * np.column_stack([
            np.pi - bearing - aside.max(axis=1), np.pi / 2 - elevation.max(axis=1),
            np.pi - bearing - aside.min(axis=1), np.pi / 2 - elevation.min(axis=1),
        ])  # fmt: skip
        # Seen from without, a box spans less than half of the circle.
        around = np.ptp(aside, axis=1) >= np.pi
        hidden = around | (np.hypot(centre[:, 0], centre[:, 1]) > self.reach_m)
        return np.where(hidden[:, None], np.nan, result)

    def cut(self, box_px: Float64s) -> Bools:
        """As `View.cut`: none is."""
        return np.zeros(box_px.shape[0], dtype=np.bool_)
