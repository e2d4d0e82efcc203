"""Boxes for themselves: AP on 3D overlap, and whether scores mean what they say, by range.

Range is the distance from the camera on the ground. In a slice of it, true boxes outside are
ignored and detections outside are dropped, as everywhere in Longtail's evaluation.

LaECE and LaACE (Oksuz et al. 2023; Kuzucu et al. 2024, both at a threshold of 0): a score should
be the overlap with the object that the box answers for, 0 when it answers for none. LaECE is
the gap between mean score and mean overlap over 25 bins of score, weighed by their size; LaACE
the mean gap of each box by itself. Boxes that do not count have no part in either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from models.evaluation.overlap import ap_of
from models.evaluation.probability import TOLD_FROM, reliability
from offline.labels.evaluation.acceptance import Accepted, accepted_elsewhere
from offline.labels.evaluation.kitti_rules import ClassTable
from offline.labels.evaluation.scene import Scene
from offline.labels.kitti import TrackedBoxes

LOCALISATION_BINS = 25
RIGHT_FROM = 0.25
"""The 3D overlap from which a box is right when confidence is judged, as the AMOTA family's lower
one: whether something is there, and that it is told of this and of nothing else.
"""
AT_ALL = 1e-9


@dataclass(frozen=True, slots=True)
class BoxMatches:
    """Counted detections by falling score: `scores` float64 [k], `overlap` [k] with the true box
    each answers for, 0 where it is wrong; and how many true boxes count.
    """

    scores: Float64s
    overlap: Float64s
    truths: int

    @property
    def ap(self) -> float:
        """KITTI's AP at 40 levels of recall, in 0..1; NaN without a true box."""
        return ap_of(self.overlap > 0, self.truths)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected calibration error and its worst bin, over boxes told with `TOLD_FROM` or more;
    the localisation-aware errors.
    """

    ece: float
    worst_bin: float
    laece: float
    laace: float


def match_boxes(
    table: ClassTable, scene: Scene, min_overlap: float, range_m: tuple[float, float] | None = None
) -> BoxMatches:
    """Greedy by falling score, to the free true box of highest overlap; ties by row."""
    rows, overlap, counts = _judged(table, scene, min_overlap, range_m)
    return BoxMatches(table.found.score[rows], overlap[rows], int(counts.sum()))


def acceptance(table: ClassTable, scene: Scene) -> Accepted | None:
    """What could be accepted unseen, right from `RIGHT_FROM` on; None for less than two sequences,
    as the threshold is fixed on others.
    """
    if table.starts.size < 2:
        return None
    rows, overlap, counts = _judged(table, scene, RIGHT_FROM, None)
    truths = np.bincount(table.sequence_of(table.truth.frame[counts]), minlength=table.starts.size)
    sequence = table.sequence_of(table.found.frame[rows])
    return accepted_elsewhere(table.found.score[rows], overlap[rows] > 0, sequence, truths)


def _judged(
    table: ClassTable, scene: Scene, min_overlap: float, range_m: tuple[float, float] | None
) -> tuple[Int64s, Float64s, Bools]:
    """Rows that were found and count, by falling score; the overlap of each found row with the
    true box that it answers for [m]; and which true rows count [n].
    """
    truth_in, found_in = _within(table.truth, range_m), _within(table.found, range_m)
    counts = ~table.ignored & truth_in
    scores = table.found.score
    if np.isnan(scores).any():
        raise InputError("boxes need scores")
    rank = np.empty(scores.size, dtype=np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(scores.size)
    pairs = np.flatnonzero((scene.similarity >= min_overlap) & found_in[scene.pair_found])
    pairs = pairs[np.lexsort((-scene.similarity[pairs], rank[scene.pair_found[pairs]]))]
    truth, found = scene.pair_truth[pairs], scene.pair_found[pairs]
    overlap = np.zeros(scores.size)
    excused = table.excused.copy()
    excused[found[~counts[truth]]] = True
    wanted = counts[truth]
    _greedy(truth[wanted], found[wanted], scene.similarity[pairs[wanted]], overlap)
    rows = np.flatnonzero(found_in & ((overlap > 0) | ~excused))
    return rows[np.argsort(rank[rows])], overlap, counts


def _greedy(truth: Int64s, found: Int64s, similarity: Float64s, overlap: Float64s) -> None:
    """Gives each found row the overlap of the first free true row that its pairs offer."""
    taken: set[int] = set()
    for row, place, value in zip(found.tolist(), truth.tolist(), similarity.tolist(), strict=True):
        if overlap[row] == 0 and place not in taken:
            overlap[row] = value
            taken.add(place)


def calibration(matched: BoxMatches, located: BoxMatches) -> Calibration | None:
    """None where scores are no probabilities, or there are none.

    Args:
        matched: at the overlap from which a box is right.
        located: at any overlap, `AT_ALL`.
    """
    told = matched.scores >= TOLD_FROM
    if not told.any() or matched.scores.max() > 1 or matched.scores.min() < 0:
        return None
    found = reliability(matched.scores[told], matched.overlap[told] > 0)
    return Calibration(
        found.error, found.worst,
        localisation_error(located.scores, located.overlap),
        float(np.abs(located.scores - located.overlap).mean()),
    )  # fmt: skip


def localisation_error(scores: Float64s, overlap: Float64s, bins: int = LOCALISATION_BINS) -> float:
    """LaECE of scores [k] in 0..1 against overlaps [k]; NaN without any."""
    if not scores.size:
        return float("nan")
    which = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gap = np.bincount(which, weights=scores - overlap)
    return float(np.abs(gap).sum() / scores.size)


def _within(boxes: TrackedBoxes, range_m: tuple[float, float] | None) -> Bools:
    if range_m is None:
        return np.ones(len(boxes), dtype=np.bool_)
    away = np.hypot(boxes.centre_m[:, 0], boxes.centre_m[:, 1])
    return np.asarray((away >= range_m[0]) & (away < range_m[1]))
