"""Exact top-k over a view of vectors, on all cores that this process has.

Numba without the GIL in threads of our own: its own parallel loops may not be entered from two
threads at once, and a service has many.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from cloud_ingest.mining.ports import Int64s, Nearest
from cloud_ingest.mining.vector_file import ID_BYTES, Int32s, View
from contracts.samples import Float32s
from kernels.nearest import dots_of_rows

_PIECE = 65_536
"""Vectors that one task compares: some milliseconds."""
DECIMALS, STEP = 6, 1e-6
"""Cosines are told and ordered to so many decimals: below, roads differ by rounding."""
_NOWHERE = np.float32(-np.inf)
_SCAN_SHARE = 0.5
"""From this share of all vectors on, reading all in order is cheaper than only the wanted."""


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)), "mining")


def nearest(
    view: View, query: Float32s, k: int, rows: Int64s | None, not_above: float | None
) -> Nearest:
    """The `k` nearest of a view; arguments as in `MiningIndex.nearest`. Blocks."""
    unit = _unit(query)
    if unit is None or query.size != view.matrix.shape[1] or k < 1 or not view.rows.size:
        return Nearest(np.empty(0, np.int64), (), np.empty(0), 0)
    if rows is None:
        slots = None
    else:
        known = rows[(rows >= 0) & (rows < view.slot_of.size)]
        slots = view.slot_of[known]
        # A slot behind the view's end was added after the view was taken.
        slots = np.sort(slots[(slots >= 0) & (slots < view.rows.size)])
    if slots is not None and slots.size < _SCAN_SHARE * view.rows.size:
        cosines = np.empty(slots.size, np.float32)
        _in_pieces(
            slots.size,
            lambda a, b: dots_of_rows(view.matrix, unit, slots[a:b], cosines[a:b]),
        )
        compared = slots.size
    else:
        cosines = view.matrix @ unit
        if slots is not None:
            cosines, compared = cosines[slots], slots.size
        else:
            compared = view.rows.size - view.dead
            if view.dead:
                cosines[view.rows < 0] = _NOWHERE
    return _top(view, slots, cosines, min(k, compared), not_above, compared)


def _top(
    view: View, slots: Int32s | None, cosines: Float32s, k: int, not_above: float | None,
    compared: int,
) -> Nearest:  # fmt: skip
    """The best `k` of the vectors in `slots` (None: of all), by their cosines."""
    if not_above is not None:
        cosines = np.where(cosines <= np.float32(not_above + STEP), cosines, _NOWHERE)
    least = _NOWHERE
    if 0 < k < cosines.size:
        least = np.partition(cosines, cosines.size - k)[cosines.size - k] - np.float32(STEP)
    chosen = np.flatnonzero((cosines >= least) & (cosines > _NOWHERE))
    rounded = np.asarray(np.round(cosines[chosen].astype(np.float64), DECIMALS), np.float64)
    best = chosen if slots is None else slots[chosen]
    columns = view.ids[best].view(">u8").T
    order = np.lexsort((*columns[::-1], -rounded))
    text = view.ids[best[order]].tobytes().hex()
    width = 2 * ID_BYTES
    clip_ids = tuple(text[at : at + width] for at in range(0, len(text), width))
    return Nearest(view.rows[best[order]], clip_ids, rounded[order], compared)


def _unit(query: Float32s) -> Float32s | None:
    """The query with length 1, contiguous; None when it has no direction."""
    values = np.asarray(query, np.float64)
    length = float(np.linalg.norm(values))
    if not 0 < length < np.inf:
        return None
    return np.ascontiguousarray(values / length, dtype=np.float32)


def _in_pieces(count: int, work: Callable[[int, int], None]) -> None:
    """`work(a, b)` over all of `count`, in threads when it is worth it."""
    if count <= _PIECE:
        work(0, count)
        return
    starts = range(0, count, _PIECE)
    list(_threads().map(lambda a: work(a, min(a + _PIECE, count)), starts))
