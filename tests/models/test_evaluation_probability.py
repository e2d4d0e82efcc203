"""Calibration error, ground and light against cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from models.evaluation.probability import GroundScore, light_score, reliability


def test_reliability_by_hand() -> None:
    told = np.array([0.1, 0.15, 0.9, 1.0])
    found = reliability(told, np.array([False, True, True, True]), bins=2)
    np.testing.assert_allclose(found.told, [0.125, 0.95])
    np.testing.assert_allclose(found.right, [0.5, 1.0])
    assert found.count.tolist() == [2, 2]
    assert found.error == pytest.approx(0.5 * 0.375 + 0.5 * 0.05)
    assert found.worst == pytest.approx(0.375)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 400), st.integers(1, 20))
def test_the_error_is_the_weighed_gap_of_the_bins(seed: int, n: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    told, right = rng.random(n), rng.random(n) < 0.4
    expected = 0.0
    for b in range(bins):
        here = (told * bins >= b) & ((told * bins < b + 1) | (b == bins - 1))
        if here.any():
            expected += abs(told[here].mean() - right[here].mean()) * here.mean()
    assert reliability(told, right, bins).error == pytest.approx(expected, abs=1e-12)


def test_honest_probabilities_have_hardly_an_error_and_others_do() -> None:
    rng = np.random.default_rng(3)
    told = rng.random(40_000)
    right = rng.random(40_000) < told
    assert reliability(told, right).error < 0.012
    assert reliability(told**2, right).error > 0.12


def test_no_outcome_or_no_probability_is_refused() -> None:
    with pytest.raises(InputError):
        reliability(np.zeros(0), np.zeros(0, np.bool_))
    with pytest.raises(InputError, match=r"0\.\.1"):
        reliability(np.array([1.2]), np.array([True]))
    with pytest.raises(InputError):
        reliability(np.array([np.nan]), np.array([True]))


def test_ground_counts_known_cells_over_all_frames() -> None:
    score = GroundScore(2)
    truth = np.array([[[1, 1, 0, 255]], [[0, 0, 0, 0]]], dtype=np.uint8)
    score.add(np.array([[[0.9, 0.1, 0.8, 0.9]], [[0.1, 0.1, 0.1, 0.1]]]), truth)
    assert score.iou()[0] == pytest.approx(1 / 3) and np.isnan(score.iou()[1])
    assert score.mean_iou() == pytest.approx(1 / 3)
    score.add(np.array([[[0.9] * 4], [[0.9] * 4]]), np.ones((2, 1, 4), np.uint8))
    np.testing.assert_allclose(score.iou(), [5 / 7, 1.0])
    assert np.isnan(GroundScore(2).mean_iou())
    with pytest.raises(InputError):
        score.add(np.zeros((2, 1, 3)), truth)


def test_light_by_hand() -> None:
    score = light_score(np.array([0, 1, 3, 3]), np.array([0, 3, 3, 3]), 4)
    assert score.accuracy == 0.75
    np.testing.assert_allclose(score.recall, [1.0, np.nan, np.nan, 2 / 3])
    assert score.confusion[3].tolist() == [0, 1, 0, 2] and score.confusion.sum() == 4
    with pytest.raises(InputError):
        light_score(np.zeros(0, np.int64), np.zeros(0, np.int64), 4)
