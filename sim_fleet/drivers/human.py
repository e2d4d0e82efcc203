"""The human at the wheel: sees the truth, watches the planner, and takes over in time.

A takeover follows from what the plan would do in the true world: run into something, leave
the lane, or brake far too late. Nothing is scripted. The human needs a moment to be sure, and
gives the wheel back when it has been calm for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s
from sim_fleet.drivers.ego import AXLE_TO_MIDDLE_M, EgoState
from sim_fleet.drivers.policy import EGO_LENGTH_M, EGO_WIDTH_M, as_rows, path_in_ego
from sim_fleet.drivers.ports import Perceived, Plan, Route
from sim_fleet.jit import kernel
from sim_fleet.world.actors import LENGTH, VX, VY, WIDTH, YAW, X, Y

_LOOK_S = 2.2
_CALM_S = 5.0
_LATE_MPS2 = 3.2
_LATE_BY_MPS2 = 2.2


@kernel
def place_on(path: Float64s, x: float, y: float) -> tuple[float, float, float]:
    """Distance along a path [k, 4], left offset from it and its heading, nearest to x, y."""
    near, k = 1e18, 0
    for m in range(path.shape[0]):
        away = (x - path[m, 0]) ** 2 + (y - path[m, 1]) ** 2
        if away < near:
            near, k = away, m
    cos, sin = np.cos(path[k, 2]), np.sin(path[k, 2])
    dx, dy = x - path[k, 0], y - path[k, 1]
    return path[k, 3] + cos * dx + sin * dy, -sin * dx + cos * dy, path[k, 2]


@kernel
def time_to_hit_s(
    t_s: Float64s, xy_m: Float64s, path: Float64s, rows: Float64s, look_s: float, margin_m: float
) -> float:
    """When a plan (rear axle, ego frame) first overlaps an object that goes on as it is; 1e6: not.

    "As it is" is along the road: distances and speeds are taken along and across `path` (ego
    frame), so that oncoming traffic in a bend keeps to its lane. What is behind does not count.
    """
    count = 0
    while count < t_s.size and t_s[count] <= look_s:
        count += 1
    own = np.empty((count, 2))
    for k in range(count):
        a, b = max(k - 1, 0), min(k + 1, t_s.size - 1)
        heading = np.arctan2(xy_m[b, 1] - xy_m[a, 1], max(xy_m[b, 0] - xy_m[a, 0], 1e-3))
        x = xy_m[k, 0] + AXLE_TO_MIDDLE_M * np.cos(heading)
        y = xy_m[k, 1] + AXLE_TO_MIDDLE_M * np.sin(heading)
        own[k, 0], own[k, 1], _ = place_on(path, x, y)
    first = 1e6
    for j in range(rows.shape[0]):
        s, d, heading = place_on(path, rows[j, X], rows[j, Y])
        if s < 0.5:
            continue
        cos, sin = np.cos(heading), np.sin(heading)
        pace, drift = cos * rows[j, VX] + sin * rows[j, VY], cos * rows[j, VY] - sin * rows[j, VX]
        turn = rows[j, YAW] - heading
        ct, st = abs(np.cos(turn)), abs(np.sin(turn))
        extent = 0.5 * (ct * rows[j, LENGTH] + st * rows[j, WIDTH]) + 0.5 * EGO_LENGTH_M
        across = 0.5 * (st * rows[j, LENGTH] + ct * rows[j, WIDTH]) + 0.5 * EGO_WIDTH_M
        for k in range(count):
            if t_s[k] >= first:
                break
            if abs(s + pace * t_s[k] - own[k, 0]) < extent + margin_m and (
                abs(d + drift * t_s[k] - own[k, 1]) < across + margin_m
            ):
                first = float(t_s[k])
                break
    return first


@dataclass(frozen=True, slots=True)
class Wheel:
    """Who drives. `why` is empty while the planner does."""

    engaged: bool
    why: str = ""
    alarm_s: float = 0.0
    calm_s: float = 0.0
    since_s: float = 0.0


class Human:
    """Watches ten times a second.

    Args:
        reaction_s: how long danger must last before the human acts.
    """

    def __init__(self, reaction_s: float = 0.3) -> None:
        self._reaction_s = reaction_s

    def watch(
        self,
        wheel: Wheel,
        plan: Plan,
        own: Plan,
        route: Route,
        ego: EgoState,
        truth: Perceived,
        dt_s: float,
    ) -> Wheel:
        """Who drives next, from the planner's plan, the human's own and the true objects."""
        danger = self._danger(plan, own, route, ego, truth)
        if wheel.engaged:
            alarm_s = wheel.alarm_s + dt_s if danger else 0.0
            if alarm_s > self._reaction_s:
                return Wheel(False, danger, since_s=0.0)
            return Wheel(True, "", alarm_s, 0.0, wheel.since_s + dt_s)
        calm = not danger and own.accel_mps2 > -2.0
        calm_s = wheel.calm_s + dt_s if calm else 0.0
        if calm_s > _CALM_S:
            return Wheel(True)
        return Wheel(False, wheel.why, 0.0, calm_s, wheel.since_s + dt_s)

    def _danger(self, plan: Plan, own: Plan, route: Route, ego: EgoState, truth: Perceived) -> str:
        """Why the plan cannot be left to itself, or ''."""
        rows, path = as_rows(truth), path_in_ego(route.path, ego)
        hit_s = time_to_hit_s(plan.t_s, plan.xy_m, path, rows, _LOOK_S, 0.05)
        own_hit_s = time_to_hit_s(own.t_s, own.xy_m, path, rows, _LOOK_S, 0.05)
        if hit_s < _LOOK_S and (hit_s < own_hit_s or own.accel_mps2 < plan.accel_mps2 - 1.0):
            return "collision"
        if own.accel_mps2 < -_LATE_MPS2 and plan.accel_mps2 > own.accel_mps2 + _LATE_BY_MPS2:
            return "late"
        room = route.half_width_m - EGO_WIDTH_M / 2 + 0.45
        aside = abs(plan.offset_m) > room and abs(own.offset_m) < room and plan.change == 0
        return "lane" if aside and not route.left_free else ""
