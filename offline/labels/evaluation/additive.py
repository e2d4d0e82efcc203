"""Counts of one sequence from which HOTA and MOTA of any set of sequences are sums.

Leaving a sequence out is then no new measurement. HOTA as of 2D boxes, MOTA of 3D boxes with
everything told that was found; both as in `hota` and `kitti_clear`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s
from offline.labels.evaluation.hota import hota
from offline.labels.evaluation.kitti_clear import kitti_clear
from offline.labels.evaluation.kitti_rules import ClassTable, image_scene, space_scene


@dataclass(frozen=True, slots=True)
class Counts:
    """`hits` and summed `association` of them, float64 [alphas]; 2D boxes that are true and that
    were found; true boxes in space, and by overlap what was `wrong` [overlaps] of them.
    """

    hits: Float64s
    association: Float64s
    truths: int
    founds: int
    space_truths: int
    wrong: Float64s


def counts_of(table: ClassTable, overlaps: Sequence[float]) -> Counts:
    """Of one class and sequence."""
    image, space = image_scene(table), space_scene(table)
    truths, founds = image.truth_frame.size, image.found_frame.size
    higher = hota(image)
    hits = np.round(higher.det_recall * truths)
    everything = np.ones(len(table.found), dtype=np.bool_)
    clear = [
        kitti_clear(space, table.ignored, table.excused, everything, overlap)
        for overlap in overlaps
    ]
    return Counts(
        hits, higher.ass_a * hits, truths, founds, clear[0].truths if clear else 0,
        np.array([each.wrong for each in clear], dtype=np.float64),
    )  # fmt: skip


def hota_of(parts: Iterable[Counts]) -> float:
    """Of all sequences together; NaN without a true box."""
    every = list(parts)
    truths, founds = (sum(getattr(c, name) for c in every) for name in ("truths", "founds"))
    if not truths:
        return float("nan")
    hits = sum((c.hits for c in every), np.zeros(1))
    association = sum((c.association for c in every), np.zeros(1)) / np.maximum(hits, 1)
    return float(np.sqrt(hits / (truths + founds - hits) * association).mean())


def motas_of(parts: Iterable[Counts]) -> Float64s:
    """By overlap, of all sequences together: [overlaps]; NaN without a true box."""
    every = list(parts)
    truths = sum(c.space_truths for c in every)
    if not truths:
        return np.full_like(every[0].wrong, np.nan)
    return np.asarray(1 - np.sum([c.wrong for c in every], axis=0) / truths)
