"""One step of people on foot and of scripted actors.

People walk along the footways from corner to corner, and cross at crosswalks: with the signal
where there is one, else when no vehicle would arrive meanwhile; the bold accept less. A
scripted actor follows its way points at its speed once its start has come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.jit import kernel
from sim_fleet.world.actors import (
    BOLD,
    HOPS,
    MODE,
    NEXT,
    NODE,
    SALT,
    SCRIPT,
    SPEED,
    VX,
    VY,
    WAITED,
    WALKED,
    WANTED,
    YAW,
    X,
    Y,
)
from sim_fleet.world.traffic import _signal

Int64s = NDArray[np.int64]

_WALK_MODE, _SCRIPT_MODE, _LANE_MODE, _EGO_MODE = 2, 3, 1, 4

SCRIPT_COLUMNS = 8
START_S, WITHIN_M, POINTS_FIRST, POINTS_COUNT, ACCEL_MPS2, STARTED_S, REACHED, WITHIN_S = range(8)
"""Columns of `scripts`: earliest start, distance or time to the ego that starts it, way points,
how it picks up speed, when it started (-1: not yet) and the way point it heads for."""


@kernel
def _mix(salt: int, hops: int) -> int:
    mixed = (salt * 2654435761 + hops * 97 + 7) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 2246822519) & 0xFFFFFFFF
    return (mixed >> 9) & 0xFFFF


@kernel
def _may_cross(
    floats: Float64s,
    ints: Int64s,
    ax: float,
    ay: float,
    bx: float,
    by: float,
    crossing: int,
    group: int,
    offsets: Float64s,
    t_s: float,
    pace: float,
    bold: int,
) -> bool:
    """Whether the leg from a to b can be crossed now."""
    if crossing >= 0 and not np.isnan(offsets[crossing]):
        # Cars over this leg drive with `group`; walk while they have red for long enough.
        if _signal(t_s, offsets[crossing], group) != 2:
            return False
        return _signal(t_s + 4.0, offsets[crossing], group) == 2
    mx, my = 0.5 * (ax + bx), 0.5 * (ay + by)
    need = np.sqrt((bx - ax) ** 2 + (by - ay) ** 2) / max(pace, 0.3) + (0.5 if bold else 2.0)
    for j in range(floats.shape[0]):
        if ints[j, MODE] != _LANE_MODE and ints[j, MODE] != _EGO_MODE:
            continue
        dx, dy = mx - floats[j, X], my - floats[j, Y]
        away = np.sqrt(dx * dx + dy * dy)
        if away > 70.0 or floats[j, SPEED] < 1.0:
            continue
        ahead = (dx * np.cos(floats[j, YAW]) + dy * np.sin(floats[j, YAW])) / max(away, 0.1)
        if ahead > 0.85 and away / floats[j, SPEED] < (need * 0.45 if bold else need):
            return False
    return True


@kernel
def step_walkers(  # noqa: PLR0912, PLR0915
    floats: Float64s,
    ints: Int64s,
    moving: Int64s,
    nodes: Float64s,
    ways: Int64s,
    crossing: Int64s,
    group: Int64s,
    offsets: Float64s,
    t_s: float,
    dt_s: float,
    new_floats: Float64s,
    new_ints: Int64s,
) -> None:
    """Move everyone on foot by `dt_s`."""
    for n in range(moving.size):
        i = moving[n]
        if ints[i, MODE] != _WALK_MODE:
            continue
        node, goal = ints[i, NODE], ints[i, NEXT]
        # Everyone keeps to an own line, so that people pass each other.
        aside = ((ints[i, SALT] * 37) % 100) / 100.0 * 1.6 - 0.8
        shift_x = aside
        shift_y = ((ints[i, SALT] * 53) % 100) / 100.0 * 1.6 - 0.8
        gx, gy = nodes[goal, 0] + shift_x, nodes[goal, 1] + shift_y
        dx, dy = gx - floats[i, X], gy - floats[i, Y]
        away = np.sqrt(dx * dx + dy * dy)
        pace = floats[i, WANTED]
        waiting = False
        if away < 0.25:
            hops = ints[i, HOPS] + 1
            options, choice = 0, -1
            for k in range(4):
                if ways[goal, k] >= 0 and ways[goal, k] != node:
                    options += 1
            if options > 0:
                pick, seen = _mix(ints[i, SALT], hops) % options, 0
                for k in range(4):
                    if ways[goal, k] >= 0 and ways[goal, k] != node:
                        if seen == pick:
                            choice = k
                        seen += 1
            if choice >= 0:
                there = ways[goal, choice]
                on_road = crossing[goal, choice] >= 0
                if on_road and not _may_cross(
                    floats,
                    ints,
                    nodes[goal, 0],
                    nodes[goal, 1],
                    nodes[there, 0],
                    nodes[there, 1],
                    crossing[goal, choice],
                    group[goal, choice],
                    offsets,
                    t_s,
                    pace,
                    ints[i, BOLD],
                ):
                    waiting = True
                else:
                    new_ints[i, NODE], new_ints[i, NEXT] = goal, there
                    new_ints[i, HOPS] = hops
                    dx = nodes[there, 0] + shift_x - floats[i, X]
                    dy = nodes[there, 1] + shift_y - floats[i, Y]
                    away = np.sqrt(dx * dx + dy * dy)
            else:
                waiting = True
        speed = floats[i, SPEED]
        wanted = 0.0 if waiting else pace
        speed += min(1.5 * dt_s, max(-2.5 * dt_s, wanted - speed))
        if waiting and speed < 0.05:
            speed = 0.0
        step = min(speed * dt_s, away)
        if away > 1e-6:
            cos, sin = dx / away, dy / away
            new_floats[i, X], new_floats[i, Y] = (
                floats[i, X] + cos * step,
                floats[i, Y] + sin * step,
            )
            if speed > 0.05:
                swing = np.arctan2(sin, cos) - floats[i, YAW]
                swing = (swing + np.pi) % (2 * np.pi) - np.pi
                new_floats[i, YAW] = floats[i, YAW] + min(5 * dt_s, max(-5 * dt_s, swing))
            new_floats[i, VX], new_floats[i, VY] = cos * step / dt_s, sin * step / dt_s
        new_floats[i, SPEED] = speed
        new_floats[i, WALKED] = floats[i, WALKED] + step
        new_floats[i, WAITED] = floats[i, WAITED] + dt_s if waiting else 0.0


@kernel
def step_scripts(
    floats: Float64s,
    ints: Int64s,
    scripts: Float64s,
    points: Float64s,
    t_s: float,
    dt_s: float,
    new_floats: Float64s,
    new_ints: Int64s,
    new_scripts: Float64s,
) -> None:
    """Move scripted actors along their way points [p, 3] (x, y, speed) by `dt_s`."""
    for i in range(floats.shape[0]):
        row = ints[i, SCRIPT]
        if ints[i, MODE] != _SCRIPT_MODE or row < 0:
            continue
        dx, dy = floats[i, X] - floats[0, X], floats[i, Y] - floats[0, Y]
        away = np.sqrt(dx * dx + dy * dy)
        if scripts[row, STARTED_S] < 0.0:
            ready = t_s >= scripts[row, START_S] and (
                away <= scripts[row, WITHIN_M]
                or away <= scripts[row, WITHIN_S] * max(floats[0, SPEED], 0.1)
            )
            if not ready:
                new_floats[i, SPEED], new_floats[i, VX], new_floats[i, VY] = 0.0, 0.0, 0.0
                continue
            new_scripts[row, STARTED_S] = t_s
        target = int(scripts[row, REACHED])
        total = int(scripts[row, POINTS_COUNT])
        wanted, gx, gy = 0.0, 0.0, 0.0
        away = 0.0
        while target < total:
            point = points[int(scripts[row, POINTS_FIRST]) + target]
            gx, gy, wanted = point[0] - floats[i, X], point[1] - floats[i, Y], point[2]
            away = np.sqrt(gx * gx + gy * gy)
            if away > 0.3 + 0.02 * floats[i, SPEED]:
                break
            target += 1
            wanted = 0.0
        new_scripts[row, REACHED] = target
        speed = floats[i, SPEED]
        push = scripts[row, ACCEL_MPS2] * dt_s
        speed = max(0.0, speed + min(push, max(-2.0 * push, wanted - speed)))
        if target >= total:
            away, gx, gy = 1.0, np.cos(floats[i, YAW]), np.sin(floats[i, YAW])
        step = speed * dt_s
        if away > 1e-6:
            swing = np.arctan2(gy, gx) - floats[i, YAW]
            swing = (swing + np.pi) % (2 * np.pi) - np.pi
            rate = 4.0 if speed < 6.0 else 1.2
            yaw = floats[i, YAW] + min(rate * dt_s, max(-rate * dt_s, swing))
            if floats[i, SPEED] < 4.0:
                new_floats[i, X] = floats[i, X] + gx / away * step
                new_floats[i, Y] = floats[i, Y] + gy / away * step
                new_floats[i, VX], new_floats[i, VY] = gx / away * speed, gy / away * speed
            else:
                new_floats[i, X] = floats[i, X] + np.cos(yaw) * step
                new_floats[i, Y] = floats[i, Y] + np.sin(yaw) * step
                new_floats[i, VX], new_floats[i, VY] = np.cos(yaw) * speed, np.sin(yaw) * speed
            new_floats[i, YAW] = yaw
        new_floats[i, SPEED] = speed
        new_floats[i, WALKED] = floats[i, WALKED] + step
