"""How a driver keeps a gap: the intelligent driver model of Treiber, Hennecke and Helbing (2000).

Changed in two ways: it brakes at least by what the distance left needs, and not much more than
that; and a floor under the gap lets a standing queue stand.
"""

from __future__ import annotations

from sim_fleet.jit import kernel

MAX_ACCEL_MPS2 = 1.7
COMFORT_MPS2 = 2.2
STANDSTILL_M = 2.0
NO_LEADER_M = 1e6


@kernel
def idm_mps2(
    speed_mps: float,
    wanted_mps: float,
    gap_m: float,
    leader_mps: float,
    headway_s: float,
    max_brake_mps2: float,
) -> float:
    """Acceleration of a driver behind a leader at `gap_m`, bumper to bumper."""
    free = 1.0 - (max(speed_mps, 0.0) / max(wanted_mps, 0.1)) ** 4
    accel = MAX_ACCEL_MPS2 * free
    if gap_m < 1e5:
        closing = speed_mps - leader_mps
        wish = STANDSTILL_M + max(
            0.0,
            speed_mps * headway_s
            + speed_mps * closing / (2.0 * (MAX_ACCEL_MPS2 * COMFORT_MPS2) ** 0.5),
        )
        gap = max(gap_m, 0.1)
        accel = MAX_ACCEL_MPS2 * (free - (wish / gap) ** 2)
        if gap_m < STANDSTILL_M * 0.6 and speed_mps < 0.6:
            accel = -max_brake_mps2
        needed = 0.0
        if closing > 0.0:
            room = max(gap_m - 0.8, 0.05)
            stop = speed_mps * speed_mps - leader_mps * abs(leader_mps)
            ahead = max(0.0, leader_mps * leader_mps / (2.0 * max_brake_mps2))
            needed = max(closing * closing / (2.0 * room), stop / (2.0 * (room + ahead)))
            if needed > COMFORT_MPS2 * 0.9:
                accel = min(accel, -needed * 1.08)
        if gap_m > STANDSTILL_M + speed_mps * headway_s:
            # The model brakes far harder than it must for what stands well ahead.
            accel = max(accel, -max(COMFORT_MPS2, 1.3 * needed + 0.4))
    return min(MAX_ACCEL_MPS2, max(-max_brake_mps2, accel))
