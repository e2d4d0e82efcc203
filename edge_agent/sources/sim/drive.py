"""The story of a simulated drive, at 50 Hz: who is where, and who controls the car.

The ego car follows a lead car by the Intelligent Driver Model (Treiber, Hennecke, Helbing
2000), under autonomy, whose perception is late by `PERCEPTION_DELAY_S`. Once a minute a
pedestrian steps out, the lead brakes hard to a stop, and the human takes over with the brake
before the autonomy has understood; later autonomy is engaged again. Nothing here is random
except through the given seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s
from edge_agent.sources.sim.actors import Actors, furnish
from edge_agent.sources.sim.options import SimOptions
from edge_agent.sources.sim.road import LANE_WIDTH_M, Road

RATE_HZ = 50
STEP_S = 1.0 / RATE_HZ
LANE_D_M = -LANE_WIDTH_M / 2
CRUISE_MPS = 14.0
FRONT_BUMPER_M = 3.8
PERCEPTION_DELAY_S = 0.8
LEAD_HALF_LENGTH_M = 2.25

_TAKEOVER_DELAY_S = 0.9
_HUMAN_BRAKE_MPS2 = 6.4
_LEAD_BRAKE_MPS2 = 6.5
_STOP_S = 7.5
_ENGAGE_AT_S = 3.0
_REENGAGE_AFTER_S = 14.0
_BRAKE_LAG_S = 0.15


def idm_accel_mps2(speed_mps: float, gap_m: float, lead_mps: float) -> float:
    """Car-following acceleration: 1.6 m/s2 at most, comfortable braking 2.0, headway 1.0 s."""
    gap_m = max(gap_m, 0.5)
    wanted_m = 4.0 + max(
        0.0, 1.0 * speed_mps + speed_mps * (speed_mps - lead_mps) / (2 * (1.6 * 2.0) ** 0.5)
    )
    free = 1.0 - (speed_mps / 20.0) ** 4
    return float(np.clip(1.6 * (free - (wanted_m / gap_m) ** 2), -3.5, 1.6))


@dataclass(frozen=True, slots=True)
class Drive:
    """Truth of the whole drive. Columns [n] at 50 Hz; `s_m` of the ego's rear axle."""

    options: SimOptions
    road: Road
    actors: Actors
    t_s: Float64s
    s_m: Float64s
    speed_mps: Float64s
    accel_mps2: Float64s
    lead_s_m: Float64s
    lead_mps: Float64s
    engaged: Float64s
    brake: Float64s
    gas: Float64s
    event_times_s: tuple[float, ...]

    def gap_m(self) -> Float64s:
        """Bumper-to-bumper distance to the lead, [n]."""
        return self.lead_s_m - LEAD_HALF_LENGTH_M - self.s_m - FRONT_BUMPER_M


def _event_times(duration_s: float, rng: np.random.Generator) -> list[float]:
    """One event a minute, or one in the middle of a drive that is shorter than that."""
    if duration_s < 45.0:
        return [duration_s * 0.5] if duration_s >= 16.0 else []
    starts = np.arange(0.0, duration_s - 40.0, 60.0)
    return [float(start + rng.uniform(28.0, 33.0)) for start in starts]


def simulate(options: SimOptions) -> Drive:
    """Run the drive. Equal options give equal columns."""
    rng = np.random.default_rng([20_240_817, options.seed])
    road = Road(18.0 * options.duration_s, rng)
    events = _event_times(options.duration_s, rng)
    count = round(options.duration_s * RATE_HZ) + 1
    log = np.zeros((count, 8))
    lead_phase = float(rng.uniform(0, 2 * np.pi))
    speed, s, accel = CRUISE_MPS - 0.4, 0.0, 0.0
    lead_speed, lead_s = CRUISE_MPS - 0.4, FRONT_BUMPER_M + LEAD_HALF_LENGTH_M + 21.0
    delay = round(PERCEPTION_DELAY_S * RATE_HZ)
    crossings: list[tuple[float, float]] = []
    for i in range(count):
        t = i * STEP_S
        since = min((t - e for e in events if t >= e), default=np.inf)
        if since < STEP_S:
            crossings.append((t, lead_s + LEAD_HALF_LENGTH_M + 20.0))
        lead_accel = _lead_accel(t, since, lead_speed, lead_phase)
        gap = lead_s - LEAD_HALF_LENGTH_M - s - FRONT_BUMPER_M
        engaged = t >= _ENGAGE_AT_S and not (_TAKEOVER_DELAY_S + 0.06 <= since < _REENGAGE_AFTER_S)
        braking = _TAKEOVER_DELAY_S <= since < _STOP_S and speed >= 0.0
        if braking:
            wanted = -_HUMAN_BRAKE_MPS2 if speed > lead_speed + 0.2 or since > 4.0 else accel
        elif engaged and i >= delay:
            seen = log[i - delay]  # s, v, a, lead s, lead v as they were
            wanted = idm_accel_mps2(speed, gap + (seen[3] - seen[0]) - (lead_s - s), float(seen[4]))
        else:
            wanted = idm_accel_mps2(speed, gap, lead_speed)
        accel += (wanted - accel) * min(1.0, STEP_S / _BRAKE_LAG_S)
        if speed <= 0.0 and accel < 0.0:
            accel = 0.0
        gas = not engaged and not braking and wanted > 0.2
        log[i] = (s, speed, accel, lead_s, lead_speed, engaged, braking, gas)
        s, speed = s + speed * STEP_S, max(0.0, speed + accel * STEP_S)
        lead_s, lead_speed = (
            lead_s + lead_speed * STEP_S,
            max(0.0, lead_speed + lead_accel * STEP_S),
        )
    actors = furnish(18.0 * options.duration_s, options.duration_s, crossings, rng)
    s_m, speed_mps, accel_mps2, lead_s_m, lead_mps, on, pressed, pedal = log.T.copy()
    return Drive(
        options=options,
        road=road,
        actors=actors,
        t_s=np.arange(count, dtype=np.float64) * STEP_S,
        s_m=s_m,
        speed_mps=speed_mps,
        accel_mps2=accel_mps2,
        lead_s_m=lead_s_m,
        lead_mps=lead_mps,
        engaged=on,
        brake=pressed,
        gas=pedal,
        event_times_s=tuple(events),
    )


def _lead_accel(t_s: float, since_s: float, speed_mps: float, phase: float) -> float:
    if since_s < _STOP_S:
        return -_LEAD_BRAKE_MPS2 if speed_mps > 0 else 0.0
    wanted_mps = CRUISE_MPS + 0.6 * np.sin(t_s / 7.0 + phase)
    return float(np.clip(0.8 * (wanted_mps - speed_mps), -1.5, 1.8))
