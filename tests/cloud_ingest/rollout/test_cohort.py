"""Who is admitted: prefixes of a salted order, monotone whatever the fleet does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from cloud_ingest.rollout.cohort import Selector, admitted, cohort_of, stage_limit
from cloud_ingest.rollout.observation import VehicleView
from contracts.errors import InputError

FRACTIONS = (0.01, 0.05, 0.25, 1.0)
fleets = st.sets(st.text("abcdef0123456789", min_size=1, max_size=6), max_size=60)


@given(fleets, st.text(max_size=8))
def test_each_stage_holds_the_one_before_and_the_last_holds_all(fleet: set[str], salt: str) -> None:
    before: set[str] = set()
    for fraction in FRACTIONS:
        limit = stage_limit(fraction, len(fleet), min_canary=5)
        now = set(admitted(salt, fleet, (), limit))
        assert before <= now
        assert len(now) == limit
        assert limit >= min(5, len(fleet))
        before = now
    assert before == fleet


@given(st.lists(fleets, min_size=1, max_size=6), st.sampled_from(FRACTIONS))
def test_a_vehicle_stays_in_when_the_fleet_changes(
    fleets_seen: list[set[str]], fraction: float
) -> None:
    held: set[str] = set()
    for fleet in fleets_seen:
        limit = stage_limit(fraction, len(fleet), min_canary=5)
        new = admitted("salt", fleet, held, limit)
        assert not held & set(new)
        assert len(held) + len(new) <= max(limit, len(held))
        held |= set(new)


@given(st.sampled_from(FRACTIONS), st.integers(0, 100_000), st.integers(1, 20))
def test_a_limit_is_the_share_rounded_up_and_never_fewer_than_the_canary(
    fraction: float, contacted: int, min_canary: int
) -> None:
    limit = stage_limit(fraction, contacted, min_canary)
    assert min(contacted, min_canary) <= limit <= contacted
    percent = round(fraction * 100)
    assert limit == min(contacted, max(min_canary, math.ceil(percent * contacted / 100)))


def test_canaries_differ_between_rollouts_and_are_spread_evenly() -> None:
    fleet = [f"v{i:03d}" for i in range(40)]
    chosen = [admitted(f"rollout-{n}", fleet, (), 5) for n in range(800)]
    counts = [sum(vehicle in canary for canary in chosen) for vehicle in fleet]
    assert chisquare(counts).pvalue > 0.001


def test_never_contacted_vehicles_are_shown_but_not_counted() -> None:
    fleet = [
        VehicleView("met", {"region": "eu"}, first_contact_ns=1),
        VehicleView("unmet", {"region": "eu"}),
        VehicleView("elsewhere", {"region": "us"}, first_contact_ns=1),
        VehicleView("unlabelled", {}, first_contact_ns=1),
    ]
    cohort = cohort_of(Selector({"region": frozenset({"eu", "uk"})}), fleet)
    assert cohort.contacted == ("met",)
    assert cohort.never_contacted == ("unmet",)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_an_impossible_share_is_refused(fraction: float) -> None:
    with pytest.raises(InputError):
        stage_limit(fraction, 10, 5)


def test_an_empty_choice_of_values_is_refused() -> None:
    with pytest.raises(InputError):
        Selector({"region": frozenset()})
