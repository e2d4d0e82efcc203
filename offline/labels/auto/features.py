"""What calibration goes by of one track's boxes."""

from __future__ import annotations

import numpy as np

from contracts.samples import Float64s
from offline.labels.auto.clip import FEATURES
from offline.labels.auto.completion import Completed
from offline.labels.auto.smoothing import spread
from offline.labels.auto.tracks import Course, Sightings, is_fixed

_NEAR = 2


def track_features(
    whole: Completed, track: Sightings, course: Course, noise_m: Float64s | None
) -> Float64s:
    """As `FEATURES`, of one track, [t, f]; what other tracks hide and what beams tell is not known
    yet.

    Args:
        whole: all of its boxes.
        track: its sightings, h of them.
        course: what came of these.
        noise_m: standard deviation of the sightings' places [h]; None where the world is unknown.
    """
    count = course.seen.size
    own: Float64s = np.zeros(count + 2 * _NEAR, dtype=np.float64)
    own[track.frame - course.first + _NEAR] = track.probability
    window = np.lib.stride_tricks.sliding_window_view(own, 2 * _NEAR + 1)
    place = np.clip(whole.frame - course.first, 0, count - 1)
    near = window.mean(axis=1)[place]
    here = np.where(whole.unseen_for == 0, own[_NEAR : _NEAR + count][place], 0.0)
    n = whole.frame.size
    by_name = {
        "hits": np.full(n, float(len(track))), "gaps": np.full(n, float(count - len(track))),
        "length": np.full(n, float(count)),
        "mean_probability": np.full(n, track.probability.mean()),
        "best_probability": np.full(n, track.probability.max()),
        "near_probability": near, "own_probability": here,
        "unseen_for": whole.unseen_for.astype(np.float64),
        "range_m": np.hypot(whole.centre_m[:, 0], whole.centre_m[:, 1]),
        "residual_m": whole.residual_m, "covered": np.zeros(n), "cut": np.zeros(n),
        "occupied": np.zeros(n), "solid": np.zeros(n), "nearest_m": np.zeros(n),
        "spread_m": np.zeros(n), "stands": np.zeros(n),
    }  # fmt: skip
    if noise_m is not None:
        by_name["nearest_m"] = np.full(n, track.range_m.min())
        by_name["spread_m"] = _spread(whole, track, course, noise_m)
        by_name["stands"] = np.full(n, float(is_fixed(course.motion)))
    return np.column_stack([by_name[name] for name in FEATURES])


def _spread(whole: Completed, track: Sightings, course: Course, noise_m: Float64s) -> Float64s:
    """How unsure the place of each box of a track is, m, [t]."""
    first = min(course.first, int(whole.frame[0]))
    last = max(course.first + course.seen.size - 1, int(whole.frame[-1]))
    noise = np.full(last - first + 1, np.inf)
    noise[track.frame - first] = noise_m
    motion = course.motion
    told = (
        spread(noise, motion.static_drift_m, "place") if course.is_static
        else spread(noise, motion.acceleration_m, "speed")
    )  # fmt: skip
    return told[whole.frame - first]
