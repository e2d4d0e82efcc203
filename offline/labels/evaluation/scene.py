"""What measures of tracking work on: rows of truth and of what was found, and how alike they are.

A scene holds any number of sequences at once: frames and tracks have numbers of their own in
each, so every measure is a sum over rows, and joining sequences is no step of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s


@dataclass(frozen=True, slots=True)
class Scene:
    """`truth_frame`, `truth_track` int64 [n]; `found_frame`, `found_track` int64 [m], frames
    rising; and every pair of rows of one frame that are alike: `pair_truth`, `pair_found` int64
    [p] rows, `similarity` float64 [p], over 0 and at most 1.
    """

    truth_frame: Int64s
    truth_track: Int64s
    found_frame: Int64s
    found_track: Int64s
    pair_truth: Int64s
    pair_found: Int64s
    similarity: Float64s

    def __post_init__(self) -> None:
        if not ((self.similarity > 0) & (self.similarity <= 1 + 1e-9)).all():
            raise InputError("similarity of a pair lies over 0 and at most 1", "similarity")
        for name in ("truth", "found"):
            frame, track = getattr(self, f"{name}_frame"), getattr(self, f"{name}_track")
            if np.unique(np.stack([frame, track]), axis=1).shape[1] != frame.size:
                raise InputError("a track is twice in a frame", name)

    def kept(self, truth: Bools, found: Bools) -> Scene:
        """Only some rows of truth, bool [n], and of what was found, bool [m]."""
        pairs = truth[self.pair_truth] & found[self.pair_found]
        truth_row, found_row = np.cumsum(truth) - 1, np.cumsum(found) - 1
        return Scene(
            self.truth_frame[truth], self.truth_track[truth],
            self.found_frame[found], self.found_track[found],
            truth_row[self.pair_truth[pairs]], found_row[self.pair_found[pairs]],
            self.similarity[pairs],
        )  # fmt: skip


def same_frame(one: Int64s, two: Int64s) -> tuple[Int64s, Int64s]:
    """All pairs of rows of one frame; `one` [n] and `two` [m] hold rising frames."""
    first = np.searchsorted(two, one, side="left")
    count = np.searchsorted(two, one, side="right") - first
    row = np.repeat(np.arange(one.size), count)
    before = np.repeat(np.cumsum(count) - count, count)
    return row, np.arange(row.size) - before + first[row]


def assigned(one: Int64s, two: Int64s, weight: Float64s) -> Bools:
    """Which pairs make up the heaviest one-to-one assignment, bool [p].

    Args:
        one: rows of one side, int64 [p], any non-negative numbers.
        two: rows of the other.
        weight: of each pair, over 0; a pair is at most once.
    """
    alone = (np.bincount(one)[one] == 1) & (np.bincount(two)[two] == 1)
    chosen: Bools = alone.copy()
    for pairs in contested(one, two, np.flatnonzero(~alone)):
        chosen[pairs] = heaviest(one[pairs], two[pairs], weight[pairs])
    return chosen


def contested(one: Int64s, two: Int64s, pairs: Int64s) -> list[Int64s]:
    """Pairs by groups that have no row in common; groups in the order of their first pair."""
    if not pairs.size:
        return []
    rows, left = np.unique(one[pairs], return_inverse=True)
    columns, right = np.unique(two[pairs], return_inverse=True)
    nodes = rows.size + columns.size
    graph = coo_array((np.ones(pairs.size), (left, rows.size + right)), shape=(nodes, nodes))
    group = connected_components(graph, directed=False)[1][left]
    order = np.argsort(group, kind="stable")
    parts = np.split(pairs[order], np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(parts, key=lambda part: int(part[0]))


def heaviest(one: Int64s, two: Int64s, weight: Float64s) -> Bools:
    """As `assigned`, for pairs that are one group."""
    rows, left = np.unique(one, return_inverse=True)
    columns, right = np.unique(two, return_inverse=True)
    table = np.zeros((rows.size, columns.size))
    table[left, right] = weight
    partner = np.full(rows.size, -1)
    taken, by = linear_sum_assignment(table, maximize=True)
    partner[taken] = by
    return np.asarray(partner[left] == right)


def dense(*columns: Int64s) -> Int64s:
    """Numbers 0, 1 .. for the different rows of some columns [n], in their order."""
    stacked = np.stack(columns)
    return np.asarray(np.unique(stacked, axis=1, return_inverse=True)[1]).reshape(-1)
