"""One of several that show the same.

Both functions walk down the rows by falling priority, equal ones by rising row, and keep a row
unless one that was kept before it is too near: no two kept rows are too near, and each row that
goes has a kept one of at least its priority.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float32s, Float64s
from offline.acquisition.lattice import BLOCK, lattice_of, norms_of

_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """`rows` int64 of those that stay, rising; `instead` int64 [n] the kept row that stands for
    each, itself where it stays.
    """

    rows: Int64s
    instead: Int64s


def too_close_in_time(
    start_ns: int, end_ns: int, starts_ns: Int64s, ends_ns: Int64s, gap_s: float
) -> Bools:
    """Which spans of the same drive overlap this one or leave less than `gap_s` to it."""
    gap_ns = round(gap_s * NS_PER_S)
    return np.asarray((starts_ns < end_ns + gap_ns) & (ends_ns > start_ns - gap_ns))


def thinned_in_time(
    drives: Sequence[str], starts_ns: Int64s, ends_ns: Int64s, priority: Float64s, gap_s: float
) -> Kept:
    """Of clips of one drive (times on one clock) that lie closer than `gap_s` the best.

    Raises `InputError` when columns differ in length, a span ends before it starts, a priority
    is NaN or the gap is negative.
    """
    n = len(drives)
    if not n == len(starts_ns) == len(ends_ns) == len(priority):
        raise InputError("drives, times and priorities differ in length")
    if (ends_ns < starts_ns).any():
        raise InputError(
            "a span ends before it starts", f"row {int(np.argmax(ends_ns < starts_ns))}"
        )
    if not gap_s >= 0:
        raise InputError(f"cannot be {gap_s}", "gap_s")
    kept_of: dict[str, list[int]] = {}
    instead = np.arange(n, dtype=np.int64)
    for row in _by_priority(priority):
        rows = kept_of.setdefault(drives[row], [])
        near = too_close_in_time(
            int(starts_ns[row]), int(ends_ns[row]), starts_ns[rows], ends_ns[rows], gap_s
        )
        if near.any():
            instead[row] = rows[int(near.argmax())]
        else:
            rows.append(int(row))
    return _kept(instead)


def without_near_duplicates(
    vectors: NDArray[np.floating], priority: Float64s, distance: float
) -> Kept:
    """Of vectors [n, d] no farther apart than `distance`, on the lattice, the best.

    Raises `InputError` when the lengths differ, a value is not finite or the distance negative.
    """
    if len(vectors) != len(priority):
        raise InputError(f"{len(vectors)} vectors, but {len(priority)} priorities", "priority")
    if not distance >= 0:
        raise InputError(f"cannot be {distance}", "distance")
    lattice = lattice_of([vectors])
    order = _by_priority(priority)
    rows = lattice.rounded(vectors)[order]
    norms = norms_of(rows)
    limit = (distance / lattice.step) ** 2
    # Places in `order`: `kept[:count]` stay, `stands[i]` stands for the i-th.
    kept, count = np.empty(len(rows), dtype=np.int64), 0
    stands = np.arange(len(rows), dtype=np.int64)
    kept_rows = np.empty_like(rows)
    for start in range(0, len(rows), _AT_ONCE):
        left = np.arange(start, min(start + _AT_ONCE, len(rows)))
        for first in range(0, count, BLOCK):
            old = kept[first : min(first + BLOCK, count)]
            found = kept_rows[first : first + len(old)]
            near = _squared(rows[left], norms[left], found, norms[old]) <= limit
            covered = near.any(axis=1)
            stands[left[covered]] = old[near[covered].argmax(axis=1)]
            left = left[~covered]
        among = _squared(rows[left], norms[left], rows[left], norms[left]) <= limit
        alive: Bools = np.ones(len(left), dtype=np.bool_)
        for i in range(len(left)):
            if alive[i]:
                taken = among[i] & alive
                stands[left[taken]] = left[i]
                alive &= ~taken
                kept[count], kept_rows[count] = left[i], rows[left[i]]
                count += 1
    instead = np.empty_like(stands)
    instead[order] = order[stands]
    return _kept(instead)


def _by_priority(priority: Float64s) -> Int64s:
    if np.isnan(priority).any():
        raise InputError("is NaN", f"priority: row {int(np.isnan(priority).argmax())}")
    return np.argsort(-priority, kind="stable")


def _squared(a: Float32s, a_norms: Float32s, b: Float32s, b_norms: Float32s) -> Float32s:
    """Squared distances [n, m] of lattice rows, exact."""
    return np.asarray((a @ (-2 * b.T) + b_norms) + a_norms[:, None])


def _kept(instead: Int64s) -> Kept:
    return Kept(np.flatnonzero(instead == np.arange(len(instead))), instead)
