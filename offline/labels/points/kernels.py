"""The loop over beams and boxes, compiled. A file of its own, so callers do not stale its cache."""

from __future__ import annotations

import numba
import numpy as np

from contracts.geometry import Int64s
from contracts.samples import Float64s


@numba.njit(cache=True, nogil=True)
def crossed(
    begin: Float64s, end: Float64s, edges: Int64s, first: Int64s, count: Int64s,
    place: Float64s, half: Float64s, low_high: Float64s, core: Float64s,
) -> Int64s:  # fmt: skip
    """Of each box, how many beams end in it and how many go through it: int64 [k, 2].

    Args:
        begin: where beams come from, [n, 3], in the order of their sectors.
        end: where they end, [n, 3].
        edges: first beam of each sector and one past the last, int64 [sectors + 1].
        first: the first sector that may meet a box, int64 [k].
        count: how many do, around the circle, int64 [k].
        place: x, y and yaw of the boxes, [k, 3].
        half: half of their lengths and widths [k, 2].
        low_high: between which heights beams count, [k, 2].
        core: half of the length and width that a beam has to go through, [k, 2].
    """
    sectors = edges.size - 1
    result = np.zeros((place.shape[0], 2), dtype=np.int64)
    for k in range(place.shape[0]):
        cos, sin = np.cos(place[k, 2]), np.sin(place[k, 2])
        for step in range(count[k]):
            sector = (first[k] + step) % sectors
            for p in range(edges[sector], edges[sector + 1]):
                x, y = end[p, 0] - place[k, 0], end[p, 1] - place[k, 1]
                u, v = cos * x + sin * y, cos * y - sin * x
                high_enough = low_high[k, 0] <= end[p, 2] <= low_high[k, 1]
                if high_enough and abs(u) <= half[k, 0] and abs(v) <= half[k, 1]:
                    result[k, 0] += 1
                    continue
                x, y = begin[p, 0] - place[k, 0], begin[p, 1] - place[k, 1]
                a, b = cos * x + sin * y, cos * y - sin * x
                enter, leave = 0.0, 1.0
                for start, far, side in ((a, u, core[k, 0]), (b, v, core[k, 1])):
                    way = far - start
                    if abs(way) < 1e-9:
                        if abs(start) > side:
                            leave = -1.0
                        continue
                    one, two = (-side - start) / way, (side - start) / way
                    enter, leave = max(enter, min(one, two)), min(leave, max(one, two))
                # What ends in it, or before it, does not go through it.
                if not enter < leave < 1.0:
                    continue
                rise = end[p, 2] - begin[p, 2]
                middle = begin[p, 2] + (enter + leave) / 2 * rise
                if low_high[k, 0] <= middle <= low_high[k, 1]:
                    result[k, 1] += 1
    return result
