"""CLEAR MOT (Bernardin and Stiefelhagen 2008): MOTA, MOTP, switches, fragments, coverage.

As TrackEval counts: in a frame, pairs that go on from the frame before come first, then the
most similar; an identity switch is a true track found as another track than when it was last
found; a fragment is each time that a true track is taken up again; frames in which nothing is
there or nothing was found interrupt nothing. `kitti_clear` counts as KITTI's devkit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Int64s
from offline.labels.evaluation.scene import Scene, contested, dense, heaviest

_EPS = float(np.finfo(np.float64).eps)
_GOES_ON = 1000.0
MOSTLY_TRACKED, MOSTLY_LOST = 0.8, 0.2


@dataclass(frozen=True, slots=True)
class Clear:
    """Counts of rows, switches, fragments and true tracks; `similarity` sums over matches."""

    hits: int
    misses: int
    false_alarms: int
    switches: int
    fragments: int
    mostly_tracked: int
    mostly_lost: int
    tracks: int
    similarity: float

    @property
    def mota(self) -> float:
        return (self.hits - self.false_alarms - self.switches) / max(1, self.hits + self.misses)

    @property
    def motp(self) -> float:
        return self.similarity / max(1, self.hits)

    @property
    def recall(self) -> float:
        return self.hits / max(1, self.hits + self.misses)

    @property
    def precision(self) -> float:
        return self.hits / max(1, self.hits + self.false_alarms)


def clear(scene: Scene, min_similarity: float = 0.5) -> Clear:
    """All of one scene."""
    track = dense(scene.truth_track)
    before = _row_before(scene, track)
    pairs = np.flatnonzero(scene.similarity >= min_similarity - _EPS)
    match, similarity = _matches(scene, before, pairs)
    found = match >= 0

    rows = np.flatnonzero(found)
    rows = rows[np.lexsort((scene.truth_frame[rows], track[rows]))]
    told = scene.found_track[match[rows]]
    switches = (np.diff(told) != 0) & (np.diff(track[rows]) == 0)
    went_on = (before >= 0) & found[before]
    starts = np.bincount(track[found & ~went_on])
    length = np.bincount(track)
    coverage = np.bincount(track[found], minlength=length.size) / length
    hits = int(found.sum())
    return Clear(
        hits=hits, misses=found.size - hits, false_alarms=scene.found_frame.size - hits,
        switches=int(switches.sum()), fragments=int(np.maximum(starts - 1, 0).sum()),
        mostly_tracked=int((coverage > MOSTLY_TRACKED).sum()),
        mostly_lost=int((coverage < MOSTLY_LOST).sum()), tracks=length.size,
        similarity=similarity,
    )  # fmt: skip


def _row_before(scene: Scene, track: Int64s) -> Int64s:
    """The row of the same track in the frame before, of those in which something is there and
    something was found; -1 where there is none: int64 [n].
    """
    active = np.intersect1d(scene.truth_frame, scene.found_frame)
    turn = np.searchsorted(active, scene.truth_frame)
    rows = np.flatnonzero(np.isin(scene.truth_frame, active))
    rows = rows[np.lexsort((turn[rows], track[rows]))]
    follows = (np.diff(track[rows]) == 0) & (np.diff(turn[rows]) == 1)
    before: Int64s = np.full(track.size, -1, dtype=np.int64)
    before[rows[1:][follows]] = rows[:-1][follows]
    return before


def _matches(scene: Scene, before: Int64s, pairs: Int64s) -> tuple[Int64s, float]:
    """The found row of each true row, int64 [n], -1 for none; and the sum of similarity."""
    truth, found = scene.pair_truth[pairs], scene.pair_found[pairs]
    alone = (np.bincount(truth)[truth] == 1) & (np.bincount(found)[found] == 1)
    match: Int64s = np.full(before.size, -1, dtype=np.int64)
    match[truth[alone]] = found[alone]
    total = float(scene.similarity[pairs[alone]].sum())
    groups = contested(scene.pair_truth, scene.pair_found, pairs[~alone])
    # A group is of one frame, and has to know what the frame before decided.
    groups.sort(key=lambda group: int(scene.truth_frame[scene.pair_truth[group[0]]]))
    for group in groups:
        left, right = scene.pair_truth[group], scene.pair_found[group]
        last = np.where(before[left] >= 0, match[before[left]], -1)
        goes_on = (last >= 0) & (scene.found_track[last] == scene.found_track[right])
        chosen = heaviest(left, right, _GOES_ON * goes_on + scene.similarity[group])
        match[left[chosen]] = right[chosen]
        total += float(scene.similarity[group[chosen]].sum())
    return match, total
