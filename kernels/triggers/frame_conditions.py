"""Conditions over what was seen: likeness, doubt between sensors and models, and requests.

As in `kernels.triggers.conditions`: parameters `p`, state `s`, values `v`, evidence `e`, and
(condition, score). Verdicts are counted on new frames, in `s[1]` (history) and `s[2]` (count).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.triggers import layout as at
from kernels.triggers.conditions import k_of_n

Array = NDArray[np.float64]
NS_PER_S = 1e9


@njit(cache=True, nogil=True)
def forget(s: Array) -> tuple[float, float]:
    """What is to be judged is absent: no history, and nothing can be known."""
    s[1] = -1.0
    s[2] = 0.0
    return np.nan, 0.0


@njit(cache=True, nogil=True)
def counted(s: Array, frames: float, score: float) -> tuple[float, float]:
    """(condition, score) once so many frames hit."""
    return (1.0 if s[2] >= frames else 0.0), score


@njit(cache=True, nogil=True)
def novelty(
    p: Array, s: Array, v: Array, members: Array, class_scores: Array, new_frame: bool, e: Array
) -> tuple[float, float]:
    """p: distance, k, n. `members` 1.0 for the centroids' column. s: -, history, count, distance.

    The column is the cosine to the nearest centroid, below 0 where it cannot be told.
    """
    likeness = -1.0
    for i in range(len(class_scores)):
        if members[i] > 0.5:
            likeness = class_scores[i]
    if np.isnan(v[at.S_OBJECTS]) or likeness < 0.0:
        return forget(s)
    if new_frame:
        s[3] = 1.0 - likeness
        s[2] = float(k_of_n(s, s[3] > p[0], int(p[2])))
    e[0], e[1] = s[3], s[2]
    return counted(s, p[1], 0.0 if np.isnan(s[3]) else s[3] / p[0])


@njit(cache=True, nogil=True)
def track_flicker(p: Array, s: Array, v: Array, new_frame: bool, e: Array) -> tuple[float, float]:
    """p: flickers, k, n. s: -, history, count."""
    flickers = v[at.S_FLICKERS]
    if np.isnan(flickers):
        return forget(s)
    if new_frame:
        s[2] = float(k_of_n(s, flickers >= p[0], int(p[2])))
    e[0], e[1] = flickers, s[2]
    return counted(s, p[1], flickers / p[0])


@njit(cache=True, nogil=True)
def unknown_object(p: Array, s: Array, v: Array, new_frame: bool, e: Array) -> tuple[float, float]:
    """p: points, distance, probability, k, n; the first and third NaN where not looked at."""
    points, away = v[at.S_UNEXPLAINED], v[at.S_UNEXPLAINED_M]
    unknown = v[at.S_UNKNOWN]
    sees_points = not np.isnan(p[0]) and not np.isnan(points)
    sees_unknown = not np.isnan(p[2]) and not np.isnan(unknown)
    if not sees_points and not sees_unknown:
        return forget(s)
    score = 0.0
    if sees_points and away <= p[1]:
        score = points / p[0]
    if sees_unknown:
        score = max(score, unknown / p[2])
    if new_frame:
        s[2] = float(k_of_n(s, score >= 1.0, int(p[4])))
    e[0], e[1], e[2], e[3] = points, away, unknown, s[2]
    return counted(s, p[3], score)


@njit(cache=True, nogil=True)
def sensor_disagreement(
    p: Array, s: Array, v: Array, new_frame: bool, e: Array
) -> tuple[float, float]:
    """p: missed, share, drift, k, n; the first and third NaN where not looked at."""
    missed, checked, drift = v[at.S_LIDAR_MISSED], v[at.S_LIDAR_CHECKED], v[at.S_DRIFT]
    sees_missed = not np.isnan(p[0]) and not np.isnan(missed) and not np.isnan(checked)
    sees_drift = not np.isnan(p[2]) and not np.isnan(drift)
    if not sees_missed and not sees_drift:
        return forget(s)
    score = 0.0
    if sees_missed and missed >= p[1] * checked:
        score = missed / p[0]
    if sees_drift:
        score = max(score, drift / p[2])
    if new_frame:
        s[2] = float(k_of_n(s, score >= 1.0, int(p[4])))
    e[0], e[1], e[2], e[3] = missed, checked, drift, s[2]
    return counted(s, p[3], score)


@njit(cache=True, nogil=True)
def shadow_disagreement(p: Array, s: Array, v: Array, e: Array) -> tuple[float, float]:
    """p: share, k, n. s: -, history, count, frames compared so far: those are its frames."""
    share, frames = v[at.S_SHADOW], v[at.S_SHADOW_FRAMES]
    if np.isnan(share) or np.isnan(frames):
        s[3] = np.nan
        return forget(s)
    if s[3] != frames:
        s[2] = float(k_of_n(s, share >= p[0], int(p[2])))
        s[3] = frames
    e[0], e[1] = share, s[2]
    return counted(s, p[1], share / p[0])


@njit(cache=True, nogil=True)
def operator_bookmark(p: Array, s: Array, v: Array, now_ns: int, e: Array) -> tuple[float, float]:
    """p: 1 for a remote request, how long it lasts. s: when it came."""
    if p[0] < 0.5:
        pressed = v[at.S_BOOKMARK]
        if np.isnan(pressed):
            return np.nan, 0.0
        return (1.0 if pressed > 0.5 else 0.0), 1.0
    if np.isnan(s[0]):
        s[0] = float(now_ns)
    e[0] = (float(now_ns) - s[0]) / NS_PER_S
    return (1.0 if e[0] <= p[1] else 0.0), 1.0
