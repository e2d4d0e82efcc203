"""How to drive from a list of objects: keep the lane and the gap, pass what stands at the edge.

The same rules serve the planner, from what it perceives, and the human, from the truth; they
differ in their `Manner`. So where the two part, it is for what they know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.classes import Kind
from sim_fleet.drivers.ego import AXLE_TO_MIDDLE_M, EgoState
from sim_fleet.drivers.ports import Perceived, Plan, Route
from sim_fleet.jit import kernel
from sim_fleet.world.actors import FLOAT_COLUMNS, LENGTH, VX, VY, WIDTH, YAW, X, Y
from sim_fleet.world.following import NO_LEADER_M, idm_mps2
from sim_fleet.world.paths import leader_on_path
from sim_fleet.world.traffic import curve_speed

HORIZON_S, PLAN_STEP_S = 3.0, 0.25
EGO_LENGTH_M, EGO_WIDTH_M = 4.5, 1.8
_BLEND_M = 18.0
_SUBSTEPS = 5


@dataclass(frozen=True, slots=True)
class Manner:
    """How someone drives: gap in time, hardest braking, foresight for what will step into the
    way, margins to what stands at the edge, share of the limit.
    """

    headway_s: float = 1.5
    max_brake_mps2: float = 6.0
    foresight_s: float = 0.8
    margin_m: float = 0.30
    pace: float = 0.95


PLANNER_MANNER = Manner()
HUMAN_MANNER = Manner(1.3, 8.5, 1.2, 0.35, 1.0)


@kernel
def _rollout(
    speed: float,
    wanted: float,
    gap: float,
    leader: float,
    stop: float,
    headway: float,
    brake: float,
    along: Float64s,
    speeds: Float64s,
) -> float:
    """Distances and speeds at each plan step; returns the acceleration asked for now."""
    step = PLAN_STEP_S / _SUBSTEPS
    at, first = 0.0, 0.0
    for k in range(along.size):
        along[k], speeds[k] = at, speed
        for j in range(_SUBSTEPS):
            accel = idm_mps2(speed, wanted, gap, leader, headway, brake)
            if stop < NO_LEADER_M:
                accel = min(accel, idm_mps2(speed, wanted, stop - at + 1.6, 0.0, 0.8, brake))
            if k == 0 and j == 0:
                first = accel
            gap += (leader - speed) * step
            at += speed * step
            speed = max(0.0, speed + accel * step)
    return first


def shifted(path: Float64s, offset_m: float, goal_m: float) -> Float64s:
    """The path [k, 4] moved left, from one offset to another over the first metres."""
    blend = np.minimum(1.0, path[:, 3] / _BLEND_M)
    left = offset_m + (goal_m - offset_m) * blend * blend * (3 - 2 * blend)
    moved = path.copy()
    moved[:, 0] -= np.sin(path[:, 2]) * left
    moved[:, 1] += np.cos(path[:, 2]) * left
    return moved


def path_in_ego(path: Float64s, ego: EgoState) -> Float64s:
    """A path of the world in the ego frame."""
    cos, sin = np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)
    dx, dy = path[:, 0] - ego.x_m, path[:, 1] - ego.y_m
    heading = path[:, 2] - ego.yaw_rad
    heading = heading - 2 * np.pi * np.round(heading[:1] / (2 * np.pi))
    return np.column_stack([cos * dx + sin * dy, cos * dy - sin * dx, heading, path[:, 3]])


def as_rows(seen: Perceived) -> Float64s:
    """Perceived objects as rows of the actors' table, in the ego frame."""
    rows = np.zeros((seen.kind.size, FLOAT_COLUMNS))
    rows[:, [X, Y]] = seen.xy_m
    rows[:, YAW] = seen.yaw_rad
    rows[:, [LENGTH, WIDTH]] = seen.size_m
    rows[:, [VX, VY]] = seen.velocity_mps
    return rows


