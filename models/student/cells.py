"""What a frozen student makes of labelled drives, kept at the few cells that may hold something.

A head that is retrained over a frozen network looks at the same features again and again. They
are worked out once: of each frame the `KEPT` cells that look most like any object to the
network (the largest class probability there or in a neighbouring cell), with the features of the
last layer before the heads and of the two levels of sight below it. The boxes' channels stay as
the network tells them. What lies elsewhere is nothing to any head trained on this.

A drive is one file, an npz without pickle, in half precision: about 400 kB for three frames.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.errors import CorruptError, InputError
from contracts.geometry import Bools, Boxes, Int64s
from contracts.samples import Float32s, Float64s
from models.data.drives import LabelledFrame
from models.student.inputs import batch_of
from models.student.layers import twice
from models.student.network import Student
from models.student.targets import targets_of
from models.student.train import channels_last

KEPT = 400
Halves = NDArray[np.float16]
_TRUTH = ("truth", "truth_class", "truth_frame", "truth_ignored")


@dataclass(frozen=True, slots=True)
class CellFrames:
    """n frames with k cells each, and their m true boxes.

    `cells` int64 [n, k] place in the flattened grid; `features` float16 [n, k, d]; `boxes`
    float16 [n, k, 10 * groups] as `kernels.bev_decoding` has them; `targets` float16
    [n, k, classes] and `counted` bool [n, k] as `models.student.targets`; `embedding` float32
    [n, 256]; `mono_ns` int64 [n].

    `truth` float64 [m, 9]: centre, size, yaw, velocity; `truth_class`, `truth_frame` int64 [m];
    `truth_ignored` bool [m]: not to be judged, or off the grid.
    """

    cells: Int64s
    features: Halves
    boxes: Halves
    targets: Halves
    counted: Bools
    embedding: Float32s
    mono_ns: Int64s
    truth: Float64s
    truth_class: Int64s
    truth_frame: Int64s
    truth_ignored: Bools

    def __len__(self) -> int:
        return len(self.cells)

    def taken(self, every: int) -> CellFrames:
        """Every so many of the frames, from the first on."""
        boxes = self.truth_frame % every == 0
        columns = {
            each.name: getattr(self, each.name)[
                boxes if each.name in _TRUTH else slice(None, None, every)
            ]
            for each in fields(self)
        }
        columns["truth_frame"] = columns["truth_frame"] // every
        return CellFrames(**columns)

    def truth_of(self, frame: int) -> tuple[Boxes, Bools]:
        """True boxes of one frame, and which of them are ignored."""
        rows = np.flatnonzero(self.truth_frame == frame)
        table = self.truth[rows]
        nobody = np.full(rows.size, -1, dtype=np.int64)
        boxes = Boxes(
            table[:, :3], table[:, 3:6], table[:, 6], table[:, 7:], self.truth_class[rows], nobody
        )
        return boxes, self.truth_ignored[rows]


def cells_of(student: Student, frames: Sequence[LabelledFrame], kept: int = KEPT) -> CellFrames:
    """The cells of one drive's frames. Raises `InputError` without a frame."""
    if not frames:
        raise InputError("no labelled frame", "cells")
    config = student.config
    inputs = channels_last(batch_of([one.frame for one in frames]))
    with torch.no_grad():
        features, heat, boxes, embedding = _seen(student, inputs)
    places = _hottest(heat, kept)
    targets = [targets_of(config, one.labels) for one in frames]
    told = [one.labels.boxes() for one in frames]
    ignored = [
        one.labels.ignored() | ~config.grid.inside(its.centre_m[:, :2])
        for one, its in zip(frames, told, strict=True)
    ]
    return CellFrames(
        places.numpy(), _at(features, places), _at(boxes, places),
        _at(torch.from_numpy(np.stack([one.heat for one in targets])), places),
        _at(torch.from_numpy(np.stack([one.counted for one in targets]))[:, None], places)[..., 0]
        > 0,
        embedding.numpy().astype(np.float32),
        np.array([one.labels.record.mono_ns for one in frames], dtype=np.int64),
        np.concatenate([
            np.column_stack([its.centre_m, its.size_m, its.yaw_rad, its.velocity_mps])
            for its in told
        ]),
        np.concatenate([its.class_index for its in told]),
        np.repeat(np.arange(len(told)), [len(its) for its in told]),
        np.concatenate(ignored),
    )  # fmt: skip


def write_cells(path: Path, frames: CellFrames) -> None:
    """Write a drive's cells; the file is there whole or not at all."""
    partial = path.with_name(f".{path.name}")
    with partial.open("wb") as stream:
        np.savez(
            stream, allow_pickle=False,
            **{each.name: getattr(frames, each.name) for each in fields(frames)},
        )  # fmt: skip
    partial.replace(path)


def read_cells(path: Path) -> CellFrames:
    """Raises `CorruptError` for anything but a whole file of cells."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            return CellFrames(**{each.name: archive[each.name] for each in fields(CellFrames)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptError(f"these are no cells: {error}", str(path)) from error


def joined_cells(parts: Sequence[CellFrames]) -> CellFrames:
    """Frames of several drives as one table, in their order."""
    first = np.cumsum([0, *(len(part) for part in parts[:-1])])
    columns = {
        each.name: np.concatenate([getattr(part, each.name) for part in parts])
        for each in fields(CellFrames)
        if each.name != "truth_frame"
    }
    rows = [part.truth_frame + start for part, start in zip(parts, first, strict=True)]
    return CellFrames(truth_frame=np.concatenate(rows), **columns)


def _seen(student: Student, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features [n, d, r, c], class-agnostic heat [n, 1, r, c], box channels and embedding."""
    tasks = student.tasks
    caught: list[Tensor] = []
    hook = tasks.shared.register_forward_hook(lambda module, taken, made: caught.append(made))
    try:
        sighted = student.sight(*inputs)
        outputs = tasks(*sighted)
    finally:
        hook.remove()
    features = torch.cat([caught[0], sighted.level0, twice(sighted.level1)], dim=1)
    heat = torch.sigmoid(outputs.heat).amax(dim=1, keepdim=True)
    return features, heat, outputs.boxes, outputs.embedding


def _hottest(heat: Tensor, kept: int) -> Tensor:
    """Places int64 [n, kept] of the hottest cells and their neighbours, rising."""
    near = torch.nn.functional.max_pool2d(heat, 3, 1, 1).flatten(1)
    return near.topk(kept, dim=1).indices.sort(dim=1).values


def _at(maps: Tensor, places: Tensor) -> Halves:
    """Maps [n, d, r, c] at places [n, k]: [n, k, d]."""
    flat = maps.flatten(2)
    chosen = flat.gather(2, places[:, None].expand(-1, flat.shape[1], -1))
    return np.ascontiguousarray(chosen.transpose(1, 2).numpy().astype(np.float16))
