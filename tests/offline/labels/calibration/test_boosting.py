"""Own boosting and isotonic regression against scikit-learn's, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression

from contracts.errors import InputError
from offline.labels.calibration.boosting import Growth, Trees, boosted, probability
from offline.labels.calibration.isotonic import Knots, isotonic
from offline.labels.calibration.links import Isotonic, Platt, fitted_link

SEEDS = st.integers(0, 2**32 - 1)


def problem(seed: int, n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = np.column_stack([rng.normal(size=(n, 2)), rng.integers(0, 4, n), rng.random(n)])
    odds = 2 * inputs[:, 0] - inputs[:, 1] ** 2 + (inputs[:, 2] == 2)
    return inputs, rng.random(n) < 1 / (1 + np.exp(-odds))


def log_loss(right: np.ndarray, told: np.ndarray) -> float:
    sure = np.clip(told, 1e-9, 1 - 1e-9)
    return float(-np.where(right, np.log(sure), np.log(1 - sure)).mean())


@pytest.mark.parametrize("monotone", [(0, 0, 0, 0), (1, 0, 0, 0), (1, -1, 1, 0)])
@pytest.mark.parametrize("depth", [2, 3])
def test_as_good_as_scikit_learn(monotone: tuple[int, ...], depth: int) -> None:
    inputs, right = problem(1, 4000)
    train, test = np.arange(4000) < 2000, np.arange(4000) >= 2000
    growth = Growth(trees=60, depth=depth, ridge=1.0, least_rows=20)
    ours = boosted(inputs[train], right[train], np.ones(2000), monotone, growth)
    peer = HistGradientBoostingClassifier(
        max_iter=60, max_depth=depth, max_bins=64, l2_regularization=1.0, min_samples_leaf=20,
        monotonic_cst=monotone, early_stopping=False,
    ).fit(inputs[train], right[train])  # fmt: skip
    told = probability(ours.margin(inputs[test]))
    theirs = peer.predict_proba(inputs[test])[:, 1]
    assert log_loss(right[test], told) < 1.02 * log_loss(right[test], theirs)
    assert np.abs(told - theirs).mean() < 0.05


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_monotone_where_it_is_said_to_be(seed: int) -> None:
    inputs, right = problem(seed, 400)
    growth = Growth(trees=15, depth=3, ridge=0.1, least_rows=5)
    trees = boosted(inputs, right, np.ones(400), (1, -1, 0, 1), growth)
    for feature, sign in ((0, 1), (1, -1), (3, 1)):
        moved = np.repeat(inputs[:40], 30, axis=0)
        moved[:, feature] = np.tile(np.linspace(-3, 3, 30), 40)
        told = trees.margin(moved).reshape(40, 30)
        assert (sign * np.diff(told, axis=1) >= -1e-9).all()


def test_the_same_rows_give_the_same_trees_and_weights_count() -> None:
    inputs, right = problem(3, 600)
    inputs = np.round(2 * inputs) / 2
    growth = Growth(trees=10, depth=2, ridge=0.0, least_rows=5)
    one = boosted(inputs, right, np.ones(600), (0,) * 4, growth)
    assert one == boosted(inputs, right, np.ones(600), (0,) * 4, growth)
    twice = boosted(np.tile(inputs, (2, 1)), np.tile(right, 2), np.ones(1200), (0,) * 4,
                    Growth(trees=10, depth=2, ridge=0.0, least_rows=10))  # fmt: skip
    heavy = boosted(inputs, right, np.full(600, 2.0), (0,) * 4, growth)
    assert heavy.margin(inputs) == pytest.approx(twice.margin(inputs))
    assert Trees.model_validate_json(one.model_dump_json()) == one


def test_what_cannot_be_learnt_from_is_refused() -> None:
    inputs, right = problem(0, 50)
    for bad, message in (
        ((inputs, np.ones(50, dtype=bool), np.ones(50), (0,) * 4), "nothing to learn"),
        ((inputs * np.nan, right, np.ones(50), (0,) * 4), "finite"),
        ((inputs, right, np.zeros(50), (0,) * 4), "over 0"),
        ((inputs, right, np.ones(50), (0, 2, 0, 0)), "monotone"),
        ((inputs, right[:10], np.ones(50), (0,) * 4), "outcomes"),
    ):
        with pytest.raises(InputError, match=message):
            boosted(*bad, Growth(trees=1))
    trees = boosted(inputs, right, np.ones(50), (0,) * 4, Growth(trees=2, least_rows=5))
    with pytest.raises(InputError, match="expected 4"):
        trees.margin(inputs[:, :3])
    for part in ({"feature": ((0,),) * 2}, {"value": ((0.0,),) * 2}, {"feature": ((9, 0, 0),) * 2}):
        with pytest.raises(ValidationError):
            Trees.model_validate({**trees.model_dump(), **part})


@given(SEEDS, st.integers(1, 60))
@settings(deadline=None)
def test_isotonic_is_scikit_learns(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 25, n) / 5, rng.random(n)
    weight = rng.uniform(0.1, 3, n)
    knots = isotonic(x, y, weight)
    peer = IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=weight)
    where = np.linspace(-1, 6, 200)
    assert knots(where) == pytest.approx(peer.predict(where), abs=1e-9)


@given(SEEDS)
def test_isotonic_keeps_the_mean_and_rises(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=50), rng.random(50)
    told = isotonic(x, y, np.ones(50))(x)
    assert told.mean() == pytest.approx(y.mean())
    assert (np.diff(told[np.argsort(x)]) >= -1e-12).all()


def test_knots_are_checked() -> None:
    for x, y in (((0.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (1.0, 0.0)), ((0.0,), (0.0, 1.0))):
        with pytest.raises(ValidationError):
            Knots(x=x, y=y)
    for bad in (np.zeros(0), np.array([np.nan])):
        with pytest.raises(InputError):
            isotonic(bad, np.ones(bad.size), np.ones(bad.size))


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_a_link_mends_odds_that_are_too_sure(kind: str) -> None:
    rng = np.random.default_rng(5)
    odds = rng.normal(size=5000)
    right = rng.random(5000) < probability(odds)
    link = fitted_link(kind, 3 * odds + 1, right, np.ones(5000))  # type: ignore[arg-type]
    told = link.confidence(3 * odds + 1)
    assert isinstance(link, Platt if kind == "platt" else Isotonic)
    assert np.abs(told - probability(odds)).mean() < 0.03
    assert log_loss(right, told) < log_loss(right, probability(3 * odds + 1)) - 0.1


def test_with_little_to_go_by_the_trees_are_believed() -> None:
    link = fitted_link("platt", np.array([2.0]), np.array([False]), np.ones(1))
    assert isinstance(link, Platt)
    assert (link.slope, link.offset) == pytest.approx((1, 0), abs=0.4)
