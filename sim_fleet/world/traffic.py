"""One step of everyone who follows lanes: gaps, signals, right of way, lane changes.

Vehicles follow the intelligent driver model behind whatever stands or moves in their path,
stop for red and for amber where they still can, give way at junctions to those whose path
crosses theirs and who would arrive within their gap, and to people on crosswalks. Two-wheelers
keep to the lane's right edge. All of it is one kernel over the tables of `world.actors`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.jit import kernel
from sim_fleet.world.actors import (
    ACCEL,
    D_WANTED,
    FLAGS,
    GAP_S,
    HOLD,
    HOPS,
    IGNORES_LIGHTS,
    LAMPS,
    LANE,
    LANE_WISH,
    LENGTH,
    MODE,
    SALT,
    SPEED,
    VX,
    VY,
    WAITED,
    WALKED,
    WANTED,
    WIDTH,
    YAW,
    D,
    S,
    X,
    Y,
)
from sim_fleet.world.following import idm_mps2
from sim_fleet.world.lanes import MAX_YIELDS, NONE, lane_pose
from sim_fleet.world.paths import leader_on_path, next_lane, trace_path
from sim_fleet.world.roadmap import AMBER_S, CLEAR_S, GREEN_S

Int64s = NDArray[np.int64]

_LANE_MODE = 1
_CYCLE_S = 2 * (GREEN_S + AMBER_S + CLEAR_S)
_PATIENCE_S = 9.0
_BRAKING, _LEFT, _RIGHT = 2, 4, 8


@kernel
def _signal(t_s: float, offset_s: float, group: int) -> int:
    """As `roadmap.signal_state`: 0 green, 1 amber, 2 red."""
    phase = (t_s + offset_s - group * _CYCLE_S / 2) % _CYCLE_S
    if phase < GREEN_S:
        return 0
    return 1 if phase < GREEN_S + AMBER_S else 2


@kernel
def must_wait(
    floats: Float64s,
    ints: Int64s,
    length: Float64s,
    yields: Int64s,
    connector: int,
    me: int,
    wait_s: float,
    gap_s: float,
) -> bool:
    """Whether someone with right of way over `connector` is in the junction or near it."""
    for k in range(MAX_YIELDS):
        other = yields[connector, k]
        if other == NONE:
            return False
        for j in range(floats.shape[0]):
            if j == me or ints[j, LANE] < 0:
                continue
            if ints[j, LANE] == other:
                return True
            if wait_s > _PATIENCE_S or floats[j, SPEED] < 0.8:
                continue
            # Someone on a lane that leads into it, close by time.
            if ints[j, LANE_WISH] == other:
                left = length[ints[j, LANE]] - floats[j, S]
                if left / max(floats[j, SPEED], 1.0) < gap_s:
                    return True
    return False


@kernel
def stop_for_junction(
    floats: Float64s,
    ints: Int64s,
    length: Float64s,
    junction: Int64s,
    group: Int64s,
    yields: Int64s,
    offsets: Float64s,
    t_s: float,
    i: int,
    following: int,
    max_brake: float,
) -> float:
    """Distance from the front to where this vehicle must stop before its lane ends; 1e6: none."""
    lane = ints[i, LANE]
    left = float(length[lane]) - floats[i, S] - 0.5 * floats[i, LENGTH] - 0.6
    speed = floats[i, SPEED]
    if left < -1.5 or left > 60.0:
        return 1e6
    if junction[lane] >= 0 and ints[i, FLAGS] & IGNORES_LIGHTS == 0:
        state = _signal(t_s, offsets[junction[lane]], group[lane])
        if state == 2 and left > -0.8:
            return float(left)
        if state == 1 and speed * speed / (2.0 * max(left, 0.1)) < 0.6 * max_brake:
            return float(left)
    careful = following != NONE and left < 30.0 and ints[i, FLAGS] & IGNORES_LIGHTS == 0
    if not careful or yields[following, 0] == NONE or left <= -0.8:
        return 1e6
    if speed * speed / (2.0 * max(left, 0.1)) < max_brake and must_wait(
        floats, ints, length, yields, following, i, floats[i, WAITED], 4.5
    ):
        return float(left)
    return 1e6


@kernel
def _lane_is_free(
    floats: Float64s, ints: Int64s, lane: int, s_m: float, speed: float, me: int, half: float
) -> bool:
    for j in range(floats.shape[0]):
        if j == me or ints[j, LANE] != lane:
            continue
        ahead = floats[j, S] - s_m
        room = half + 0.5 * floats[j, LENGTH]
        if ahead >= 0 and ahead - room < 4.0 + 0.8 * max(0.0, speed - floats[j, SPEED]) * 2:
            return False
        if ahead < 0 and -ahead - room < 5.0 + 2.0 * max(0.0, floats[j, SPEED] - speed):
            return False
    return True


@kernel
def curve_speed(path: Float64s, steps: int, speed: float, wanted: float, grip: float) -> float:
    """The wanted speed, lowered for the bends within the next seconds."""
    result = wanted
    for k in range(2, min(steps, 24)):
        bend = abs(path[k, 2] - path[k - 2, 2]) / 4.0
        if bend > 1e-4:
            fit = np.sqrt(2.4 * grip / bend)
            away = max(0.0, path[k, 3] - 4.0)
            result = min(result, np.sqrt(fit * fit + 2.0 * 1.6 * away))
    return max(result, 1.5)


@kernel
def step_traffic(  # noqa: PLR0912, PLR0915
    floats: Float64s,
    ints: Int64s,
    moving: Int64s,
    obstacles: Int64s,
    points: Float64s,
    first: Int64s,
    count: Int64s,
    spacing: Float64s,
    length: Float64s,
    width: Float64s,
    limit: Float64s,
    left: Int64s,
    right: Int64s,
    junction: Int64s,
    group: Int64s,
    connector: Int64s,
    turn: Int64s,
    after: Int64s,
    yields: Int64s,
    offsets: Float64s,
    t_s: float,
    dt_s: float,
    grip: float,
    new_floats: Float64s,
    new_ints: Int64s,
) -> None:
    """Move all lane followers by `dt_s`; reads the old tables, writes the new ones."""
    path = np.empty((60, 4))
    max_brake = 7.5 * grip
    for n in range(moving.size):
        i = moving[n]
        if ints[i, MODE] != _LANE_MODE:
            continue
        lane, speed = ints[i, LANE], floats[i, SPEED]
        half = 0.5 * floats[i, LENGTH]
        reach = min(110.0, max(24.0, speed * 4.5))
        steps = trace_path(
            points, first, count, spacing, length, after, lane, floats[i, S], floats[i, D],
            floats[i, D_WANTED], ints[i, SALT], ints[i, HOPS], reach, path,
        )  # fmt: skip
        gap, leader, who = leader_on_path(
            path, steps, floats, obstacles, i, half, 0.5 * floats[i, WIDTH], 0.25, 0.9
        )
        following = NONE
        if connector[lane] == 0:
            following = next_lane(after, lane, ints[i, SALT], ints[i, HOPS])
        if following != NONE and connector[following] == 0:
            following = NONE
        new_ints[i, LANE_WISH] = following if following != NONE else lane
        stop = stop_for_junction(
            floats, ints, length, junction, group, yields, offsets, t_s, i, following, max_brake
        )
        if stop < gap:
            gap, leader, who = stop + 1.2, 0.0, -1
        wanted = min(floats[i, WANTED], limit[lane] * 1.08)
        wanted = curve_speed(path, steps, speed, wanted, grip)
        if floats[i, HOLD] > 0.0:
            wanted = 0.1
            new_floats[i, HOLD] = floats[i, HOLD] - dt_s
        accel = idm_mps2(speed, wanted, gap, leader, floats[i, GAP_S], max_brake)
        if floats[i, HOLD] > 0.0:
            accel = min(accel, -1.5)
        # A short lag between pedal and road.
        accel = floats[i, ACCEL] + (accel - floats[i, ACCEL]) * min(1.0, dt_s / 0.12)
        pace = max(0.0, speed + accel * dt_s)
        if pace == 0.0:
            accel = 0.0
        new_floats[i, ACCEL], new_floats[i, SPEED] = accel, pace
        new_floats[i, WAITED] = floats[i, WAITED] + dt_s if pace < 0.3 else 0.0
        s = floats[i, S] + 0.5 * (speed + pace) * dt_s
        d, goal = floats[i, D], floats[i, D_WANTED]
        # Slow leader or something in the way: change lanes where there is one.
        if (
            gap < 45.0
            and connector[lane] == 0
            and abs(d - goal) < 0.3
            and who >= 0
            and ((leader < 0.8 * wanted and speed > 3.0) or floats[i, WAITED] > 3.0)
        ):
            for side in range(2):
                other = left[lane] if side == 0 else right[lane]
                if other == NONE:
                    continue
                # Beside each other in a bend, lanes differ in length.
                beside = s * length[other] / length[lane]
                if _lane_is_free(floats, ints, other, beside, speed, i, half):
                    shift = 0.5 * (width[lane] + width[other])
                    d = d - shift if side == 0 else d + shift
                    lane, s = other, beside
                    break
        rate = 0.0
        if pace > 0.1:
            wish = (goal - d) * 0.9
            most = min(1.4, 0.25 * pace)
            rate = min(most, max(-most, wish))
            d += rate * dt_s
        hops = ints[i, HOPS]
        while s > length[lane]:
            following = next_lane(after, lane, ints[i, SALT], hops)
            if following == NONE:
                s = length[lane]
                break
            s -= length[lane]
            lane = following
            hops += 1
        x, y, heading = lane_pose(points, first, count, spacing, lane, s, d)
        yaw = heading + (np.arctan2(rate, max(pace, 2.0)))
        new_floats[i, S], new_floats[i, D] = s, d
        new_floats[i, X], new_floats[i, Y], new_floats[i, YAW] = x, y, yaw
        new_floats[i, VX], new_floats[i, VY] = pace * np.cos(yaw), pace * np.sin(yaw)
        new_floats[i, WALKED] = floats[i, WALKED] + pace * dt_s * 0.35
        new_ints[i, LANE], new_ints[i, HOPS] = lane, hops
        lamps = ints[i, LAMPS] & ~(_BRAKING | _LEFT | _RIGHT)
        if accel < -0.9 or pace < 0.2:
            lamps |= _BRAKING
        signal = 0
        if following != NONE and length[lane] - s < 32.0:
            signal = turn[following]
        if connector[lane] == 1:
            signal = turn[lane]
        if d - goal > 0.8:
            signal = -1
        elif goal - d > 0.8:
            signal = 1
        if signal != 0 and t_s % 0.8 < 0.4:
            lamps |= _LEFT if signal > 0 else _RIGHT
        new_ints[i, LAMPS] = lamps
