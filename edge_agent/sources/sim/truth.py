"""Truth of the painted images, for training and tests; it never goes through the port.

A box covers what of an actor is visible. One that is too small or mostly hidden is marked
`ignored`: neither finding nor missing it is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from edge_agent.sources.sim import camera
from edge_agent.sources.sim.actors import CLASS_NAMES
from edge_agent.sources.sim.drive import Drive
from edge_agent.sources.sim.scene import Scene, scene_at

MIN_HEIGHT_PX, MIN_WIDTH_PX, MIN_AREA_PX = 10, 4, 36
MIN_FILLED_RATIO = 0.25

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Truth:
    """`boxes_px` float32 [k, 4] x0, y0, x1, y1; `classes` int64 [k] in `CLASS_NAMES`;
    `ignored` bool [k].
    """

    boxes_px: NDArray[np.float32]
    classes: Int64s
    ignored: NDArray[np.bool_]


@njit(nogil=True, cache=True, error_model="numpy")
def _extents(owners: NDArray[np.int16], count: int) -> Int64s:
    """For each actor: first column, first row, last column, last row, pixels [count, 5]."""
    found = np.empty((count, 5), dtype=np.int64)
    found[:, :2], found[:, 2:4], found[:, 4] = 1 << 30, -1, 0
    for y in range(owners.shape[0]):
        for x in range(owners.shape[1]):
            i = owners[y, x]
            if i >= 0:
                found[i, 0] = min(found[i, 0], x)
                found[i, 1] = min(found[i, 1], y)
                found[i, 2] = max(found[i, 2], x)
                found[i, 3] = max(found[i, 3], y)
                found[i, 4] += 1
    return found


def truth_of(scene: Scene, owners: NDArray[np.int16]) -> Truth:
    """Boxes of what the painter drew; `owners` as `camera.paint` gives it."""
    extents = _extents(owners, scene.kind.size)
    shown = (extents[:, 4] > 0) & (scene.kind < len(CLASS_NAMES))
    extents, kinds = extents[shown], scene.kind[shown]
    boxes = extents[:, :4].astype(np.float32)
    boxes[:, 2:] += 1.0
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    ignored = (
        (high < MIN_HEIGHT_PX)
        | (wide < MIN_WIDTH_PX)
        | (extents[:, 4] < MIN_AREA_PX)
        | (extents[:, 4] < MIN_FILLED_RATIO * wide * high)
    )
    return Truth(boxes, kinds, ignored)


def painted_frame(
    drive: Drive, index: int, noise: NDArray[np.int8], offset: tuple[int, int]
) -> tuple[NDArray[np.uint8], Truth]:
    """One camera image (uint8 [360, 640, 3] RGB) of a drive with its truth."""
    scene = scene_at(drive, index)
    image, owners = camera.paint(scene, noise, offset)
    return image, truth_of(scene, owners)
