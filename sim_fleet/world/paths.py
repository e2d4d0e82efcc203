"""The path a vehicle will take over the lanes, and what stands in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.jit import kernel
from sim_fleet.world.actors import LENGTH, VX, VY, WIDTH, YAW, X, Y
from sim_fleet.world.lanes import MAX_SUCCESSORS, NONE, lane_pose

Int64s = NDArray[np.int64]

PATH_STEP_M = 2.0


@kernel
def next_lane(after: Int64s, lane: int, salt: int, hops: int) -> int:
    """The successor that a vehicle chooses: the same for the same salt and count of choices."""
    options = 0
    for k in range(MAX_SUCCESSORS):
        if after[lane, k] != NONE:
            options += 1
    if options == 0:
        return NONE
    mixed = (salt * 2654435761 + hops * 40503 + 12345) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 2246822519) & 0xFFFFFFFF
    return int(after[lane, (mixed >> 7) % options])


@kernel
def trace_path(
    points: Float64s,
    first: Int64s,
    count: Int64s,
    spacing: Float64s,
    length: Float64s,
    after: Int64s,
    lane: int,
    s_m: float,
    d_m: float,
    d_goal_m: float,
    salt: int,
    hops: int,
    reach_m: float,
    path: Float64s,
) -> int:
    """Fill `path` [k, 4] with x, y, heading, distance every 2 m; returns how many.

    The lateral offset moves from `d_m` to `d_goal_m` over the first 25 m.
    """
    steps = min(path.shape[0], int(reach_m / PATH_STEP_M) + 1)
    at, hop = s_m, hops
    for k in range(steps):
        while at > length[lane]:
            following = next_lane(after, lane, salt, hop)
            if following == NONE:
                return k
            at -= length[lane]
            lane = following
            hop += 1
        blend = min(1.0, k * PATH_STEP_M / 25.0)
        d = d_m + (d_goal_m - d_m) * blend
        x, y, heading = lane_pose(points, first, count, spacing, lane, at, d)
        if k > 0:  # lanes may tell the same heading a whole turn apart
            heading -= 2 * np.pi * np.round((heading - path[k - 1, 2]) / (2 * np.pi))
        path[k, 0], path[k, 1], path[k, 2], path[k, 3] = x, y, heading, k * PATH_STEP_M
        at += PATH_STEP_M
    return int(steps)


@kernel
def leader_on_path(  # noqa: PLR0912
    path: Float64s,
    steps: int,
    floats: Float64s,
    candidates: Int64s,
    me: int,
    half_length_m: float,
    half_width_m: float,
    margin_m: float,
    ahead_s: float,
) -> tuple[float, float, int]:
    """Gap, speed along the path and row of the nearest actor in the way; (1e6, 0, -1) if none.

    People and others who will step into the way within `ahead_s` count as in it already.
    """
    best, speed, who = 1e6, 0.0, -1
    if steps < 2:
        return best, speed, who
    reach = path[steps - 1, 3] + 15.0
    for n in range(candidates.size):
        j = candidates[n]
        if j == me:
            continue
        dx, dy = floats[j, X] - path[0, 0], floats[j, Y] - path[0, 1]
        if dx * dx + dy * dy > reach * reach:
            continue
        near, k = 1e18, -1
        for m in range(steps):
            away = (floats[j, X] - path[m, 0]) ** 2 + (floats[j, Y] - path[m, 1]) ** 2
            if away < near:
                near, k = away, m
        cos, sin = np.cos(path[k, 2]), np.sin(path[k, 2])
        ex, ey = floats[j, X] - path[k, 0], floats[j, Y] - path[k, 1]
        along, aside = cos * ex + sin * ey, -sin * ex + cos * ey
        # Speeds along and across the way: vehicles that follow a bend keep their distance.
        pace = cos * floats[j, VX] + sin * floats[j, VY]
        drift = cos * floats[j, VY] - sin * floats[j, VX]
        turn = floats[j, YAW] - path[k, 2]
        ct, st = abs(np.cos(turn)), abs(np.sin(turn))
        extent = 0.5 * (ct * floats[j, LENGTH] + st * floats[j, WIDTH])
        across = 0.5 * (st * floats[j, LENGTH] + ct * floats[j, WIDTH])
        for instant in range(2):
            if instant == 1 and (ahead_s <= 0.0 or abs(drift) < 0.3):
                break
            if abs(aside + drift * ahead_s * instant) > half_width_m + across + margin_m:
                continue
            if k == 0 and along < 0.0:
                continue
            if k == steps - 1 and along > PATH_STEP_M + extent:
                continue
            gap = path[k, 3] + along - half_length_m - extent
            if gap < -1.5 * half_length_m:
                continue
            if gap < best:
                best, who = gap, j
                speed = pace if instant == 0 else min(pace, 0.0)
            break
    return best, speed, who
