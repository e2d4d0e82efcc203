"""Tracks over a whole clip: what both directions of time agree on, then joined over gaps.

The associator runs forward and backward. Links from box to box that both find are taken; the
chains they make are tracklets. Ends and beginnings of tracklets are then joined by one
assignment over the whole clip: each side's course is led on to the other, and both must meet.
Where points show what objects look like, looks that agree bring ends together and carry over
longer gaps; looks that differ keep them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from offline.labels.auto.association import Associator
from offline.labels.auto.filter import WorldBoxes
from offline.labels.auto.parameters import Association, Linking
from offline.labels.points.appearance import Looks, appearance_cost, mean_look

_NEVER = 1e6
_SIDE = 6
_STEADY_M, _PER_FRAME_M = 0.6, 0.12
_LONG_GAP = 2.5
_ALIKE = -0.2
_MOST_WORTH = 0.6
_VIEWS = 10


def tracks_of(
    frame: Int64s, seen: WorldBoxes, edges: Int64s, association: Association, linking: Linking,
    looks: Looks | None = None,
) -> Int64s:  # fmt: skip
    """The track of each box of a clip, int64 [n], -1 for none.

    Args:
        frame: of each box, rising, int64 [n].
        seen: all boxes.
        edges: first row of each frame and one past the last.
        association: how boxes of successive frames are joined.
        linking: how tracklets are.
        looks: of the same boxes, where there are points.
    """
    ahead = _links(associated(seen, edges, association), frame)
    back = _links(associated(seen, edges, association, backward=True), frame)
    both = {link for link in ahead if link in back}
    # What only one direction finds stands where nothing of the other contradicts it.
    taken = {row for row, _ in both}, {row for _, row in both}
    either = sorted((ahead | back) - both, key=lambda link: (frame[link[1]] - frame[link[0]], link))
    for one, two in either:
        if one not in taken[0] and two not in taken[1] and (frame[two] - frame[one] <= 2):
            both.add((one, two))
            taken[0].add(one)
            taken[1].add(two)
    linked_rows = {row for link in both for row in link}
    following = dict(both)
    starts = sorted((linked_rows | _strong(seen, association)) - {two for _, two in both})
    chains = [_chain(start, following) for start in starts]
    return _joined(chains, frame, seen, linking, looks)


def rows_of(seen: WorldBoxes, rows: Int64s | slice) -> WorldBoxes:
    """Some boxes."""
    return WorldBoxes(
        seen.xy_m[rows], seen.z_m[rows], seen.size_m[rows], seen.yaw_rad[rows],
        seen.probability[rows], seen.range_m[rows],
    )  # fmt: skip


def associated(
    seen: WorldBoxes, edges: Int64s, association: Association, backward: bool = False
) -> Int64s:
    """The track of each box in one direction of time, int64 [n], -1 for none."""
    tracks: Int64s = np.full(seen.yaw_rad.size, -1, dtype=np.int64)
    associator = Associator(association)
    frames = range(edges.size - 1)
    for k in reversed(frames) if backward else frames:
        rows = slice(int(edges[k]), int(edges[k + 1]))
        tracks[rows] = associator.step(rows_of(seen, rows))
    return tracks


def _links(tracks: Int64s, frame: Int64s) -> set[tuple[int, int]]:
    """Pairs of rows that follow one another in a track."""
    rows = np.flatnonzero(tracks >= 0)
    rows = rows[np.lexsort((frame[rows], tracks[rows]))]
    same = np.diff(tracks[rows]) == 0
    return set(zip(rows[:-1][same].tolist(), rows[1:][same].tolist(), strict=True))


def _strong(seen: WorldBoxes, association: Association) -> set[int]:
    return set(np.flatnonzero(seen.probability >= association.birth_score).tolist())


def _chain(start: int, following: dict[int, int]) -> Int64s:
    rows = [start]
    while rows[-1] in following:
        rows.append(following[rows[-1]])
    return np.array(rows)


def _joined(
    chains: Sequence[Int64s], frame: Int64s, seen: WorldBoxes, linking: Linking,
    looks: Looks | None,
) -> Int64s:  # fmt: skip
    tracks: Int64s = np.full(frame.size, -1, dtype=np.int64)
    if not chains:
        return tracks
    cost = _costs(chains, frame, seen, linking, looks)
    one, two = linear_sum_assignment(cost)
    good = cost[one, two] < linking.gate
    before = dict(zip(two[good].tolist(), one[good].tolist(), strict=True))
    # Chains are in the order of their first rows, so what a chain follows has its number already.
    for number, rows in enumerate(chains):
        tracks[rows] = tracks[chains[before[number]][0]] if number in before else number
    return tracks


def _costs(
    chains: Sequence[Int64s], frame: Int64s, seen: WorldBoxes, linking: Linking,
    looks: Looks | None,
) -> Float64s:  # fmt: skip
    """Of leading chain i on to chain j, float64 [c, c]."""
    heads = np.array([_side(rows[:_SIDE], frame, seen, rows[0]) for rows in chains])
    tails = np.array([_side(rows[-_SIDE:], frame, seen, rows[-1]) for rows in chains])
    first = np.array([frame[rows[0]] for rows in chains])
    last = np.array([frame[rows[-1]] for rows in chains])
    size = np.log([seen.size_m[rows].mean(axis=0) for rows in chains])
    gap = (first[None] - last[:, None]).astype(np.float64)
    led_on = tails[:, None, :2] + tails[:, None, 2:] * gap[..., None] - heads[None, :, :2]
    led_back = heads[None, :, :2] - heads[None, :, 2:] * gap[..., None] - tails[:, None, :2]
    away = np.hypot(*np.moveaxis(heads[None, :, :2] - tails[:, None, :2], -1, 0))
    miss = 0.5 * (np.hypot(*np.moveaxis(led_on, -1, 0)) + np.hypot(*np.moveaxis(led_back, -1, 0)))
    # A chain of one box has no speed of its own: being near is all that can be asked of it.
    cost = np.minimum(miss, away + 0.5 * miss) / (_STEADY_M + _PER_FRAME_M * np.maximum(gap, 1))
    cost += np.abs(size[:, None] - size[None]).sum(axis=-1)
    apart = (gap < 1) | (away > linking.max_speed_m * gap + _STEADY_M)
    too_long = gap > linking.max_gap
    if looks is not None:
        # Looks that agree are worth so much at most; what lies beyond needs no second look.
        apart |= (gap > _LONG_GAP * linking.max_gap) | (cost >= linking.gate + _MOST_WORTH)
        alike = _appearance_costs(chains, ~apart, looks)
        too_long &= alike > _ALIKE
        cost += alike
    return np.where(apart | too_long | (cost >= linking.gate), _NEVER, cost)


def _appearance_costs(chains: Sequence[Int64s], asked: Bools, looks: Looks) -> Float64s:
    """Of the end of chain i with the beginning of chain j, where asked: float64 [c, c]."""
    cost: Float64s = np.zeros(asked.shape, dtype=np.float64)
    one, two = np.nonzero(asked)
    if not one.size:
        return cost
    ends, begins = np.unique(one), np.unique(two)
    views = [chains[k][-_VIEWS:] for k in ends] + [chains[k][:_VIEWS] for k in begins]
    seen = looks.of(np.concatenate(views))
    parts = np.split(seen, np.cumsum([part.size for part in views])[:-1])
    mean = np.stack([mean_look(part) for part in parts])
    tail, head = mean[np.searchsorted(ends, one)], mean[ends.size + np.searchsorted(begins, two)]
    cost[one, two] = appearance_cost(tail, head)
    return cost


def _side(rows: Int64s, frame: Int64s, seen: WorldBoxes, at: int) -> Float64s:
    """Place and speed [4] at one end of a chain, from a line through its boxes there."""
    if rows.size < 3:
        speed = np.zeros(2)
        if rows.size == 2:
            speed = (seen.xy_m[rows[1]] - seen.xy_m[rows[0]]) / (frame[rows[1]] - frame[rows[0]])
        return np.concatenate([seen.xy_m[at], speed])
    time = (frame[rows] - frame[at]).astype(np.float64)
    line = np.polynomial.polynomial.polyfit(time, seen.xy_m[rows], 1)
    return np.asarray(line.reshape(-1))
