"""Detections of many frames, or of many detectors of one frame, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Boxes, Int64s
from contracts.samples import Float32s, Float64s
from kernels.bev_decoding import BevDecoded
from models.evaluation.matching import joined as stacked


@dataclass(frozen=True, slots=True)
class Detections:
    """Columns over n boxes: `boxes`; `scores` float64 [n] in 0..1; `distributions` float32
    [n, classes]; `group` int64 [n], of what they are: a frame, or a detector.
    """

    boxes: Boxes
    scores: Float64s
    distributions: Float32s
    group: Int64s

    def __post_init__(self) -> None:
        n = len(self.boxes)
        for name in ("scores", "distributions", "group"):
            if getattr(self, name).shape[0] != n:
                raise InputError(f"{n} boxes, but {getattr(self, name).shape[0]} rows", name)
        if not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise InputError("a score is a probability in 0..1", "scores")

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: Int64s | Bools) -> Detections:
        """The chosen rows, by index or mask."""
        return Detections(
            self.boxes.take(rows), self.scores[rows], self.distributions[rows], self.group[rows]
        )


def detections_of(decoded: Sequence[BevDecoded], classes: int) -> Detections:
    """What several detectors told, or one in several frames, grouped by their place."""
    counts = [len(one.boxes) for one in decoded]
    none = np.zeros((0, classes), dtype=np.float32)
    return Detections(
        stacked([one.boxes for one in decoded]),
        np.concatenate([np.zeros(0), *(one.scores.astype(np.float64) for one in decoded)]),
        np.concatenate([none, *(one.distributions for one in decoded)]),
        np.repeat(np.arange(len(decoded)), counts),
    )  # fmt: skip


def joined(parts: Sequence[Detections], classes: int) -> Detections:
    """Tables below one another, as they are."""
    none = np.zeros((0, classes), dtype=np.float32)
    return Detections(
        stacked([part.boxes for part in parts]),
        np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
        np.concatenate([none, *(part.distributions for part in parts)]),
        np.concatenate([np.zeros(0, dtype=np.int64), *(part.group for part in parts)]),
    )  # fmt: skip
