"""One numba function per trigger kind: is its condition true on this tick?

Each takes the row's parameters `p` and state `s` (float64 [8], changed in place; NaN means
'not yet'), the catalogue's values `v` (NaN: absent), writes `evidence` float64 [4] and gives
(condition, score). Condition is 1.0, 0.0 or NaN for 'cannot be known now'. The score is the
measured value over its bound: above 1 where the condition holds, so that fires rank.

Filters are first-order low-passes discretised exactly for the tick's own length, so that the
tick rate does not change what a trigger means.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.triggers import layout as at

Array = NDArray[np.float64]


@njit(cache=True, nogil=True)
def low_pass(s: Array, slot: int, x: float, dt_s: float, tau_s: float) -> float:
    """Filter `x` into `s[slot]`; an absent value empties the filter."""
    if np.isnan(x):
        s[slot] = np.nan
    elif np.isnan(s[slot]) or tau_s <= 0.0:
        s[slot] = x
    else:
        s[slot] += (1.0 - np.exp(-dt_s / tau_s)) * (x - s[slot])
    return float(s[slot])


@njit(cache=True, nogil=True)
def above(value: float, bound: float) -> tuple[float, float]:
    """(condition, score) of a value that must exceed a positive bound."""
    if np.isnan(value):
        return np.nan, 0.0
    return (1.0 if value > bound else 0.0), value / bound


@njit(cache=True, nogil=True)
def hard_brake(p: Array, s: Array, v: Array, dt_s: float, e: Array) -> tuple[float, float]:
    """p: bound, filter. s: filtered deceleration."""
    decel = low_pass(s, 0, -v[at.S_ACCEL], dt_s, p[1])
    e[0] = decel
    e[1] = v[at.S_SPEED]
    return above(decel, p[0])


@njit(cache=True, nogil=True)
def hard_accel(p: Array, s: Array, v: Array, dt_s: float, e: Array) -> tuple[float, float]:
    """p: bound, filter. s: filtered acceleration."""
    accel = low_pass(s, 0, v[at.S_ACCEL], dt_s, p[1])
    e[0] = accel
    e[1] = v[at.S_SPEED]
    return above(accel, p[0])


@njit(cache=True, nogil=True)
def jerk(p: Array, s: Array, v: Array, dt_s: float, e: Array) -> tuple[float, float]:
    """p: bound, filter. s: filtered jerk."""
    value = low_pass(s, 0, v[at.S_JERK], dt_s, p[1])
    e[0] = value
    e[1] = v[at.S_ACCEL]
    e[2] = v[at.S_SPEED]
    return above(abs(value), p[0])


@njit(cache=True, nogil=True)
def swerve(
    p: Array, s: Array, v: Array, now_s: float, dt_s: float, e: Array
) -> tuple[float, float]:
    """p: lateral bound, yaw bound, reversal time, least speed, filter.

    s: filtered lateral acceleration, filtered yaw rate, last time each side was beyond.
    """
    lateral = low_pass(s, 0, v[at.S_LAT_ACCEL], dt_s, p[4])
    yaw = low_pass(s, 1, v[at.S_YAW_RATE], dt_s, p[4])
    speed = v[at.S_SPEED]
    e[0], e[1], e[2], e[3] = lateral, yaw, np.nan, speed
    condition, score = above(abs(lateral), p[0])
    if np.isnan(yaw) or np.isnan(speed) or speed < p[3]:
        s[2] = np.nan
        s[3] = np.nan
        return condition, score
    since_other = np.nan
    if yaw > p[1]:
        s[2] = now_s
        since_other = now_s - s[3]
    elif yaw < -p[1]:
        s[3] = now_s
        since_other = now_s - s[2]
    if since_other <= p[2]:
        e[2] = since_other
        return 1.0, max(score, abs(yaw) / p[1])
    return (0.0 if np.isnan(condition) else condition), score


@njit(cache=True, nogil=True)
def disengagement(p: Array, s: Array, v: Array, now_ns: int, e: Array) -> tuple[float, float]:
    """p: bit mask of causes. s: engaged before, off since, last brake, steer, gas, cause.

    True from the moment autonomy drops until it is engaged again.
    """
    now = float(now_ns)
    engaged = v[at.S_ENGAGED]
    if v[at.S_BRAKE] > 0.5:
        s[2] = now
    if v[at.S_STEER] > 0.5:
        s[3] = now
    if v[at.S_GAS] > 0.5:
        s[4] = now
    if np.isnan(engaged):
        s[0] = np.nan
        s[1] = np.nan
        return np.nan, 0.0
    if engaged > 0.5:
        s[1] = np.nan
    elif s[0] > 0.5:
        s[1] = now
        s[5] = _cause(s, v, now)
    s[0] = engaged
    if np.isnan(s[1]):
        return 0.0, 0.0
    e[0] = s[5]
    e[1] = v[at.S_SPEED]
    counts = (int(p[0]) >> int(s[5])) & 1
    return float(counts), 1.0


@njit(cache=True, nogil=True)
def _cause(s: Array, v: Array, now: float) -> float:
    recent = now - at.CAUSE_LOOKBACK_NS
    if v[at.S_ESTOP] > 0.5:
        return float(at.EMERGENCY_STOP)
    if v[at.S_FAULT] > 0.5:
        return float(at.SYSTEM)
    if s[2] >= recent:
        return float(at.DRIVER_BRAKE)
    if s[3] >= recent:
        return float(at.DRIVER_STEER)
    if s[4] >= recent:
        return float(at.DRIVER_GAS)
    return float(at.SYSTEM)


@njit(cache=True, nogil=True)
def k_of_n(s: Array, hit: bool, frames: int) -> int:
    """Shift one frame's verdict into the history `s[1]`; how many of the last n hit."""
    history = (int(s[1]) << 1) | (1 if hit else 0) if s[1] >= 0 else (1 if hit else 0)
    history &= (1 << frames) - 1
    s[1] = float(history)
    count = 0
    while history:
        count += history & 1
        history >>= 1
    return count


