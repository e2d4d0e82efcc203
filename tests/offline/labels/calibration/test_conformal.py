"""Thresholds of acceptance: what they guarantee, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from contracts.errors import InputError
from offline.labels.calibration.conformal import least_confidence, too_many_wrong
from offline.labels.evaluation.acceptance import (
    accepted_elsewhere,
    steady_threshold,
    threshold_at,
)

SEEDS = st.integers(0, 2**32 - 1)


def draw(rng: np.random.Generator, tracks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tracks of different lengths that are right or wrong as a whole, more often when sure."""
    length = rng.integers(1, 6, tracks)
    sure = rng.random(tracks)
    wrong = rng.random(tracks) < 0.25 * (1 - sure)
    track = np.repeat(np.arange(tracks), length)
    return sure[track], ~wrong[track], track


def test_the_guarantee_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    precision, risk, broken, told = 0.9, 0.1, 0, 0
    for _ in range(200):
        value = least_confidence(*draw(rng, 300), precision, risk)
        if value is not None:
            told += 1
            # Of tracks accepted from v on, 0.25 (1 - v) / 2 are wrong.
            broken += 0.25 * (1 - value) / 2 > 1 - precision
    assert told > 150
    assert broken / 200 <= risk


def test_a_p_value_is_one() -> None:
    rng = np.random.default_rng(1)
    limit, n = 0.05, 150
    small = [too_many_wrong((rng.random(n) < limit).astype(float), limit) for _ in range(1000)]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(small) <= level) <= level
    # Never more sure than the exact test of Clopper and Pearson.
    for wrong in range(8):
        loss = (np.arange(n) < wrong).astype(float)
        assert too_many_wrong(loss, limit) >= binom.cdf(wrong, n, limit) * 0.999


def test_too_few_tracks_vouch_for_nothing() -> None:
    one = np.ones(100)
    assert least_confidence(one, one > 0, np.arange(100), 0.98, 0.1) is None
    assert least_confidence(one[:0], one[:0] > 0, np.arange(0), 0.98, 0.1) is None
    many = np.ones(200)
    assert least_confidence(many, many > 0, np.arange(200), 0.98, 0.1) is not None
    # Boxes of one track are one trial.
    assert least_confidence(many, many > 0, np.arange(200) // 50, 0.98, 0.1) is None
    with pytest.raises(InputError, match="between 0 and 1"):
        least_confidence(many, many > 0, np.arange(200), 1.0, 0.1)


@given(SEEDS, st.sampled_from([0.6, 0.9, 0.98]))
@settings(deadline=None)
def test_threshold_is_the_least_that_keeps_the_precision(seed: int, precision: float) -> None:
    rng = np.random.default_rng(seed)
    told = rng.integers(0, 12, 60) / 12
    right = rng.random(60) < told
    value = threshold_at(told, right, precision)
    good = [v for v in np.unique(told) if right[told >= v].mean() >= precision]
    assert value == (min(good) if good else np.inf)
    sequence = rng.integers(0, 3, 60)
    steady = steady_threshold(told, right, sequence, precision)
    assert steady >= max(
        threshold_at(told[sequence != s], right[sequence != s], precision)
        for s in np.unique(sequence)
    )


def test_a_sequence_has_no_part_in_its_threshold() -> None:
    told = np.array([0.9, 0.8, 0.7, 0.9, 0.8, 0.7])
    right = np.array([True, True, False, True, False, False])
    sequence = np.array([0, 0, 0, 1, 1, 1])
    found = accepted_elsewhere(told, right, sequence, np.array([4, 2]), 0.98)
    assert found.thresholds.tolist() == [0.9, 0.8]
    assert (found.found.tolist(), found.taken.tolist()) == ([1, 1], [1, 2])
    assert (found.share, found.precision) == pytest.approx((2 / 6, 2 / 3))
    assert found.overall == 0.9
    alone = accepted_elsewhere(told, right, np.zeros(6, dtype=int), np.array([3]), 0.98)
    assert alone.share == 0
    assert np.isnan(alone.precision)
