"""The simulated planner: where the autonomy means to go, from what it knows late.

It rolls the car-following model forward from the lead as perceived `PERCEPTION_DELAY_S` ago,
so its plan parts from what a human does who has already seen the brake lights.
"""

from __future__ import annotations

import numpy as np

from contracts.samples import Float64s
from edge_agent.sources.sim.drive import (
    FRONT_BUMPER_M,
    LANE_D_M,
    LEAD_HALF_LENGTH_M,
    PERCEPTION_DELAY_S,
    RATE_HZ,
    Drive,
    idm_accel_mps2,
)

HORIZON_S = 3.0
STEP_S = 0.25
_SUBSTEPS = 5
_LEAD_ACCEL_FADE_S = 1.5


def plan_at(drive: Drive, index: int) -> tuple[Float64s, Float64s]:
    """Times [13] from 0 and points [13, 2] in the ego frame at column `index`."""
    seen = max(0, index - round(PERCEPTION_DELAY_S * RATE_HZ))
    before = max(0, seen - RATE_HZ // 2)
    lead_mps = float(drive.lead_mps[seen])
    lead_accel = (
        (lead_mps - float(drive.lead_mps[before])) * RATE_HZ / (seen - before)
        if seen > before
        else 0.0
    )
    speed, s = float(drive.speed_mps[index]), float(drive.s_m[index])
    gap = float(drive.lead_s_m[seen] - drive.s_m[seen] - LEAD_HALF_LENGTH_M - FRONT_BUMPER_M)
    count = round(HORIZON_S / STEP_S) + 1
    along = np.empty(count)
    step = STEP_S / _SUBSTEPS
    for k in range(count):
        along[k] = s
        for j in range(_SUBSTEPS):
            accel = idm_accel_mps2(speed, gap, lead_mps)
            gap += (lead_mps - speed) * step
            s += speed * step
            speed = max(0.0, speed + accel * step)
            fade = np.exp(-(k * STEP_S + j * step) / _LEAD_ACCEL_FADE_S)
            lead_mps = max(0.0, lead_mps + lead_accel * fade * step)
    heading = float(drive.road.heading_rad(np.array(along[0])))
    points_m = drive.road.position_m(along, np.full(count, LANE_D_M))
    cos, sin = np.cos(heading), np.sin(heading)
    ego_R_world = np.array([[cos, sin], [-sin, cos]])
    xy_m: Float64s = (points_m - points_m[0]) @ ego_R_world.T
    return np.arange(count, dtype=np.float64) * STEP_S, xy_m