@njit(cache=True, nogil=True)
def low_confidence(p: Array, s: Array, v: Array, new_frame: bool, e: Array) -> tuple[float, float]:
    """p: uncertainty bound, margin bound, least objects, k, n. s: -, history, count."""
    uncertainty = v[at.S_UNCERTAINTY]
    margin = v[at.S_MARGIN]
    objects = v[at.S_OBJECTS]
    if np.isnan(objects):
        s[1] = -1.0
        s[2] = 0.0
        return np.nan, 0.0
    if new_frame:
        hit = objects >= p[2] and (uncertainty > p[0] or margin < p[1])
        s[2] = float(k_of_n(s, hit, int(p[4])))
    e[0], e[1], e[2], e[3] = uncertainty, margin, s[2], objects
    score = 0.0 if np.isnan(uncertainty) else uncertainty / p[0]
    return (1.0 if s[2] >= p[3] else 0.0), score


@njit(cache=True, nogil=True)
def rare_class(
    p: Array, s: Array, members: Array, class_scores: Array, new_frame: bool, e: Array
) -> tuple[float, float]:
    """p: probability, k, n. `members` 1.0 for listed classes. s: -, history, count, class, best.

    `class_scores` float64 [classes]: highest probability of each class in the newest frame.
    """
    if new_frame:
        best = 0.0
        which = -1
        for i in range(len(class_scores)):
            if members[i] > 0.5 and class_scores[i] > best:
                best = class_scores[i]
                which = i
        s[2] = float(k_of_n(s, best >= p[0], int(p[2])))
        if best >= p[0]:
            s[3] = float(which)
            s[4] = best
    e[0], e[1], e[2] = s[3], s[4], s[2]
    holds = s[2] >= p[1]
    return (1.0 if holds else 0.0), (s[4] / p[0] if holds else 0.0)


@njit(cache=True, nogil=True)
def similar_to(
    p: Array, s: Array, v: Array, members: Array, class_scores: Array, new_frame: bool, e: Array
) -> tuple[float, float]:
    """p: cosine, k, n. `members` 1.0 for the reference's column. s: -, history, count, likeness.

    Unknown while no model looks at the road.
    """
    if np.isnan(v[at.S_OBJECTS]):
        s[1] = -1.0
        s[2] = 0.0
        return np.nan, 0.0
    if new_frame:
        likeness = 0.0
        for i in range(len(class_scores)):
            if members[i] > 0.5:
                likeness = class_scores[i]
        s[2] = float(k_of_n(s, likeness >= p[0], int(p[2])))
        if likeness >= p[0]:
            s[3] = likeness
    e[0], e[1] = s[3], s[2]
    holds = s[2] >= p[1]
    return (1.0 if holds else 0.0), (s[3] / p[0] if holds else 0.0)


@njit(cache=True, nogil=True)
def ttc(p: Array, v: Array, e: Array) -> tuple[float, float]:
    """p: bound, least speed."""
    value = v[at.S_TTC]
    speed = v[at.S_SPEED]
    e[0], e[1], e[2], e[3] = value, speed, v[at.S_DISTANCE], v[at.S_CLOSING]
    if np.isnan(value) or np.isnan(speed):
        # Not closing is known to be safe when the distance is known.
        return (np.nan if np.isnan(v[at.S_DISTANCE]) else 0.0), 0.0
    holds = value < p[0] and speed > p[1]
    return (1.0 if holds else 0.0), p[0] / max(value, 1e-3)


@njit(cache=True, nogil=True)
def planner_divergence(p: Array, v: Array, horizon_s: float, e: Array) -> tuple[float, float]:
    """p: mean bound, final bound, least speed."""
    ade = v[at.S_ADE]
    fde = v[at.S_FDE]
    speed = v[at.S_SPEED]
    e[0], e[1], e[2], e[3] = ade, fde, horizon_s, speed
    if np.isnan(ade) or np.isnan(fde):
        return np.nan, 0.0
    moving = np.isnan(speed) or speed > p[2]
    score = max(ade / p[0], fde / p[1])
    return (1.0 if moving and score > 1.0 else 0.0), score


@njit(cache=True, nogil=True)
def splitmix64(x: np.uint64) -> np.uint64:
    """Steele, Lea and Flood's finaliser: a well-mixed 64-bit value for each counter."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def random_baseline(
    p: Array, s: Array, drive_key: np.uint64, since_start_s: float, e: Array
) -> tuple[float, float]:
    """p: probability, slot length, seed (as two 32-bit halves). s: last slot.

    A slot is kept when a hash of (seed, drive, slot) falls below the probability: independent
    of all that happens on the drive, and known afterwards. True on the slot's first tick only.
    """
    slot = np.floor(since_start_s / p[1])
    if s[0] == slot:
        return 0.0, 0.0
    s[0] = slot
    seed = (np.uint64(p[3]) << np.uint64(32)) | np.uint64(p[2])
    mixed = splitmix64(splitmix64(drive_key ^ splitmix64(seed)) ^ np.uint64(slot))
    e[0], e[1] = p[0], slot
    draw = float(mixed >> np.uint64(11)) / 9007199254740992.0
    return (1.0 if draw < p[0] else 0.0), 1.0
