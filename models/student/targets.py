"""What the network shall say about a labelled frame.

Heat maps after CenterNet and CenterPoint (Zhou 2019, Yin 2021): 1 in the cell of a box's
centre, a Gaussian around it whose radius lets boxes overlap by a tenth. Box channels are asked
for in the centre cell and its eight neighbours, so that a peak that lies one cell off still
tells the same box; of several boxes the nearest centre counts.

Ignored boxes are taken out of the heat map's loss and of the box loss; unknown ground, light
and velocity out of theirs. Boxes whose centre is off the grid are not asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.errors import InputError
from contracts.geometry import BevGrid, Boxes
from contracts.labels import GROUND_LAYERS, LIGHT_STATES, UNKNOWN, FrameLabels
from contracts.samples import Float32s, Float64s
from kernels.bev_decoding import BOX_CHANNELS
from models.student.config import StudentConfig

MIN_OVERLAP = 0.1
NO_LIGHT_LABEL = -1
_REACH = 1
_Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BoxRows:
    """Box channels at the few cells where they are asked for, k of them.

    `cells` int64 [k, 3]: group, row, column; `values` float32 [k, 10], 0 where nobody knows,
    with `weight` of the same shape.
    """

    cells: NDArray[np.int64]
    values: Float32s
    weight: Float32s


@dataclass(frozen=True, slots=True)
class FrameTargets:
    """Over r x c cells: `heat` float32 [classes, r, c] and `counted` [r, c] where it is
    learned; `boxes` that are asked for; `ground` uint8 [2, r, c]; `light` place in
    `LIGHT_STATES` or -1; `presence` float32 [classes].
    """

    heat: Float32s
    counted: Float32s
    boxes: BoxRows
    ground: NDArray[np.uint8]
    light: int
    presence: Float32s


class BoxBatch(NamedTuple):
    """`BoxRows` of b frames: `cells` int64 [k, 4] with the frame in front."""

    cells: Tensor
    values: Tensor
    weight: Tensor


class TargetBatch(NamedTuple):
    """`FrameTargets` of b frames as tensors, each with b in front; boxes as `BoxBatch`."""

    heat: Tensor
    counted: Tensor
    boxes: BoxBatch
    ground: Tensor
    light: Tensor
    presence: Tensor


def gaussian_radius(length: float, width: float, overlap: float = MIN_OVERLAP) -> float:
    """Largest shift in cells of a box of that size that keeps the overlap (CornerNet's rule)."""
    both, area = length + width, length * width
    one = (both - np.sqrt(both**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    two = (2 * both - np.sqrt(4 * both**2 - 16 * (1 - overlap) * area)) / 8
    inner = 4 * overlap * both**2 + 16 * overlap * (1 - overlap) * area
    three = (-2 * overlap * both + np.sqrt(inner)) / (8 * overlap)
    return float(min(one, two, three))


def targets_of(config: StudentConfig, labels: FrameLabels) -> FrameTargets:
    """Targets of one frame. Raises `InputError` when its ground is on another grid."""
    grid, taxonomy = config.grid, config.taxonomy
    if labels.record.taxonomy_version != config.taxonomy_version:
        raise InputError(f"labels of taxonomy version {labels.record.taxonomy_version}")
    classes, groups = len(taxonomy.classes), taxonomy.groups
    group_of = [next(g for g, ns in enumerate(groups) if n in ns) for n in taxonomy.names]
    boxes, ignored = labels.boxes(), labels.ignored()
    heat = np.zeros((classes, grid.rows, grid.columns), dtype=np.float32)
    presence = np.zeros(classes, dtype=np.float32)
    regression = _Regression(grid)
    counted = np.ones((grid.rows, grid.columns), dtype=np.float32)
    for row in np.flatnonzero(ignored):
        counted[_under(grid, boxes, int(row))] = 0
    for row in np.flatnonzero(~ignored & grid.inside(boxes.centre_m[:, :2])):
        kind = int(boxes.class_index[row])
        place = grid.places(boxes.centre_m[row : row + 1, :2])[0]
        length, width = boxes.size_m[row, :2] / grid.cell_m
        _draw(heat[kind], place, max(1, int(gaussian_radius(length, width))))
        regression.ask(group_of[kind], place, _channels(boxes, int(row)))
        presence[kind] = 1
    # A truth beats an ignored box that lies over it.
    counted[heat.max(axis=0) == 1] = 1
    light = labels.record.light
    return FrameTargets(
        heat, counted, regression.rows(), _ground(grid, labels),
        NO_LIGHT_LABEL if light is None else LIGHT_STATES.index(light), presence,
    )  # fmt: skip


def batch_targets(frames: Sequence[FrameTargets]) -> TargetBatch:
    """Targets of a batch as tensors."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(frame, name) for frame in frames]))

    return TargetBatch(
        heat=stacked("heat"), counted=stacked("counted"),
        boxes=batch_rows([frame.boxes for frame in frames]), ground=stacked("ground"),
        light=torch.tensor([frame.light for frame in frames], dtype=torch.int64),
        presence=stacked("presence"),
    )  # fmt: skip


def batch_rows(frames: Sequence[BoxRows]) -> BoxBatch:
    """Box rows of several frames as one table."""
    numbers = np.repeat(np.arange(len(frames)), [rows.cells.shape[0] for rows in frames])
    cells = np.concatenate([rows.cells for rows in frames])
    return BoxBatch(
        torch.from_numpy(np.column_stack([numbers, cells]).astype(np.int64)),
        torch.from_numpy(np.concatenate([rows.values for rows in frames])),
        torch.from_numpy(np.concatenate([rows.weight for rows in frames])),
    )


def _channels(boxes: Boxes, row: int) -> Float64s:
    """The ten channels of a box, its offset still to be told, NaN where nobody knows."""
    yaw = boxes.yaw_rad[row]
    return np.concatenate(
        [(np.nan, np.nan), boxes.centre_m[row, 2:], np.log(boxes.size_m[row]),
         (np.sin(yaw), np.cos(yaw)), boxes.velocity_mps[row]]
    )  # fmt: skip


class _Regression:
    """Box channels of all groups, the nearest centre first."""

    def __init__(self, grid: BevGrid) -> None:
        self._shape = (grid.rows, grid.columns)
        self._asked: dict[tuple[int, int, int], tuple[float, Float64s]] = {}

    def ask(self, group: int, place: Float64s, channels: Float64s) -> None:
        for cell in _around(place, _REACH, self._shape):
            offset = place - cell
            away = float(np.hypot(*(offset - 0.5)))
            key = (group, *cell)
            if away < self._asked.get(key, (np.inf,))[0]:
                self._asked[key] = (away, np.concatenate([offset, channels[2:]]))

    def rows(self) -> BoxRows:
        """What is asked for, with weights that halve away from the centre."""
        cells = np.array(sorted(self._asked), dtype=np.int64).reshape(-1, 3)
        asked = [self._asked[key] for key in sorted(self._asked)]
        values = np.array([value for _, value in asked]).reshape(-1, len(BOX_CHANNELS))
        near = np.exp2(-np.minimum([away for away, _ in asked], 60.0))
        weight = np.where(np.isnan(values), 0.0, near.reshape(-1, 1))
        return BoxRows(cells, np.nan_to_num(values).astype(np.float32), weight.astype(np.float32))


def _around(place: Float64s, reach: int, shape: tuple[int, int]) -> list[_Cell]:
    """Cells about the one that holds the place."""
    i, j = int(place[0]), int(place[1])
    return [
        (a, b)
        for a in range(max(0, i - reach), min(shape[0], i + reach + 1))
        for b in range(max(0, j - reach), min(shape[1], j + reach + 1))
    ]


def _draw(heat: Float32s, place: Float64s, radius: int) -> None:
    """A Gaussian about the cell that holds the place; the larger value stays."""
    i, j = int(place[0]), int(place[1])
    sigma = (2 * radius + 1) / 6
    for a, b in _around(place, radius, (heat.shape[0], heat.shape[1])):
        value = np.exp(-((a - i) ** 2 + (b - j) ** 2) / (2 * sigma**2))
        heat[a, b] = max(heat[a, b], value)


def _under(grid: BevGrid, boxes: Boxes, row: int) -> NDArray[np.bool_]:
    """Cells whose middle lies in the box grown by a cell: bool [r, c]."""
    under = np.zeros((grid.rows, grid.columns), dtype=np.bool_)
    reach = float(np.hypot(*boxes.size_m[row, :2])) / 2 / grid.cell_m + 2
    place = grid.places(boxes.centre_m[row : row + 1, :2])[0]
    low = np.clip(np.floor(place - reach), 0, under.shape).astype(int)
    high = np.clip(np.ceil(place + reach), 0, under.shape).astype(int)
    x, y = grid.centres()
    mesh = np.meshgrid(x[low[0] : high[0]], y[low[1] : high[1]], indexing="ij")
    middle = np.full(mesh[0].size, boxes.centre_m[row, 2])
    points = np.stack([mesh[0].ravel(), mesh[1].ravel(), middle], axis=1)
    inside = boxes.take(np.array([row])).contain(points, grid.cell_m)
    under[low[0] : high[0], low[1] : high[1]] = inside[0].reshape(mesh[0].shape)
    return under


def _ground(grid: BevGrid, labels: FrameLabels) -> NDArray[np.uint8]:
    if labels.ground is None:
        shape = (len(GROUND_LAYERS), grid.rows, grid.columns)
        return np.full(shape, UNKNOWN, dtype=np.uint8)
    if labels.record.ground_grid != grid:
        raise InputError("the labelled ground is not on the model's output grid", "ground")
    return labels.ground
