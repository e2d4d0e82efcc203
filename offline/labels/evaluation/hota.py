"""HOTA: higher order tracking accuracy (Luiten et al. 2021).

For each alpha of 0.05 .. 0.95, pairs that are at least so alike are matched. DetA is the share
of matches among all that was there or was found; AssA the mean over the matches of how far
the two tracks coincide; HOTA their geometric mean; LocA the mean similarity of the matches. The
assignment in a frame, the same for every alpha, weighs similarity by how well two tracks go
together over all frames. The headline figures are means over alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s
from offline.labels.evaluation.scene import Scene, assigned, dense

ALPHAS: Float64s = np.arange(0.05, 0.99, 0.05)
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Hota:
    """By alpha, float64 [19] each, all in 0..1; LocA is 1 where nothing matched."""

    hota: Float64s
    det_a: Float64s
    det_recall: Float64s
    det_precision: Float64s
    ass_a: Float64s
    ass_recall: Float64s
    ass_precision: Float64s
    loc_a: Float64s


def hota(scene: Scene) -> Hota:
    """All of one scene."""
    truths, founds = scene.truth_frame.size, scene.found_frame.size
    track_of_pair = scene.truth_track[scene.pair_truth], scene.found_track[scene.pair_found]
    couple = dense(*track_of_pair)
    couples = int(couple.max(initial=-1)) + 1
    first: Float64s = np.zeros((2, couples), dtype=np.float64)
    lengths = np.bincount(scene.truth_track), np.bincount(scene.found_track)
    for side in range(2):
        first[side, couple] = lengths[side][track_of_pair[side]]
    truth_length, found_length = first

    alike = scene.similarity
    of_truth = np.bincount(scene.pair_truth, alike, minlength=truths)[scene.pair_truth]
    of_found = np.bincount(scene.pair_found, alike, minlength=founds)[scene.pair_found]
    together = np.bincount(couple, alike / (of_truth + of_found - alike), minlength=couples)
    alignment = together / (truth_length + found_length - together)
    chosen = assigned(scene.pair_truth, scene.pair_found, alignment[couple] * alike)
    couple, alike = couple[chosen], alike[chosen]

    rows = []
    for alpha in ALPHAS:
        right = alike >= alpha - _EPS
        hits = int(right.sum())
        count = np.bincount(couple[right], minlength=couples)
        told = max(1, hits)
        rows.append((
            hits / max(1, truths + founds - hits), hits / max(1, truths), hits / max(1, founds),
            float(count @ (count / (truth_length + found_length - count))) / told,
            float(count @ (count / truth_length)) / told,
            float(count @ (count / found_length)) / told,
            float(alike[right].mean()) if hits else 1.0,
        ))  # fmt: skip
    det_a, det_recall, det_precision, ass_a, ass_recall, ass_precision, loc_a = np.array(rows).T
    return Hota(
        np.sqrt(det_a * ass_a), det_a, det_recall, det_precision, ass_a, ass_recall,
        ass_precision, loc_a,
    )  # fmt: skip
