"""The ego on its lanes: where it is, what lies ahead, and its row in the world's tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.drivers.ego import EgoState
from sim_fleet.drivers.ports import Route
from sim_fleet.shapes.assemble import BRAKING, HEAD_ON
from sim_fleet.world.actors import (
    ACCEL,
    EGO,
    FLAGS,
    HOPS,
    LAMPS,
    LANE,
    LANE_WISH,
    LENGTH,
    SALT,
    SPEED,
    VX,
    VY,
    YAW,
    D,
    S,
    X,
    Y,
)
from sim_fleet.world.lanes import NONE, nearest_on_lane
from sim_fleet.world.paths import next_lane, trace_path
from sim_fleet.world.traffic import must_wait
from sim_fleet.world.world import World

_REACH_M = 118.0
_NO_STOP_M = 1e6


def moved_ego(world: World, ego: EgoState) -> World:
    """The world with the ego's row at its new place, matched to its lane."""
    actors, lanes = world.actors, world.roads.lanes
    floats, ints = actors.floats[EGO].copy(), actors.ints[EGO].copy()
    x, y = ego.middle_m
    lane, hops = int(ints[LANE]), int(ints[HOPS])
    s, d = nearest_on_lane(lanes.points, lanes.first, lanes.count, lanes.spacing_m, lane, x, y)
    if s >= lanes.length_m[lane]:
        following = next_lane(lanes.after, lane, int(ints[SALT]), hops)
        if following != NONE:
            lane, hops = following, hops + 1
            s, d = nearest_on_lane(
                lanes.points, lanes.first, lanes.count, lanes.spacing_m, lane, x, y
            )
    for side, sign in ((int(lanes.left[lane]), 1.0), (int(lanes.right[lane]), -1.0)):
        if side != NONE and sign * d > 0.55 * lanes.width_m[lane]:
            lane = side
            s, d = nearest_on_lane(
                lanes.points, lanes.first, lanes.count, lanes.spacing_m, lane, x, y
            )
            break
    ints[LANE], ints[HOPS], ints[FLAGS] = lane, hops, 0
    following = next_lane(lanes.after, lane, int(ints[SALT]), hops)
    ints[LANE_WISH] = following if following != NONE and lanes.connector[following] else lane
    floats[[X, Y, YAW, SPEED, ACCEL, S, D]] = (
        x, y, ego.yaw_rad, ego.speed_mps, ego.accel_mps2, s, d,
    )  # fmt: skip
    floats[[VX, VY]] = ego.speed_mps * np.cos(ego.yaw_rad), ego.speed_mps * np.sin(ego.yaw_rad)
    ints[LAMPS] = (HEAD_ON if world.conditions.dark else 0) | (
        BRAKING if ego.accel_mps2 < -0.9 or ego.speed_mps < 0.2 else 0
    )
    return world.with_ego(floats, ints)


def route_of(world: World, wait_s: float) -> Route:
    """What lies ahead of the ego; `wait_s` is how long it has stood."""
    lanes, row = world.roads.lanes, world.actors.floats[EGO]
    codes = world.actors.ints[EGO]
    lane, hops, salt = int(codes[LANE]), int(codes[HOPS]), int(codes[SALT])
    path = np.empty((60, 4))
    steps = trace_path(
        lanes.points, lanes.first, lanes.count, lanes.spacing_m, lanes.length_m, lanes.after, lane,
        float(row[S]), 0.0, 0.0, salt, hops, _REACH_M, path,
    )  # fmt: skip
    stop_m, has_signal, give_way = _NO_STOP_M, False, False
    following = next_lane(lanes.after, lane, salt, hops)
    if not lanes.connector[lane] and following != NONE and lanes.connector[following]:
        left = float(lanes.length_m[lane] - row[S] - row[LENGTH] / 2 - 0.7)
        if left > -1.2:
            stop_m = left
            has_signal = bool(lanes.junction[lane] >= 0)
            give_way = left < 35.0 and bool(
                must_wait(
                    world.actors.floats, world.actors.ints, lanes.length_m, lanes.yields,
                    following, EGO, wait_s, 5.0,
                )
            )  # fmt: skip
    return Route(
        path[:steps], float(lanes.speed_mps[lane]), float(lanes.width_m[lane]) / 2, float(row[D]),
        stop_m, has_signal, give_way, _free(world, int(lanes.left[lane])),
        _free(world, int(lanes.right[lane])), float(lanes.width_m[lane]),
    )  # fmt: skip


def _free(world: World, lane: int) -> bool:
    """Whether a neighbouring lane has room beside the ego."""
    if lane == NONE:
        return False
    floats, ints = world.actors.floats, world.actors.ints
    near: NDArray[np.bool_] = ints[:, LANE] == lane
    gap: Float64s = floats[:, S] - floats[EGO, S]
    closing = floats[:, SPEED] - floats[EGO, SPEED]
    room = np.where(gap < 0, 9.0 + 2.5 * np.maximum(closing, 0), 9.0 - 2.0 * np.minimum(closing, 0))
    return not bool((near & (np.abs(gap) < room)).any())
