"""One tick over the whole trigger table, as one cached numba kernel.

A condition must hold without a break for the row's hold time; the row then fires once, and
again only after the condition was false (`rising_edge`) or after its refire time (`level`).
An unknown condition breaks the hold and never fires.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.rules import run_steps
from kernels.triggers import conditions as c
from kernels.triggers import frame_conditions as f
from kernels.triggers import layout as at
from kernels.triggers.table import Rows

Array = NDArray[np.float64]


@njit(cache=True, nogil=True)
def row_condition(
    kind: int,
    p: Array,
    s: Array,
    members: Array,
    v: Array,
    class_scores: Array,
    now_ns: int,
    since_start_s: float,
    dt_s: float,
    horizon_s: float,
    new_frame: bool,
    drive_key: np.uint64,
    e: Array,
) -> tuple[float, float]:
    """(condition, score) of a built-in row; evidence goes to `e`."""
    if kind == at.HARD_BRAKE:
        return c.hard_brake(p, s, v, dt_s, e)
    if kind == at.HARD_ACCEL:
        return c.hard_accel(p, s, v, dt_s, e)
    if kind == at.SWERVE:
        return c.swerve(p, s, v, since_start_s, dt_s, e)
    if kind == at.JERK:
        return c.jerk(p, s, v, dt_s, e)
    if kind == at.DISENGAGEMENT:
        return c.disengagement(p, s, v, now_ns, e)
    if kind == at.LOW_CONFIDENCE:
        return c.low_confidence(p, s, v, new_frame, e)
    if kind == at.RARE_CLASS:
        return c.rare_class(p, s, members, class_scores, new_frame, e)
    if kind == at.SIMILAR_TO:
        return c.similar_to(p, s, v, members, class_scores, new_frame, e)
    if kind == at.TTC:
        return c.ttc(p, v, e)
    if kind == at.RANDOM_BASELINE:
        return c.random_baseline(p, s, drive_key, since_start_s, e)
    if kind == at.PLANNER_DIVERGENCE:
        return c.planner_divergence(p, v, horizon_s, e)
    if kind == at.NOVELTY:
        return f.novelty(p, s, v, members, class_scores, new_frame, e)
    if kind == at.TRACK_FLICKER:
        return f.track_flicker(p, s, v, new_frame, e)
    if kind == at.UNKNOWN_OBJECT:
        return f.unknown_object(p, s, v, new_frame, e)
    if kind == at.SENSOR_DISAGREEMENT:
        return f.sensor_disagreement(p, s, v, new_frame, e)
    if kind == at.SHADOW_DISAGREEMENT:
        return f.shadow_disagreement(p, s, v, e)
    return f.operator_bookmark(p, s, v, now_ns, e)


@njit(cache=True, nogil=True)
def hold_and_fire(row: Any, condition: float, now_ns: int) -> bool:
    """Hold time, edge and level of one row."""
    if condition != 1.0:  # true for NaN, which is unknown
        row.since_ns = -1
        row.fired_ns = -1
        return False
    if row.since_ns < 0:
        row.since_ns = now_ns
    if now_ns - row.since_ns < row.hold_ns:
        return False
    if row.fired_ns >= 0 and (row.refire_ns < 0 or now_ns - row.fired_ns < row.refire_ns):
        return False
    if row.fired_ns >= 0:
        # A condition that lasts is a new event at each refire, not one that grows for ever.
        row.since_ns = now_ns - row.hold_ns
    row.fired_ns = now_ns
    return True


@njit(cache=True, nogil=True)
def step_table(
    rows: Rows,
    members: Array,
    codes: NDArray[np.int32],
    rule_inputs: NDArray[np.int32],
    constants: Array,
    starts: NDArray[np.int32],
    stack: Array,
    v: Array,
    class_scores: Array,
    now_ns: int,
    since_start_s: float,
    dt_s: float,
    horizon_s: float,
    new_frame: bool,
    drive_key: np.uint64,
    fires: NDArray[np.int32],
) -> int:
    """Evaluate every row; row numbers that fired go to `fires`, and their count is returned."""
    count = 0
    for number in range(len(rows)):
        row = rows[number]
        if row.rule >= 0:
            condition = run_steps(
                codes, rule_inputs, constants, starts[row.rule], starts[row.rule + 1], v, stack
            )
            score = 1.0
        else:
            condition, score = row_condition(
                row.kind, row.params, row.state, members[number], v, class_scores, now_ns,
                since_start_s, dt_s, horizon_s, new_frame, drive_key, row.evidence,
            )  # fmt: skip
        row.condition = condition
        row.score = score
        if hold_and_fire(row, condition, now_ns):
            fires[count] = number
            count += 1
    return count
