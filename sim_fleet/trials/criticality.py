"""Which objects matter to the ego at an instant, and which of them it was told of.

The ego's *corridor* is a strip about the path of its route: half its width and `BESIDE_M` to
either side, from its front bumper as far as `TIME_GAP_S` of its own speed, at least
`LEAST_AHEAD_M`, at most `MOST_AHEAD_M`. An object no further ahead than that is *critical* when its
footprint touches the corridor, or will within `ENTERS_S` while both keep their speed along and
across the path. (Time gap and predicted encroachment as in Westhofen et al., Criticality Metrics
for Automated Driving, 2022.)

A critical object counts where somebody could see it: at least `SHOWS` of it is in sight, and the
weather does not hide it. It is *missed* when nothing told lies within `WITHIN_M` of its middle
(nuScenes' matching distance), *misnamed* when something does, but nothing of its class. What is
told in the corridor with no true object within `WITHIN_M` of it, hidden ones included, is a
*phantom*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from sim_fleet.classes import Kind
from sim_fleet.drivers.human import place_on
from sim_fleet.drivers.policy import EGO_LENGTH_M, EGO_WIDTH_M
from sim_fleet.drivers.ports import Perceived
from sim_fleet.world.oracle import OracleFrame

BESIDE_M = 0.5
TIME_GAP_S = 4.0
LEAST_AHEAD_M, MOST_AHEAD_M = 30.0, 60.0
ENTERS_S = 2.0
_STEP_S = 0.25
SHOWS = 0.3
WITHIN_M = 2.0
_HALF_STRIP_M = EGO_WIDTH_M / 2 + BESIDE_M
_HALF_EGO_M = EGO_LENGTH_M / 2


@dataclass(frozen=True, slots=True)
class Bodies:
    """Footprints in the ego frame: `xy_m` [n, 2], `yaw_rad` [n], `size_m` [n, 2] length and width,
    `velocity_mps` [n, 2] over ground.
    """

    xy_m: Float64s
    yaw_rad: Float64s
    size_m: Float64s
    velocity_mps: Float64s


@dataclass(frozen=True, slots=True)
class Judged:
    """One instant. `critical` int64 [c] are rows of the truth, `missed` and `misnamed` bool [c]
    over them; `phantoms` int64 [p] are rows of what was told.
    """

    critical: Int64s
    missed: Bools
    misnamed: Bools
    phantoms: Int64s


def reach_m(speed_mps: float) -> float:
    """How far the corridor reaches from the front bumper."""
    return min(MOST_AHEAD_M, max(LEAST_AHEAD_M, TIME_GAP_S * speed_mps))


def touches(path: Float64s, bodies: Bodies, speed_mps: float, ahead_s: float = 0.0) -> Bools:
    """Whether each body touches the corridor, now or at some time within `ahead_s`, bool [n].

    Args:
        path: of the route in the ego frame, [k, 4] x, y, heading, distance from the ego's middle.
    """
    found = np.zeros(bodies.yaw_rad.size, dtype=np.bool_)
    if path.shape[0] < 2:
        return found
    reach = reach_m(speed_mps)
    times = np.arange(0.0, ahead_s + 1e-9, _STEP_S)
    for row, (x, y) in enumerate(bodies.xy_m.tolist()):
        s, d, heading = place_on(path, x, y)
        cos, sin = np.cos(heading), np.sin(heading)
        vx, vy = bodies.velocity_mps[row].tolist()
        turn = bodies.yaw_rad[row] - heading
        ct, st = abs(np.cos(turn)), abs(np.sin(turn))
        length, width = bodies.size_m[row].tolist()
        extent, across = 0.5 * (ct * length + st * width), 0.5 * (st * length + ct * width)
        gap = s - extent - _HALF_EGO_M + (cos * vx + sin * vy - speed_mps) * times
        aside = np.abs(d + (cos * vy - sin * vx) * times) - across
        if not -2 * extent < gap[0] <= reach:
            continue
        found[row] = ((gap > -2 * extent) & (gap <= reach) & (aside <= _HALF_STRIP_M)).any()
    return found


def judge(path: Float64s, truth: OracleFrame, told: Perceived) -> Judged:
    """What of the truth is critical and was not told, and what was told and is not there.

    Cones have no class that a model could tell; they hide phantoms and are never missed.
    """
    speed = truth.ego.speed_mps
    bodies = Bodies(
        truth.centre_ego_m[:, :2], truth.yaw_ego_rad, truth.size_m[:, :2], truth.velocity_ego_mps
    )
    away = np.hypot(*bodies.xy_m.T)
    shown = np.nan_to_num(truth.visibility, nan=0.0) >= SHOWS
    known = shown & (away <= truth.conditions.visibility_m) & (truth.kind != Kind.CONE)
    rows = np.flatnonzero(known & touches(path, bodies, speed, ENTERS_S))
    apart = np.linalg.norm(bodies.xy_m[rows][:, None] - told.xy_m[None], axis=2)
    near = apart <= WITHIN_M
    named = near & (truth.kind[rows][:, None] == told.kind[None])
    seen = near.any(axis=1)
    said = Bodies(told.xy_m, told.yaw_rad, told.size_m, told.velocity_mps)
    there = touches(path, said, speed)
    empty = (_to_footprints(told.xy_m, bodies) > WITHIN_M).all(axis=1)
    return Judged(rows, ~seen, seen & ~named.any(axis=1), np.flatnonzero(there & empty))


def _to_footprints(xy_m: Float64s, bodies: Bodies) -> Float64s:
    """Distance of points [m, 2] to footprints, float64 [m, n]; 0 inside."""
    delta = xy_m[:, None] - bodies.xy_m[None]
    cos, sin = np.cos(bodies.yaw_rad), np.sin(bodies.yaw_rad)
    along = np.abs(cos * delta[..., 0] + sin * delta[..., 1]) - bodies.size_m[:, 0] / 2
    aside = np.abs(cos * delta[..., 1] - sin * delta[..., 0]) - bodies.size_m[:, 1] / 2
    return np.asarray(np.hypot(np.maximum(along, 0.0), np.maximum(aside, 0.0)))