class RulePlanner:
    """A `Planner` of rules; its only knowledge is its arguments."""

    def __init__(self, manner: Manner = PLANNER_MANNER, wanted_mps: float | None = None) -> None:
        self._manner = manner
        self._wanted_mps = wanted_mps

    def plan(self, ego: EgoState, route: Route, seen: Perceived) -> Plan:
        """The plan for the next 3 s."""
        manner = self._manner
        rows = as_rows(seen)
        path = path_in_ego(route.path, ego)
        if path.shape[0] < 2:
            path = np.column_stack([AXLE_TO_MIDDLE_M + 2.0 * np.arange(3), *np.zeros((2, 3)),
                                    2.0 * np.arange(3)])  # fmt: skip
        goal = self._offset(path, route, rows, seen.kind, ego.speed_mps)
        every = np.arange(rows.shape[0])
        gap, leader, _ = self._leader(path, route.offset_m, goal, rows, every, manner.foresight_s)
        wanted = route.limit_mps * manner.pace
        if self._wanted_mps is not None:
            wanted = min(wanted, self._wanted_mps)
        change = 0
        if gap < 60.0 and leader < 0.75 * wanted and abs(route.offset_m) < 0.4:
            change = 1 if route.left_free else -1 if route.right_free else 0
        if change:
            goal = change * route.lane_width_m
            new_gap, new_leader, _ = self._leader(path, goal, goal, rows, every, 0.0)
            if new_gap < gap + 20.0:
                change, goal = 0, 0.0
            else:
                own_gap, own, _ = self._leader(path, route.offset_m, route.offset_m, rows, every,
                                               0.0)  # fmt: skip
                near = own_gap < max(6.0, 0.5 * ego.speed_mps)
                gap, leader = (own_gap, own) if near else (new_gap, new_leader)
        stop = self._stop(route, seen, ego.speed_mps)
        wanted = curve_speed(path, path.shape[0], ego.speed_mps, wanted, 1.0)
        count = round(HORIZON_S / PLAN_STEP_S) + 1
        along, speeds = np.empty(count), np.empty(count)
        accel = _rollout(
            ego.speed_mps, wanted, gap, leader, stop, manner.headway_s, manner.max_brake_mps2,
            along, speeds,
        )  # fmt: skip
        moved = shifted(path, route.offset_m, goal)
        return Plan(
            np.arange(count, dtype=np.float64) * PLAN_STEP_S, _points(moved, along), speeds,
            float(accel), _pursuit(moved, ego.speed_mps), goal, change,
        )  # fmt: skip

    def _leader(
        self, path: Float64s, offset_m: float, goal_m: float, rows: Float64s,
        chosen: NDArray[np.int64], ahead_s: float,
    ) -> tuple[float, float, int]:  # fmt: skip
        moved = shifted(path, offset_m, goal_m)
        return leader_on_path(
            moved, moved.shape[0], rows, chosen, -1, EGO_LENGTH_M / 2, EGO_WIDTH_M / 2,
            self._manner.margin_m, ahead_s,
        )  # fmt: skip

    def _stop(self, route: Route, seen: Perceived, speed_mps: float) -> float:
        """Distance to where the ego must stop, or 1e6."""
        must = route.give_way or (route.has_signal and seen.red_ahead)
        can = speed_mps**2 / (2 * max(route.stop_m, 0.1)) < 5.0
        return route.stop_m if must and can else NO_LEADER_M

    def _offset(
        self, path: Float64s, route: Route, rows: Float64s, kind: NDArray[np.int64], speed: float
    ) -> float:
        """Lateral goal that passes what stands or creeps at the lane's edge, or 0."""
        pace = np.hypot(rows[:, VX], rows[:, VY])
        soft = np.isin(kind, (Kind.CYCLIST, Kind.PEDESTRIAN, Kind.ROAD_WORKER))
        slow = np.flatnonzero((pace < 1.5) | soft & (pace < 7.0))
        if not slow.size:
            return 0.0
        near = 14.0 + 2.2 * speed
        gap, _, _ = self._leader(path, 0.0, 0.0, rows, slow, 0.0)
        if gap > near:
            return 0.0
        oncoming = np.flatnonzero((rows[:, VX] < -2.0) & (rows[:, X] > 0))
        for goal in (0.4, -0.4, 0.8, -0.8, 1.2, 1.7):
            if -goal > route.half_width_m - EGO_WIDTH_M / 2 + 0.1:
                continue
            free, _, _ = self._leader(path, goal, goal, rows, slow, 0.0)
            if free <= near:
                continue
            if goal > 0.7:
                meet, _, _ = self._leader(path, goal, goal, rows, oncoming, 0.0)
                if meet < 70.0:
                    continue
            return goal
        return 0.0


def _points(moved: Float64s, along: Float64s) -> Float64s:
    """Rear axle at distances along a path of the footprint's middle, from (0, 0)."""
    x = np.interp(along, moved[:, 3], moved[:, 0])
    y = np.interp(along, moved[:, 3], moved[:, 1])
    heading = np.interp(along, moved[:, 3], moved[:, 2])
    rear = np.stack(
        [x - AXLE_TO_MIDDLE_M * np.cos(heading), y - AXLE_TO_MIDDLE_M * np.sin(heading)], axis=1
    )
    return np.asarray(rear - rear[0], dtype=np.float64)


def _pursuit(moved: Float64s, speed: float) -> float:
    """Curvature that meets the path at a distance ahead (pure pursuit, Coulter 1992)."""
    look = min(max(4.5, 0.75 * speed), 28.0)
    x = float(np.interp(look, moved[:, 3], moved[:, 0]))
    y = float(np.interp(look, moved[:, 3], moved[:, 1]))
    return 2.0 * y / max(x * x + y * y, 1.0)
