"""Bounds of missed objects: exact intervals against statsmodels, coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from contracts.errors import InputError
from offline.labels.qa.misses import Group, Recall, clip_misses, clopper_pearson

NEAR, FAR = Group("car", 0, 30), Group("car", 30, 60)


@given(tried=st.integers(1, 300), part=st.floats(0, 1), risk=st.floats(0.001, 0.5))
def test_bounds_are_clopper_and_pearsons(tried: int, part: float, risk: float) -> None:
    found = round(part * tried)
    low, high = proportion_confint(found, tried, alpha=risk, method="beta")
    ours = clopper_pearson(found, tried, risk)
    assert ours == pytest.approx((0 if found == 0 else low, 1 if found == tried else high))


def test_a_clip() -> None:
    found = clip_misses({NEAR: 12, FAR: 6}, {NEAR: Recall(400, 396), FAR: Recall(50, 35)})
    near, far = found.by_group[NEAR], found.by_group[FAR]
    assert near.expected == pytest.approx(12 * 4 / 396)
    assert far.expected == pytest.approx(6 * 15 / 35)
    assert near.most is not None
    assert far.most is not None
    assert near.most <= 2
    assert far.most >= 6
    assert found.total.most == near.most + far.most
    assert found.ignored == (FAR,)


def test_without_gold_nothing_is_bounded_and_all_is_ignored() -> None:
    found = clip_misses({NEAR: 3, FAR: 0}, {FAR: Recall(1000, 999)})
    assert found.by_group[NEAR].most is None
    assert found.total.most is None
    assert found.total.expected is None
    # An empty group whose recall is known to be good is background, as labelled.
    assert found.ignored == (NEAR,)
    assert found.by_group[FAR].most is not None


def test_the_bound_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        recall = {group: Recall(80, int(rng.binomial(80, 0.9))) for group in (NEAR, FAR)}
        there = {group: int(rng.poisson(8)) for group in (NEAR, FAR)}
        told = {group: int(rng.binomial(there[group], 0.9)) for group in there}
        found = clip_misses(told, recall, confidence=0.9)
        assert found.total.most is not None
        held += sum(there.values()) - sum(told.values()) <= found.total.most
    assert held >= 0.9 * 400


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(InputError, match="found of"):
        Recall(3, 4)
    with pytest.raises(InputError, match="confidence"):
        clip_misses({}, {}, confidence=1)
