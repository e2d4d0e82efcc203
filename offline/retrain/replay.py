"""Which old frames come along in a retraining, so that a few stand for all.

The share is dealt to slices (a tag's values, or any other key of a frame), so that none goes
without: most by how many frames a slice has, and to each at least its floor. Within a slice the
frames are those that cover it best in embedding space (k-centre greedy), since what was learned
is lost where nothing near it is seen again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float32s
from offline.acquisition.coverage import k_centre


def replayed(slices: Sequence[str], embeddings: Float32s, share: float, floor: int = 1) -> Int64s:
    """Rows of the old frames that are replayed, int64, rising.

    Args:
        slices: the slice of each old frame.
        embeddings: [n, d] of the network that is retrained; with a share of 1 they tell nothing.
        share: of all frames, 0 to 1; at least one frame unless it is 0.
        floor: frames that each slice gets before the rest is dealt, as far as it has them.

    Raises `InputError` when lengths differ or the share is none.
    """
    if embeddings.ndim != 2 or len(embeddings) != len(slices):
        raise InputError(f"{len(slices)} slices, embeddings {list(embeddings.shape)}", "replay")
    if not 0 <= share <= 1:
        raise InputError(f"a share lies in 0..1, not {share:g}", "replay")
    if not slices or share == 0:
        return np.zeros(0, dtype=np.int64)
    if share == 1:
        return np.arange(len(slices))
    count = max(1, round(share * len(slices)))
    names = sorted(set(slices))
    rows = {name: np.flatnonzero([one == name for one in slices]) for name in names}
    chosen = [
        rows[name][_covering(embeddings[rows[name]], k)]
        for name, k in dealt({name: rows[name].size for name in names}, count, floor).items()
    ]
    return np.sort(np.concatenate(chosen))


def dealt(sizes: dict[str, int], count: int, floor: int) -> dict[str, int]:
    """How many of `count` each slice gets: its floor, then by size, largest remainder first.

    Where the floors alone are more than `count`, slices get one at a time in turn, the smallest
    first: they have the least that stands for them elsewhere.
    """
    count = min(count, sum(sizes.values()))
    given = dict.fromkeys(sizes, 0)
    small_first = sorted(sizes, key=lambda name: (sizes[name], name))
    for _ in range(floor):
        for name in small_first:
            if sum(given.values()) < count and given[name] < sizes[name]:
                given[name] += 1
    while (left := count - sum(given.values())) > 0:
        room = {name: sizes[name] - given[name] for name in sizes if given[name] < sizes[name]}
        total = sum(room.values())
        asked = {name: left * room[name] / total for name in room}
        for name in room:
            given[name] += int(asked[name])
        by_remainder = sorted(room, key=lambda name: (int(asked[name]) - asked[name], name))
        for name in by_remainder[: count - sum(given.values())]:
            given[name] += 1
    return given


def _covering(embeddings: Float32s, k: int) -> Int64s:
    """Rows of `k` frames that cover the slice; copies of one another make up what is left."""
    taken = k_centre([embeddings], k).rows
    if taken.size < k:
        others = np.setdiff1d(np.arange(len(embeddings)), taken)
        taken = np.concatenate([taken, others[: k - taken.size]])
    return np.asarray(taken)
