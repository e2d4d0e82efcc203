"""Boxes of detections as kernels have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.samples import Detection, Float64s


def cuboid_rows(detections: Sequence[Detection]) -> Float64s:
    """float64 [k, 7] as `kernels.obstacles` has boxes (middle x, y, z, length, width, height, yaw),
    of those detections that have one in the ego frame.
    """
    rows = [
        (*d.cuboid.centre_m, *d.cuboid.size_m, d.cuboid.yaw_rad)
        for d in detections
        if d.cuboid is not None
    ]
    return np.array(rows, np.float64).reshape(-1, 7)
