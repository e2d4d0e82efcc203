"""Which grid cell answers for which box, and the loss.

A box belongs to one scale by its longer side; the cells within `RADIUS` strides of its
centre that lie inside it answer for it, at least the one under the centre. All other cells
must say that nothing is there, also those under the box: left in peace they answer with parts
of it, which suppression cannot tell from objects. Only cells under ignored boxes are left out.
Losses as in YOLOX: IoU loss for boxes, cross entropy for objectness and classes, all divided
by the number of answering cells.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.demo_detector.network import STRIDES

RADIUS = 1.3
COARSE_FROM_PX = 44.0
_BOX_WEIGHT = 5.0

Int64s = NDArray[np.int64]


def assign(
    boxes_px: NDArray[np.float32],
    classes: Int64s,
    ignored: NDArray[np.bool_],
    grid: NDArray[np.float32],
) -> tuple[Int64s, NDArray[np.bool_]]:
    """For one image: the answering box of each cell [n] or -1, and cells to leave out [n]."""
    stride = grid[:, 2]
    cx, cy = (grid[:, 0] + 0.5) * stride, (grid[:, 1] + 0.5) * stride
    answer = np.full(grid.shape[0], -1, dtype=np.int64)
    out = np.zeros(grid.shape[0], dtype=np.bool_)
    area = (boxes_px[:, 2] - boxes_px[:, 0]) * (boxes_px[:, 3] - boxes_px[:, 1])
    for i in np.argsort(-area):  # smaller boxes last: they win a shared cell
        x0, y0, x1, y1 = boxes_px[i]
        inside = (cx > x0) & (cx < x1) & (cy > y0) & (cy < y1)
        if ignored[i]:
            out |= inside
            continue
        scale = STRIDES[0] if max(x1 - x0, y1 - y0) < COARSE_FROM_PX else STRIDES[1]
        dx, dy = np.abs(cx - (x0 + x1) / 2), np.abs(cy - (y0 + y1) / 2)
        near = inside & (dx < RADIUS * stride) & (dy < RADIUS * stride)
        here = (dx <= stride / 2) & (dy <= stride / 2)
        answer[(near | here) & (stride == scale)] = i
    return answer, out & (answer < 0)


def boxes_of(rows: Tensor, grid: Tensor) -> Tensor:
    """Corner boxes [..., 4] in tensor pixels of raw rows [..., >= 4]."""
    centre = (rows[..., :2] + grid[:, :2]) * grid[:, 2:]
    half = rows[..., 2:4].clamp(max=7.0).exp() * grid[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    low = torch.maximum(a[:, :2], b[:, :2])
    high = torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(dim=1)
    total = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1)
    return both / (total - both + 1e-6)


def loss_of(
    rows: Tensor, grid: Tensor, answers: Tensor, left_out: Tensor, targets: Tensor, kinds: Tensor
) -> Tensor:
    """Loss of a batch: `rows` [b, n, 5 + c]; `answers` and `left_out` bool [b, n];
    `targets` [p, 4] and `kinds` [p] of the answering cells in row order.
    """
    count = max(1, int(answers.sum()))
    counted = ~left_out
    objectness = functional.binary_cross_entropy_with_logits(
        rows[..., 4][counted], answers[counted].float(), reduction="sum"
    )
    found = boxes_of(rows, grid)[answers]
    overlap = _iou(found, targets)
    # The IoU's gradient vanishes without overlap; the corner distance carries over that.
    size = (targets[:, 2:] - targets[:, :2]).clamp(min=4).repeat(1, 2)
    distance = functional.smooth_l1_loss(found / size, targets / size, reduction="sum", beta=0.1)
    names = functional.one_hot(kinds, rows.shape[-1] - 5).float()
    kind = functional.binary_cross_entropy_with_logits(
        rows[..., 5:][answers], names, reduction="sum"
    )
    return (objectness + _BOX_WEIGHT * (1 - overlap).sum() + distance + kind) / count
