"""Kappa against scikit-learn and statsmodels, ICC against Shrout and Fleiss's own example."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as peer_fleiss

from contracts.errors import InputError
from contracts.geometry import Int64s
from offline.labels.qa.agreement import (
    Weights,
    class_counts,
    cohen_kappa,
    fleiss_kappa,
    intraclass_correlations,
)

PAPER = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]]
)


@settings(max_examples=60, deadline=None)
@given(
    pairs=arrays.arrays(np.int64, st.tuples(st.integers(2, 40), st.just(2)),
                        elements=st.integers(0, 3)),
    weights=st.sampled_from(["none", "linear", "quadratic"]),
)  # fmt: skip
def test_cohen_kappa_is_scikit_learns(pairs: Int64s, weights: Weights) -> None:
    ours = cohen_kappa(pairs[:, 0], pairs[:, 1], 4, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = cohen_kappa_score(
            pairs[:, 0],
            pairs[:, 1],
            labels=range(4),
            weights=None if weights == "none" else weights,
        )
    if np.isnan(ours):
        assert (pairs == pairs[0, 0]).all()
    else:
        assert ours == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    votes=arrays.arrays(
        np.int64, st.tuples(st.integers(1, 30), st.integers(2, 6)), elements=st.integers(0, 2)
    )
)
def test_fleiss_kappa_is_statsmodels(votes: Int64s) -> None:
    counts = class_counts(votes, 3)
    assert counts.tolist() == [np.bincount(row, minlength=3).tolist() for row in votes]
    ours = fleiss_kappa(counts)
    if (votes == votes[0, 0]).all():
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(peer_fleiss(counts), abs=1e-12)


def test_the_papers_example() -> None:
    found = intraclass_correlations(PAPER)
    assert found.single.value == pytest.approx(0.29, abs=0.005)
    assert found.mean.value == pytest.approx(0.62, abs=0.005)
    assert found.consistency.value == pytest.approx(0.71, abs=0.006)
    # Intervals as psych::ICC and pingouin print them for the same table.
    assert (found.single.low, found.single.high) == pytest.approx((0.02, 0.76), abs=0.006)
    assert (found.mean.low, found.mean.high) == pytest.approx((0.07, 0.93), abs=0.006)
    assert (found.consistency.low, found.consistency.high) == pytest.approx((0.34, 0.95), abs=0.006)


def test_an_offset_hurts_agreement_and_not_consistency() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(0, 2, 400)
    values = np.stack([true + shift + rng.normal(0, 0.5, 400) for shift in (0, 0, 3)], axis=1)
    found = intraclass_correlations(values)
    assert found.consistency.value > 0.9 > 0.7 > found.single.value
    assert found.consistency.low < 4 / 4.25 < found.consistency.high


def test_what_cannot_be_told_is_refused() -> None:
    classes = np.array([0, 1])
    with pytest.raises(InputError, match=r"0\.\.1"):
        cohen_kappa(classes, np.array([0, 2]), 2)
    assert class_counts(np.array([[-1, 1, 1]]), 2).tolist() == [[0, 2]]
    with pytest.raises(InputError, match="same number"):
        fleiss_kappa(np.array([[2, 0], [1, 0]]))
    with pytest.raises(InputError, match="no variance"):
        intraclass_correlations(np.ones((3, 2)))
    with pytest.raises(InputError, match="finite"):
        intraclass_correlations(np.array([[1, np.nan], [2, 3]]))
