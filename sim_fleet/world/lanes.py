"""Lanes as columns: centre lines with arc length, neighbours, successors and right of way.

Traffic keeps to the right. A *connector* is a lane inside a junction. `yields` names the
connectors that one must let pass; `group` is the signal phase that a lane's end obeys.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.jit import kernel

Int64s = NDArray[np.int64]

STEP_M = 1.0
MAX_SUCCESSORS = 4
MAX_YIELDS = 8
NONE = -1


@dataclass(frozen=True, slots=True)
class LaneGraph:
    """Columns over lanes [n] and over their points.

    `first`, `count` rows of a lane's points; `spacing_m` between them; `length_m`, `width_m`,
    `speed_mps` (the limit); `left`, `right` the neighbour in the same direction; `junction`
    and `group` of the signal at the lane's end, or -1; `connector` 0 or 1; `turn` 1 left,
    0 straight, -1 right; `after` [n, 4] successors, `yields` [n, 8], both padded with -1.
    `points` float64 [p, 3]: x, y, heading.
    """

    first: Int64s
    count: Int64s
    spacing_m: Float64s
    length_m: Float64s
    width_m: Float64s
    speed_mps: Float64s
    left: Int64s
    right: Int64s
    junction: Int64s
    group: Int64s
    connector: Int64s
    turn: Int64s
    after: Int64s
    yields: Int64s
    points: Float64s


@dataclass(slots=True)
class LaneDraft:
    """A lane while the map is being drawn."""

    line: Float64s
    width_m: float
    speed_mps: float
    left: int = NONE
    right: int = NONE
    junction: int = NONE
    group: int = NONE
    connector: bool = False
    turn: int = 0
    after: list[int] = field(default_factory=list)
    yields: list[int] = field(default_factory=list)


def resampled(line: Float64s, step_m: float = STEP_M) -> Float64s:
    """A polyline [n, 2] at even spacing of about `step_m`, its ends kept."""
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))))
    count = max(2, round(float(along[-1]) / step_m) + 1)
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])], axis=1)


def headings(line: Float64s) -> Float64s:
    """Direction at each point of a polyline [n, 2], unwrapped."""
    step = np.gradient(line, axis=0)
    return np.unwrap(np.arctan2(step[:, 1], step[:, 0]))


def offset_line(line: Float64s, left_m: float) -> Float64s:
    """The polyline moved to its left by `left_m`."""
    heading = headings(line)
    return line + left_m * np.stack([-np.sin(heading), np.cos(heading)], axis=1)


def bezier(start: Float64s, end: Float64s, start_rad: float, end_rad: float) -> Float64s:
    """A smooth curve [n, 2] that leaves and arrives in the given directions."""
    apart = float(np.hypot(*(end - start)))
    turn = abs(float(np.angle(np.exp(1j * (end_rad - start_rad)))))
    pull = apart * (0.39 if turn > 0.5 else 1 / 3)
    one = start + pull * np.array([np.cos(start_rad), np.sin(start_rad)])
    two = end - pull * np.array([np.cos(end_rad), np.sin(end_rad)])
    t = np.linspace(0, 1, 33)[:, None]
    return np.asarray(
        (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * one + 3 * (1 - t) * t**2 * two + t**3 * end
    )


def _padded(rows: list[list[int]], width: int) -> Int64s:
    table = np.full((len(rows), width), NONE, dtype=np.int64)
    for i, row in enumerate(rows):
        table[i, : min(width, len(row))] = row[:width]
    return table


def lane_graph(drafts: list[LaneDraft]) -> LaneGraph:
    """All drafts as columns."""
    lines = [resampled(draft.line) for draft in drafts]
    count = np.array([len(line) for line in lines], dtype=np.int64)
    length = np.array([np.hypot(*np.diff(line, axis=0).T).sum() for line in lines])

    def ints(name: str) -> Int64s:
        return np.array([getattr(draft, name) for draft in drafts], dtype=np.int64)

    return LaneGraph(
        first=np.concatenate(([0], np.cumsum(count)[:-1])).astype(np.int64),
        count=count,
        spacing_m=length / (count - 1),
        length_m=length,
        width_m=np.array([draft.width_m for draft in drafts]),
        speed_mps=np.array([draft.speed_mps for draft in drafts]),
        left=ints("left"),
        right=ints("right"),
        junction=ints("junction"),
        group=ints("group"),
        connector=ints("connector"),
        turn=ints("turn"),
        after=_padded([draft.after for draft in drafts], MAX_SUCCESSORS),
        yields=_padded([draft.yields for draft in drafts], MAX_YIELDS),
        points=np.concatenate([np.column_stack([line, headings(line)]) for line in lines]),
    )


@kernel
def lane_pose(
    points: Float64s,
    first: Int64s,
    count: Int64s,
    spacing_m: Float64s,
    lane: int,
    s_m: float,
    d_m: float,
) -> tuple[float, float, float]:
    """World x, y and heading at arc length `s_m`, `d_m` left of a lane's centre."""
    place = min(max(s_m / spacing_m[lane], 0.0), count[lane] - 1.0)
    low = min(int(place), count[lane] - 2)
    part = place - low
    a, b = first[lane] + low, first[lane] + low + 1
    heading = points[a, 2] + (points[b, 2] - points[a, 2]) * part
    over = s_m - min(max(s_m, 0.0), spacing_m[lane] * (count[lane] - 1))
    x = points[a, 0] + (points[b, 0] - points[a, 0]) * part + over * np.cos(heading)
    y = points[a, 1] + (points[b, 1] - points[a, 1]) * part + over * np.sin(heading)
    return x - np.sin(heading) * d_m, y + np.cos(heading) * d_m, heading


@kernel
def nearest_on_lane(
    points: Float64s,
    first: Int64s,
    count: Int64s,
    spacing_m: Float64s,
    lane: int,
    x: float,
    y: float,
) -> tuple[float, float]:
    """Arc length and left offset of the point of a lane that is nearest to x, y."""
    best, at = 1e18, 0
    for k in range(count[lane]):
        row = first[lane] + k
        away = (points[row, 0] - x) ** 2 + (points[row, 1] - y) ** 2
        if away < best:
            best, at = away, k
    row = first[lane] + at
    cos, sin = np.cos(points[row, 2]), np.sin(points[row, 2])
    dx, dy = x - points[row, 0], y - points[row, 1]
    return at * spacing_m[lane] + cos * dx + sin * dy, -sin * dx + cos * dy
