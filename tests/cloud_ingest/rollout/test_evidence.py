"""The e-process by itself: its special function, exact cases, and what it must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import hypergeom

from cloud_ingest.rollout.evidence import (
    CONTROL,
    RATIOS,
    TREATED,
    UNREAD,
    Evidence,
    absorb,
    likeliest_ratio,
    log_e_below,
    log_e_rate_below,
    log_e_worse,
    log_gamma,
    no_evidence,
)
from cloud_ingest.rollout.sample_ratio import RatioWatch, is_mismatch, two_sided_p
from contracts.errors import InputError


def fed(
    treated_rate: float, control_rate: float, days: int, seed: int, vehicles: int = 60
) -> Evidence:
    """One guardrail, a fifth of the vehicles treated after as many days of history."""
    rng = np.random.default_rng(seed)
    ids = tuple(f"v{i}" for i in range(vehicles))
    frailty = rng.gamma(2.0, 0.5, vehicles)
    arms = np.where(np.arange(vehicles) < vehicles // 5, TREATED, CONTROL).astype(np.int8)
    evidence = no_evidence(1)
    for day in range(2 * days):
        now = arms if day >= days else np.full(vehicles, CONTROL, dtype=np.int8)
        rate = np.where(now == TREATED, treated_rate, control_rate) * frailty
        evidence = absorb(
            evidence, ids, now, np.ones((1, vehicles)), rng.poisson(rate)[np.newaxis].astype(float)
        )
    return evidence


@given(st.floats(1e-6, 1e9))
def test_log_gamma_agrees_with_scipy(x: float) -> None:
    mine = float(log_gamma(np.array([x]))[0])
    assert mine == pytest.approx(float(gammaln(x)), rel=1e-10, abs=1e-8)


def test_nothing_read_is_no_evidence() -> None:
    evidence = no_evidence(2)
    assert (log_e_worse(evidence) <= 0).all()
    assert (likeliest_ratio(evidence) == 1.0).all()


def test_evidence_grows_with_the_effect_and_finds_its_size() -> None:
    same, double, ten = (fed(r, 1.0, 20, seed=1) for r in (1.0, 2.0, 10.0))
    assert log_e_worse(same)[0] < 0 < log_e_worse(double)[0] < log_e_worse(ten)[0]
    assert likeliest_ratio(double)[0] == 2.0
    assert likeliest_ratio(ten)[0] == 10.0


def test_better_is_not_worse() -> None:
    evidence = fed(0.3, 1.0, 20, seed=2)
    assert log_e_worse(evidence)[0] < 0
    assert log_e_below(evidence, 1.5)[0] > math.log(20)


def test_a_margin_is_not_ruled_out_when_it_is_true() -> None:
    assert log_e_below(fed(3.0, 1.0, 20, seed=3), 1.5)[0] < math.log(20)


def test_what_all_vehicles_share_cancels() -> None:
    """A hundredfold rate of treated and control alike, after a quiet history, proves nothing."""
    rng = np.random.default_rng(4)
    ids = tuple(f"v{i}" for i in range(50))
    arms = np.where(np.arange(50) < 5, TREATED, CONTROL).astype(np.int8)
    evidence = no_evidence(1)
    for day in range(20):
        now = arms if day >= 10 else np.full(50, CONTROL, dtype=np.int8)
        counts = rng.poisson(0.5 if day < 10 else 50.0, (1, 50)).astype(float)
        evidence = absorb(evidence, ids, now, np.ones((1, 50)), counts)
    assert log_e_worse(evidence)[0] < 0


def test_without_control_nothing_is_compared() -> None:
    before = fed(1.0, 1.0, 5, seed=5)
    everyone = np.full(60, TREATED, dtype=np.int8)
    after = absorb(before, before.vehicle_ids, everyone, np.ones((1, 60)), np.full((1, 60), 99.0))
    assert log_e_worse(after) == pytest.approx(log_e_worse(before))


def test_unread_vehicles_and_the_order_of_columns_change_nothing() -> None:
    ids = ("a", "b", "c")
    arms = np.array([TREATED, CONTROL, UNREAD], dtype=np.int8)
    exposure, events = np.array([[2.0, 3.0, 5.0]]), np.array([[4.0, 1.0, 7.0]])
    whole = absorb(no_evidence(1), ids, arms, exposure, events)
    parts = absorb(no_evidence(1), ids[:2], arms[:2], exposure[:, :2], events[:, :2])
    start = absorb(no_evidence(1), ids, np.full(3, UNREAD, np.int8), exposure, events)
    turned = absorb(start, ids[::-1], arms[::-1], exposure[:, ::-1], events[:, ::-1])
    assert turned == whole
    assert log_e_worse(parts) == pytest.approx(log_e_worse(whole))
    assert whole != parts


def test_one_event_on_a_rare_guardrail_is_the_share_of_exposure() -> None:
    """With vehicles that are alike (k = 40) the first event's law is the share on the road."""
    ids = ("a", "b", "c", "d")
    arms = np.array([TREATED, CONTROL, CONTROL, CONTROL], dtype=np.int8)
    hit = np.array([[1.0, 0.0, 0.0, 0.0]])
    evidence = absorb(no_evidence(1), ids, arms, np.ones((1, 4)), hit)
    chance = np.exp(evidence.log_shares[0, :, -1, -1])
    assert chance == pytest.approx(RATIOS / (RATIOS + 3.0), rel=1e-9)


def test_a_negligible_rate_needs_a_little_more_than_three_over_the_rate() -> None:
    """The rule of three: nothing seen in n rules out 3/n. Here alike vehicles, by their past."""
    evidence = fed(0.0, 3.0, 40, seed=6, vehicles=300)
    exposure = evidence.treated_exposure.sum()
    log_e = [log_e_rate_below(evidence, np.array([times / exposure]))[0] for times in (3.0, 8.0)]
    assert log_e[0] < math.log(20) < log_e[1]


@given(st.integers(1, 60), st.data())
def test_two_sided_p_agrees_with_scipy(population: int, draw: st.DataObject) -> None:
    marked = draw.draw(st.integers(0, population))
    drawn = draw.draw(st.integers(0, population))
    seen = draw.draw(st.integers(max(0, drawn - population + marked), min(marked, drawn)))
    law = hypergeom(population, marked, drawn)
    each = law.pmf(np.arange(population + 1))
    expected = each[each <= law.pmf(seen) * (1 + 1e-7)].sum()
    p = two_sided_p(population=population, marked=marked, drawn=drawn, seen=seen)
    assert p == pytest.approx(expected, rel=1e-6)


def test_an_impossible_draw_is_refused() -> None:
    with pytest.raises(InputError):
        two_sided_p(population=10, marked=3, drawn=2, seen=3)


def test_five_silent_canaries_among_reporters_are_a_mismatch() -> None:
    canaries = frozenset(f"t{i}" for i in range(5))
    control = frozenset(f"c{i}" for i in range(195))
    silent = RatioWatch(1, 0, canaries, control, reporters=frozenset(sorted(control)[:185]))
    assert is_mismatch(silent, 0.01)
    alike = RatioWatch(
        1, 0, canaries, control, reporters=frozenset(sorted(control)[:185]) | canaries
    )
    assert not is_mismatch(alike, 0.01)
