"""CLEAR MOT as KITTI's devkit and AB3DMOT count it, on a scene in which ignored rows still are.

Most matches first, then the most similar; ignored true boxes are matched like others, and their
matches are neither right nor wrong. Peculiarities that published figures contain, and so do
these: MOTP, precision and recall include matches of ignored boxes; what an ignored box hides
is no switch and no fragment; a track that is found for the first time in its last frame counts
as a fragment, and so does one taken up anew only if it is held in the next frame.
(Geiger et al. 2012, devkit_tracking `evaluate_tracking.py`; Weng et al. 2020.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Bools, Int64s
from offline.labels.evaluation.clear import MOSTLY_LOST, MOSTLY_TRACKED
from offline.labels.evaluation.scene import Scene, assigned, dense

# Over any sum of similarities in a frame.
_ONE_MORE_MATCH = 1000.0


@dataclass(frozen=True, slots=True)
class KittiClear:
    """`truths` counts true boxes that are not ignored; `hits` and `similarity` include those of
    ignored ones. `matched` int64 [k]: the rows that were found right, in any order.
    """

    truths: int
    hits: int
    misses: int
    false_alarms: int
    switches: int
    fragments: int
    mostly_tracked: int
    mostly_lost: int
    tracks: int
    similarity: float
    matched: Int64s

    @property
    def wrong(self) -> int:
        return self.misses + self.false_alarms + self.switches

    @property
    def mota(self) -> float:
        return 1 - self.wrong / self.truths if self.truths else float("nan")

    @property
    def motp(self) -> float:
        return self.similarity / max(1, self.hits)

    @property
    def recall(self) -> float:
        return self.hits / max(1, self.hits + self.misses)

    @property
    def precision(self) -> float:
        return self.hits / max(1, self.hits + self.false_alarms)


def kitti_clear(
    scene: Scene, ignored: Bools, excused: Bools, kept: Bools, min_similarity: float
) -> KittiClear:
    """One scene, of which only the found rows in `kept` bool [m] are told.

    Args:
        scene: all pairs.
        ignored: true rows that do not count, bool [n].
        excused: found rows that are not wrong where they match nothing, bool [m].
        kept: found rows that are told.
        min_similarity: of a match.
    """
    pairs = np.flatnonzero((scene.similarity >= min_similarity) & kept[scene.pair_found])
    truth, found = scene.pair_truth[pairs], scene.pair_found[pairs]
    chosen = assigned(truth, found, _ONE_MORE_MATCH + scene.similarity[pairs])
    truth, found = truth[chosen], found[chosen]
    told: Int64s = np.full(ignored.size, -1, dtype=np.int64)
    told[truth] = scene.found_track[found]
    unmatched = kept.copy()
    unmatched[found] = False
    switches, fragments, mostly_tracked, mostly_lost, tracks = _course(scene, told, ignored)
    return KittiClear(
        truths=int((~ignored).sum()), hits=truth.size, misses=int(((told < 0) & ~ignored).sum()),
        false_alarms=int((unmatched & ~excused).sum()),
        switches=switches, fragments=fragments, mostly_tracked=mostly_tracked,
        mostly_lost=mostly_lost, tracks=tracks,
        similarity=float(scene.similarity[pairs[chosen]].sum()), matched=found,
    )  # fmt: skip


def _course(scene: Scene, told: Int64s, ignored: Bools) -> tuple[int, int, int, int, int]:
    """Switches, fragments, tracks mostly tracked, mostly lost, and all that are not ignored
    throughout; `told` int64 [n] names the found track of each true row, -1 for none.
    """
    if not told.size:
        return 0, 0, 0, 0, 0
    order = np.lexsort((scene.truth_frame, scene.truth_track))
    track, told, ignored = dense(scene.truth_track)[order], told[order], ignored[order]
    place = np.arange(track.size)
    first = np.diff(track, prepend=-1) > 0
    last = np.append(first[1:], True)
    start = np.maximum.accumulate(np.where(first, place, 0))
    before, after = np.roll(told, 1), np.roll(told, -1)
    counted = ~ignored & ~first

    # An ignored row ends what was held, save the first of a track.
    ended = np.maximum.accumulate(np.where(ignored & ~first, place, -1))
    held = np.maximum.accumulate(np.where((told >= 0) & (~ignored | first), place, -1))
    was_held = np.roll(held >= np.maximum(start, ended + 1), 1)
    differs = counted & (told >= 0) & (before != told)
    switches = differs & was_held & (before >= 0) & ~np.roll(ignored & ~first, 1)
    fragments = differs & (last | (was_held & (after >= 0)))

    lengths = np.bincount(track, ~ignored)
    hits = np.bincount(track, (told >= 0) & (~ignored | first))
    seen = np.bincount(track, told >= 0) > 0
    known = lengths > 0
    coverage = hits[known] / lengths[known]
    lost = (coverage < MOSTLY_LOST) | ~seen[known]
    tracked = (coverage > MOSTLY_TRACKED) & seen[known]
    return (
        int(switches.sum()), int(fragments.sum()), int(tracked.sum()), int(lost.sum()),
        int(known.sum()),
    )  # fmt: skip
