"""IDF1: how much of the truth a one-to-one assignment of whole tracks explains.

(Ristani et al. 2016.) Tracks are assigned so that as many frames as possible agree, a frame
agreeing where the two boxes are at least `min_similarity` alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offline.labels.evaluation.scene import Scene, assigned, dense


@dataclass(frozen=True, slots=True)
class Identity:
    """Frames of assigned tracks that agree (`right`), rows found and rows of truth."""

    right: int
    founds: int
    truths: int

    @property
    def f1(self) -> float:
        return 2 * self.right / max(1, self.founds + self.truths)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.truths)

    @property
    def precision(self) -> float:
        return self.right / max(1, self.founds)


def identity(scene: Scene, min_similarity: float = 0.5) -> Identity:
    """All of one scene."""
    pairs = scene.similarity >= min_similarity
    truth = scene.truth_track[scene.pair_truth[pairs]]
    found = scene.found_track[scene.pair_found[pairs]]
    couple = dense(truth, found)
    _, place, count = np.unique(couple, return_index=True, return_counts=True)
    chosen = assigned(truth[place], found[place], count.astype(np.float64))
    return Identity(int(count[chosen].sum()), scene.found_frame.size, scene.truth_frame.size)
