"""When each trigger of motion should have fired, by the simulator's exact state.

Each cause gives stretches that must be found, clearly beyond the bound, and stretches near which a
fire is right: what lies within a fifth of the bound is in the latter only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.trigger_world import DrivenDrive, Interval, stretches
from sim_fleet.drive import PLAN_EVERY
from sim_fleet.world.oracle import OracleFrame

CLEARLY, BARELY = 1.2, 0.8
_BUMPER_M = 3.8

Cause = Callable[[DrivenDrive], tuple[list[Interval], list[Interval]]]


def _beyond(value: Callable[[DrivenDrive], np.ndarray], bound: float, hold_s: float) -> Cause:
    """A true value of each tick clearly beyond a bound for a hold time, and barely at all."""

    def cause(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
        times, values = [tick.t_s for tick in drive.ticks], value(drive)
        sure = stretches(times, (values > CLEARLY * bound).tolist(), hold_s + 0.1)
        return sure, stretches(times, (values > BARELY * bound).tolist())

    return cause


def _accel(drive: DrivenDrive) -> np.ndarray:
    return np.array([tick.ego.accel_mps2 for tick in drive.ticks])


def _filtered(values: np.ndarray, tau_s: float = 0.15) -> np.ndarray:
    """As the triggers filter: what shorter shocks leave of themselves."""
    keep, last = 1.0 - np.exp(-0.02 / tau_s), float(values[0])
    found = np.empty_like(values)
    for i, value in enumerate(values.tolist()):
        last += keep * (value - last)
        found[i] = last
    return found


def _slope(values: np.ndarray, window: int = 15) -> np.ndarray:
    """Derivative over 0.3 s, as it is known at the end of it; over as much as there is since the
    drive began, from half of that on.
    """
    at = np.arange(len(values))
    since = np.minimum(at, window)
    rise = values - values[at - since]
    return np.where(since > window // 2, rise / (np.maximum(since, 1) * 0.02), 0.0)


def _takeovers(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
    engaged = [tick.wheel.engaged for tick in drive.ticks]
    at = [
        drive.ticks[i].t_s
        for i in range(1, len(engaged))
        # One that ends within the hold time of 100 ms, or with the drive, is none.
        if engaged[i - 1] and not any(engaged[i : i + 8]) and i + 8 < len(engaged)
    ]
    spans = [(t_s, t_s) for t_s in at]
    return spans, [
        (drive.ticks[i].t_s, drive.ticks[i].t_s)
        for i in range(1, len(engaged))
        if engaged[i - 1] and not engaged[i]
    ]


def _gap(truth: OracleFrame, aside_m: float) -> float:
    """Time to collision with the nearest thing ahead that lies in the path; inf without any."""
    x = truth.centre_ego_m[:, 0] - truth.size_m[:, 0] / 2 - _BUMPER_M
    side = np.abs(truth.centre_ego_m[:, 1]) - truth.size_m[:, 1] / 2
    closing = truth.ego.speed_mps - truth.velocity_ego_mps[:, 0]
    shown = np.nan_to_num(truth.visibility, nan=0.0) > 0.05
    ahead = (x > 0) & (side < aside_m) & (closing > 0.5) & shown
    return float((x[ahead] / closing[ahead]).min()) if ahead.any() else np.inf


def _collision(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
    sure = drive.observed(lambda t: t.ego.speed_mps > 2.5 and _gap(t, 0.5) < 1.5 / CLEARLY, 0.25)
    return sure, drive.observed(lambda t: _gap(t, 1.6) < 1.5 / BARELY)


def _parted(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
    """Plan and path over the plan's horizon, both true; known at its end."""
    sure: list[Interval] = []
    near: list[Interval] = []
    place = np.array([(t.ego.motion(0.0).x_m, t.ego.motion(0.0).y_m) for t in drive.ticks])
    for i in range(0, len(drive.ticks), PLAN_EVERY):
        plan = drive.ticks[i].plan
        if plan is None:
            continue
        at = i + np.rint(plan.t_s * 50).astype(int)
        if at[-1] >= len(drive.ticks):
            continue
        yaw = drive.ticks[i].motion.yaw_rad
        moved = place[at] - place[i]
        cos, sin = np.cos(yaw), np.sin(yaw)
        path = np.stack(
            [cos * moved[:, 0] + sin * moved[:, 1], -sin * moved[:, 0] + cos * moved[:, 1]], axis=1
        )
        apart = np.hypot(*(path - plan.xy_m).T)
        score = max(float(apart.mean()) / 1.5, float(apart[-1]) / 4.0)
        end_s = drive.ticks[int(at[-1])].t_s
        moving = drive.ticks[int(at[-1])].ego.speed_mps > 1.5
        if score > CLEARLY and moving:
            sure.append((end_s, end_s + 0.1))
        if score > BARELY:
            near.append((end_s, end_s + 0.1))
    return joined(sure), joined(near)


def joined(spans: list[Interval], gap_s: float = 0.25) -> list[Interval]:
    found: list[Interval] = []
    for start, end in spans:
        if found and start - found[-1][1] <= gap_s:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _swerved(drive: DrivenDrive) -> tuple[list[Interval], list[Interval]]:
    """Lateral acceleration, or yaw rate on both sides within the reversal time."""
    times = [tick.t_s for tick in drive.ticks]
    lateral = np.abs(_filtered(np.array([tick.ego.lat_accel_mps2 for tick in drive.ticks]), 0.2))
    yaw = _filtered(np.array([tick.ego.yaw_rate_radps for tick in drive.ticks]), 0.2)
    fast = np.array([tick.ego.speed_mps for tick in drive.ticks])

    def reversed_at(ratio: float) -> np.ndarray:
        left, right = yaw > 0.25 * ratio, yaw < -0.25 * ratio
        window = round(1.5 / ratio * 50)
        lately = [
            (left[i] and right[max(0, i - window) : i].any())
            or (right[i] and left[max(0, i - window) : i].any())
            for i in range(len(yaw))
        ]
        return np.array(lately) & (fast > 5.0 * ratio)

    sure = stretches(times, ((lateral > 4.0 * CLEARLY) | reversed_at(CLEARLY)).tolist(), 0.2)
    return sure, stretches(times, ((lateral > 4.0 * BARELY) | reversed_at(BARELY)).tolist())


CAUSES: dict[str, Cause] = {
    "hard-brake": _beyond(lambda d: -_filtered(_accel(d)), 3.0, 0.3),
    "hard-accel": _beyond(lambda d: _filtered(_accel(d)), 3.0, 0.4),
    "jerk": _beyond(lambda d: np.abs(_filtered(_slope(_accel(d)))), 12.0, 0.06),
    "swerve": _swerved,
    "disengagement": _takeovers,
    "time-to-collision": _collision,
    "planner-divergence": _parted,
}
SPEEDING_UP = _beyond(lambda d: -_filtered(_accel(d)), 3.0, 0.4)
"""Of `hard-accel`, on a drive with its motion turned round."""
