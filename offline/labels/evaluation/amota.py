"""The AMOTA family (Weng et al. 2020, AB3DMOT): MOTA and MOTP over 40 levels of recall.

A track's confidence is the mean of its scores. For each level r of 1/40 .. 1 the threshold on
it is taken that reaches this recall; a level that is not reached counts as 0.

    sMOTA_r = clip(1 - (FP + FN + IDS - (1 - r) n) / (r n), 0, 1)

AMOTA, AMOTP and sAMOTA are the means of MOTA, MOTP and sMOTA; MOTA, switches and fragments
themselves are told at the level of the best MOTA.

One difference from the published script: it keeps, from one level to the next, which boxes
once were matched, and then no longer excuses them (small, or in an unlabelled region).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float64s
from offline.labels.evaluation.kitti_clear import KittiClear, kitti_clear
from offline.labels.evaluation.kitti_rules import ClassTable
from offline.labels.evaluation.scene import Scene

LEVELS = 40


@dataclass(frozen=True, slots=True)
class Amota:
    """Means over the levels; `best` at the confidence `threshold` of the best MOTA."""

    amota: float
    amotp: float
    samota: float
    threshold: float
    best: KittiClear


def amota(table: ClassTable, scene: Scene, min_similarity: float) -> Amota:
    """One class; `scene` holds all rows of the table. Raises `InputError` without scores."""
    if np.isnan(table.found.score).any():
        raise InputError("tracks need scores (column 18): the AMOTA family goes by them")
    track = table.found.track_id
    confidence = (np.bincount(track, table.found.score) / np.maximum(1, np.bincount(track)))[track]

    def at(threshold: float) -> KittiClear:
        kept = confidence >= threshold
        return kitti_clear(scene, table.ignored, table.excused, kept, min_similarity)

    everything = at(-np.inf)
    best, threshold = everything, float("-inf")
    total: Float64s = np.zeros(3, dtype=np.float64)
    right = np.sort(confidence[everything.matched])[::-1]
    for level, value in levels(right, everything.hits + everything.misses):
        now = at(value)
        if not now.truths:
            continue
        rest = now.wrong - (1 - level) * now.truths
        scaled = min(1.0, max(0.0, 1 - rest / (level * now.truths)))
        total += now.mota, now.motp, scaled
        if now.mota > max(0.0, best.mota if threshold > -np.inf else 0.0):
            best, threshold = now, value
    mean_mota, mean_motp, mean_scaled = (total / LEVELS).tolist()
    return Amota(mean_mota, mean_motp, mean_scaled, threshold, best)


def levels(right: Float64s, truths: int) -> list[tuple[float, float]]:
    """Recall and threshold of each level that is reached; `right` [k] falling confidence of the
    matches, `truths` how many there could be. The threshold is of the match whose recall is
    nearest.
    """
    found: list[tuple[float, float]] = []
    level = 0.0
    for k, value in enumerate(right.tolist(), start=1):
        nearer_behind = (k + 1) / truths - level < level - k / truths
        if nearer_behind and k < right.size:
            continue
        found.append((level, value))
        level += 1 / LEVELS
    return found[1:]
