"""The smoother against a Rauch-Tung-Striebel smoother written out, and what it withstands."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.samples import Float64s
from offline.labels.auto.smoothing import faced, smoothed, smoothed_axis, spread


def rauch_tung_striebel(value: Float64s, noise: Float64s, step: float) -> Float64s:
    """Forward and backward over place and speed, the start unknown: [t]."""
    turn, push = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, step**2]])
    state, spread = np.zeros(2), np.eye(2) * 1e7
    before, after = [], []
    for seen, sigma in zip(value, noise, strict=True):
        before.append((state, spread))
        if np.isfinite(sigma):
            gain = spread[:, 0] / (spread[0, 0] + sigma**2)
            state = state + gain * (seen - state[0])
            spread = spread - np.outer(gain, spread[0])
        after.append((state, spread))
        state, spread = turn @ state, turn @ spread @ turn.T + push
    course = [after[-1][0]]
    for (state, spread), (ahead, ahead_spread) in zip(after[-2::-1], before[:0:-1], strict=True):
        gain = spread @ turn.T @ np.linalg.inv(ahead_spread)
        course.append(state + gain @ (course[-1] - ahead))
    return np.array(course[::-1])[:, 0]


def test_it_is_a_rauch_tung_striebel_smoother() -> None:
    rng = np.random.default_rng(0)
    value = np.cumsum(rng.normal(0.5, 0.2, 40)) + rng.normal(0, 0.2, 40)
    noise = np.where(rng.random(40) < 0.3, np.inf, 0.2)
    noise[[0, 1, -1]] = 0.2
    ours = smoothed(value[:, None], noise, 0.1, "speed", robust=False)[:, 0]
    assert ours == pytest.approx(rauch_tung_striebel(value, noise, 0.1), abs=1e-4)


def test_an_outlier_hardly_counts() -> None:
    value = np.arange(30.0)[:, None].copy()
    value[15] += 5
    course = smoothed(value, np.full(30, 0.1), 0.02, "speed")
    assert abs(course[15, 0] - 15) < 0.1


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("walk", ["place", "speed"])
def test_short_courses(count: int, walk: str) -> None:
    value = np.arange(float(count))[:, None]
    course = smoothed(value, np.full(count, 0.1), 10.0, "speed" if walk == "speed" else "place")
    assert course == pytest.approx(value, abs=1e-2)


def test_a_direction_whose_front_and_back_were_confused() -> None:
    rng = np.random.default_rng(1)
    truth = np.linspace(-2.5, 3.5, 60)
    seen = truth + rng.normal(0, 0.05, 60) + np.pi * (rng.random(60) < 0.3)
    axis = faced(smoothed_axis(seen, np.full(60, 0.05), 0.1), seen, np.ones(60))
    assert np.abs(np.angle(np.exp(1j * (axis - truth)))).max() < 0.15


def test_spread_is_what_many_courses_differ_by_and_grows_where_nothing_is_seen() -> None:
    rng = np.random.default_rng(0)
    noise = np.full(30, 0.2)
    noise[12:] = np.inf
    step = 0.05
    speed = np.cumsum(rng.normal(0, step, (30, 4000)), axis=0)
    true = np.cumsum(speed, axis=0)
    seen = true + rng.normal(0, 0.2, true.shape)
    course = smoothed(seen, noise, step, "speed", robust=False)
    told = spread(noise, step, "speed")
    assert told == pytest.approx((course - true).std(axis=1), rel=0.1)
    assert (np.diff(told[12:]) > 0).all()
    assert spread(np.array([0.3]), 0.1, "place") == pytest.approx([0.3], rel=1e-4)
