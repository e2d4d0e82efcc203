"""Whole rollouts over simulated fleets: false alarms, power, and what a canary must catch.

The default suite takes a sample; `make soak` the thousand. Bounds are exact binomial quantiles,
and seeds are fixed, so a pass is a pass for good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from cloud_ingest.rollout.state import Cause, Phase
from tests.cloud_ingest.rollout.fleet_simulator import OLD, TARGET, Ending, World, roll_out

DOUBLED = World(effect={"disengagements": 2.0})


def endings(world: World, runs: int, first_seed: int) -> list[Ending]:
    return [roll_out(world, first_seed + run) for run in range(runs)]


def most_false_alarms(runs: int) -> int:
    """As many as a test of exactly 5 % would stay below in 99.9 % of such samples; 71 in 1,000."""
    return min(int(binom.ppf(0.999, runs, 0.05)), max(1, int(0.071 * runs)))


def check_false_alarms(world: World, runs: int, first_seed: int) -> None:
    halted = [e for e in endings(world, runs, first_seed) if e.halted_stage is not None]
    assert len(halted) <= most_false_alarms(runs), Counter(e.state.cause for e in halted)


def check_power(runs: int, first_seed: int) -> None:
    halted = sum(
        e.halted_stage is not None and e.halted_stage < 3 and e.state.cause is Cause.GUARDRAIL
        for e in endings(DOUBLED, runs, first_seed)
    )
    # Fails when the power is below 90 %, save by a chance of one in a thousand.
    assert halted >= int(binom.ppf(0.001, runs, 0.9)), halted


NULLS: dict[str, Callable[[], World]] = {
    "vehicles differ": World,
    "vehicles differ, and their days": lambda: World(day_dispersion=1.0),
    "rates are log-normal": lambda: World(dispersion=1.0, lognormal=True),
    "the weather doubles and halves": lambda: World(weather_dispersion=1.0),
}


@pytest.mark.parametrize("world", NULLS.values(), ids=NULLS.keys())
def test_a_release_without_effect_is_seldom_halted(world: Callable[[], World]) -> None:
    check_false_alarms(world(), runs=40, first_seed=0)


def test_a_release_without_effect_reaches_the_fleet() -> None:
    done = sum(e.state.phase is Phase.DONE for e in endings(World(), 25, first_seed=500))
    assert done >= 20


def test_a_doubled_rate_is_halted() -> None:
    check_power(runs=100, first_seed=10_000)


@pytest.mark.soak
def test_a_thousand_releases_without_effect() -> None:
    check_false_alarms(World(), runs=1000, first_seed=0)


@pytest.mark.soak
def test_a_thousand_doubled_rates() -> None:
    check_power(runs=1000, first_seed=10_000)


@pytest.mark.parametrize(
    "effect", [{"fires": 50.0}, {"disengagements": 5.0}], ids=["spec x50", "model x5"]
)
@pytest.mark.parametrize("seed", range(10))
def test_a_bad_release_is_halted_in_the_canary_and_taken_back(
    effect: dict[str, float], seed: int
) -> None:
    ending = roll_out(World(effect=effect), 1_000 + seed)
    assert ending.halted_stage == 0
    assert ending.state.cause is Cause.GUARDRAIL
    assert ending.state.phase is Phase.HALTED
    assert len(ending.state.records) == 5
    assert set(ending.fleet.installed) == {OLD}
    halt = next(record for record in ending.state.audit if record.action == "halt")
    assert next(iter(effect)) in halt.reason


def test_an_agent_that_dies_is_a_failure_after_driving_and_taken_back() -> None:
    ending = roll_out(World(dies_share=1.0), 7)
    assert ending.halted_stage == 0
    assert ending.state.cause is Cause.FAILURES
    assert all("silent" in r.failure for r in ending.state.records.values() if r.failure)
    assert set(ending.fleet.installed) == {OLD}


def test_a_mismatch_of_reporters_stops_the_reading_and_waits_for_a_person() -> None:
    """Agents that never count as failures (endless patience) but report nothing any more."""
    ending = roll_out(
        World(dies_share=1.0, parked_share=0.05), 3, max_days=20, silence_driving_ns=2**62
    )
    assert ending.halted_stage is None
    assert ending.state.phase is Phase.PAUSED
    assert ending.state.reading_stopped
    assert ending.state.cause is Cause.MISMATCH
    assert any(record.action == Cause.MISMATCH for record in ending.state.audit)
    assert ending.fleet.installed.count(TARGET) <= 5


def test_simulated_rates_are_what_they_claim() -> None:
    """The simulator is checked too: mean one, and the coefficient of variation of k = 2."""
    ending = roll_out(World(vehicles=4000), 1, max_days=0, history_days=1)
    relative = ending.fleet.rates["fires"]
    assert relative.mean() == pytest.approx(1.0, abs=0.05)
    assert np.std(relative) == pytest.approx(2.0**-0.5, abs=0.05)
