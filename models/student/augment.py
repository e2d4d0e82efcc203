"""The same frame seen in a mirror, and in other light: more to learn from the same labels.

The mirror is held along the ego's x axis, over the ground and not over the pictures: rasters are
flipped, and each cell looks at the picture of the cell opposite it. What the cameras say of the
ground is learned from their features, so nothing else has to turn. Needs a grid that is even
about the ego.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.samples import Float32s
from kernels.bev.lift import LiftTable
from kernels.bev.radar import RADAR_CHANNELS
from kernels.bev_decoding import BOX_CHANNELS
from models.student.config import StudentConfig
from models.student.inputs import StudentFrame
from models.student.targets import BoxRows, FrameTargets

_SIDEWAYS = RADAR_CHANNELS.index("velocity_y")
_TURNED = [BOX_CHANNELS.index("sin"), BOX_CHANNELS.index("velocity_y_mps")]
_OFFSET = BOX_CHANNELS.index("offset_y")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Chance of the mirror, and how far the pictures' contrast and brightness may go."""

    mirror: float = 0.5
    contrast: float = 0.2
    brightness: float = 20.0


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0)


def augmented(
    frame: StudentFrame,
    targets: FrameTargets,
    config: StudentConfig,
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[StudentFrame, FrameTargets, bool]:
    """Frame and targets as drawn, and whether they are mirrored; always draws three numbers."""
    draws = rng.random(3)
    if how.contrast or how.brightness:
        gain = 1 + how.contrast * (2 * draws[1] - 1)
        shift = how.brightness * (2 * draws[2] - 1)
        frame = replace(frame, images=_in_light(frame, gain, shift))
    if draws[0] >= how.mirror:
        return frame, targets, False
    return mirrored_frame(frame, config), mirrored_targets(targets, config), True


def _in_light(frame: StudentFrame, gain: float, shift: float) -> NDArray[np.uint8]:
    """Pictures with another contrast and brightness; absent ones stay black."""
    lut = np.clip(np.arange(256) * gain + shift, 0, 255).astype(np.uint8)
    images: NDArray[np.uint8] = lut[frame.images]
    images[~frame.cameras_present] = 0
    return images


def mirrored_frame(frame: StudentFrame, config: StudentConfig) -> StudentFrame:
    """The frame with left and right exchanged. Raises `InputError` on an uneven grid."""
    grid = config.grid
    if abs(grid.y_min_m + grid.y_max_m) > 1e-9:
        raise InputError(f"the grid reaches from {grid.y_min_m} to {grid.y_max_m} m: no mirror")
    radar = flipped(frame.radar)
    radar[_SIDEWAYS] *= -1
    lift = config.lift.grid
    shape = (-1, lift.rows, lift.columns)

    def opposite(table: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.ascontiguousarray(table.reshape(shape)[..., ::-1]).reshape(-1)

    return replace(
        frame, lidar=flipped(frame.lidar), radar=radar,
        table=LiftTable(opposite(frame.table.pixel), opposite(frame.table.depth)),
    )  # fmt: skip


def mirrored_targets(targets: FrameTargets, config: StudentConfig) -> FrameTargets:
    """What the mirrored frame shows."""
    return replace(
        targets, heat=flipped(targets.heat), counted=flipped(targets.counted),
        boxes=mirrored_rows(targets.boxes, config),
        ground=np.ascontiguousarray(targets.ground[..., ::-1]),
    )  # fmt: skip


def mirrored_rows(rows: BoxRows, config: StudentConfig) -> BoxRows:
    """Box rows with left and right exchanged."""
    cells, values = rows.cells.copy(), rows.values.copy()
    cells[:, 2] = config.grid.columns - 1 - cells[:, 2]
    values[:, _TURNED] *= -1
    values[:, _OFFSET] = 1 - values[:, _OFFSET]
    return BoxRows(cells, values, rows.weight)


def flipped(array: Float32s) -> Float32s:
    """An array [..., columns] of the ground with its sides exchanged."""
    return np.ascontiguousarray(array[..., ::-1])
