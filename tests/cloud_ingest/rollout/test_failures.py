"""Failures halt a rollout when they are too many for chance, and no sooner."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cloud_ingest.rollout.failures import log_e_share_above
from cloud_ingest.rollout.observation import InstallFailure
from cloud_ingest.rollout.state import Phase, Stage, Verb
from tests.cloud_ingest.rollout.test_machine import Bench, order, plan, taken

TOLERATED = 0.05
FOUND = math.log(20)
HUNDREDS = (Stage(0.25, None), Stage(1.0, None))
"""Of 400 vehicles, 100 at first."""


def halted_after(share: float, rng: np.random.Generator, vehicles: int) -> int | None:
    """How many vehicles had answered when it was found, looking after each."""
    failed = np.cumsum(rng.random(vehicles) < share).tolist()
    for executed, so_far in enumerate(failed, start=1):
        if log_e_share_above(so_far, executed, TOLERATED) >= FOUND:
            return executed
    return None


@pytest.mark.parametrize(("share", "most"), [(0.01, 0.003), (0.05, 0.05)])
def test_a_share_that_is_tolerated_hardly_ever_halts(share: float, most: float) -> None:
    rng = np.random.default_rng(1)
    halts = [halted_after(share, rng, 300) is not None for _ in range(1000)]
    assert np.mean(halts) <= most


@pytest.mark.parametrize(("share", "median"), [(0.2, 60), (0.5, 10), (1.0, 3)])
def test_a_bad_release_is_found_soon(share: float, median: int) -> None:
    rng = np.random.default_rng(2)
    found = [halted_after(share, rng, 1000) for _ in range(200)]
    assert None not in found
    assert np.median([each for each in found if each]) <= median


def test_where_nothing_is_tolerated_one_is_enough() -> None:
    assert log_e_share_above(0, 50, 0.0) < FOUND < log_e_share_above(1, 50, 0.0)


def test_one_early_failure_does_not_halt_a_large_stage() -> None:
    bench = Bench.of(400, plan(stages=HUNDREDS))
    new = taken(bench.step(order(Verb.START)))
    assert len(new) == 100
    bench.change(new[0], failure=InstallFailure(1, "out of disk"))
    bench.apply(*new[1:10])
    assert bench.step().state.phase is Phase.RUNNING
    bench.apply(*new[10:])
    assert bench.step().state.phase is Phase.SOAKING


def test_many_early_failures_halt_it_before_it_is_out() -> None:
    bench = Bench.of(400, plan(stages=HUNDREDS))
    new = taken(bench.step(order(Verb.START)))
    for vehicle_id in new[:4]:
        bench.change(vehicle_id, failure=InstallFailure(1, "out of disk"))
    bench.apply(*new[4:8])
    assert bench.step().state.phase is Phase.ROLLING_BACK
    assert "4 of 8 vehicles failed" in bench.state.audit[-1].reason


def test_a_stage_that_is_out_is_judged_by_the_share_itself() -> None:
    bench = Bench.of(400, plan(stages=HUNDREDS))
    new = taken(bench.step(order(Verb.START)))
    for vehicle_id in new[:6]:
        bench.change(vehicle_id, failure=InstallFailure(1, "out of disk"))
    bench.apply(*new[6:70])
    assert bench.step().state.phase is Phase.RUNNING
    bench.apply(*new[70:90])
    assert bench.step().state.phase is Phase.ROLLING_BACK
    assert "6 of 90 vehicles failed" in bench.state.audit[-1].reason
