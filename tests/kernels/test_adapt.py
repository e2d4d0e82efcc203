"""Thresholds that follow a rate: where they land, what stays fixed, what is remembered."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from contracts.signals import SIGNAL_INDEX
from contracts.trigger_spec import ADAPTIVE_KINDS, SAFETY_KINDS, SPEC_KINDS, LoadedSpec, parse_spec
from kernels.triggers.adapt import BOUNDS, Threshold
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine, absent_values

TICK_NS = 500_000_000
ACCEL = SIGNAL_INDEX["ego.accel_mps2"]


def spec(per_hour: float = 60.0, more: str = "", kind: str = "hard_accel") -> LoadedSpec:
    return parse_spec(
        f"apiVersion: longtail/v1\nkind: {kind}\nid: t\nversion: 1\nowner: x\n"
        f"when: {{accel_mps2: 2.0, filter_s: 0}}\ncooldown: 1s\n"
        f"rate: {{per_hour: {per_hour}{more}}}\n",
        "t.yaml",
    )


def drive(engine: TriggerEngine, values: np.ndarray, start: int = 0) -> list[Fire]:
    found = []
    for i, value in enumerate(values.tolist(), start):
        inputs = absent_values()
        inputs[ACCEL] = value
        found += engine.step(TickInputs(i * TICK_NS, inputs))
    return found


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-2.0, 2.0), st.floats(0.2, 1.0))
def test_fires_are_the_rate_but_for_the_way_that_the_threshold_went(
    seed: int, level: float, spread: float
) -> None:
    """The identity that the module's docstring states, whatever the scores."""
    rng = np.random.default_rng(seed)
    drift = np.linspace(0.0, rng.normal(0.0, 1.0), 20_000)
    engine = TriggerEngine([spec(more=", gain: 1.0, lowest: 0.001, highest: 1000")], "d")
    values = np.exp(level + drift + spread * rng.standard_normal(20_000))
    fires = drive(engine, np.minimum(values, 40.0))
    (told,) = engine.thresholds().values()
    assert told.fires == len(fires) or told.fires < len(fires)  # those within the cooldown
    assume(abs(told.log_factor) < math.log(1000) - 1e-6)  # at a bound the rate cannot be held
    wanted = 60.0 * told.known_s / 3600.0
    assert told.fires - wanted == pytest.approx(told.log_factor, abs=1e-6)


def test_the_reference_goes_on_being_counted() -> None:
    rng = np.random.default_rng(1)
    worse = np.exp(1.2 + 0.3 * rng.standard_normal(8000))
    fixed = TriggerEngine([parse_spec(spec().text.split("rate:")[0], "fixed.yaml")], "d")
    engine = TriggerEngine([spec()], "d")
    fires, at_bound = drive(engine, worse), drive(fixed, worse)
    (told,) = engine.thresholds().values()
    assert len(fires) < 0.2 * len(at_bound)
    kept, last = 0, -(10**18)
    for fire in at_bound:
        if fire.fired_mono_ns - last >= 10**9:
            kept, last = kept + 1, fire.fired_mono_ns
    assert told.reference_fires == kept
    assert fires[-1].evidence["threshold"] == pytest.approx(math.exp(told.log_factor), rel=0.3)
    assert fires[-1].score == pytest.approx(fires[-1].evidence["accel_mps2"] / 2.0)


def test_nothing_is_learnt_of_time_in_which_nothing_is_known() -> None:
    engine = TriggerEngine([spec()], "d")
    drive(engine, np.full(5000, np.nan))
    (told,) = engine.thresholds().values()
    assert (told.known_s, told.log_factor) == (0.0, 0.0)


def test_it_stays_within_its_limits() -> None:
    engine = TriggerEngine([spec(more=", lowest: 0.5, highest: 4, gain: 1")], "d")
    drive(engine, np.zeros(40_000))
    assert engine.thresholds()[spec(more=", lowest: 0.5, highest: 4, gain: 1").digest
                               ].log_factor == pytest.approx(math.log(0.5))  # fmt: skip
    drive(engine, np.tile([0.0, 39.0], 20_000), 40_000)
    assert next(iter(engine.thresholds().values())).log_factor <= math.log(4) + 1e-9


def test_a_threshold_is_taken_over_and_taken_up_again() -> None:
    """Another set, another process, another version: the first two go on, the last does not."""
    rng = np.random.default_rng(2)
    values = np.exp(1.0 + 0.3 * rng.standard_normal(2000))
    loaded, other = spec(), spec(per_hour=61.0)
    engine = TriggerEngine([loaded], "d")
    drive(engine, values)
    stands = engine.thresholds()[loaded.digest]
    assert stands.log_factor > 0.3
    wider = TriggerEngine([other, loaded], "d")
    wider.take_over(engine)
    assert wider.thresholds()[loaded.digest] == stands
    assert wider.thresholds()[other.digest] == Threshold()
    again = TriggerEngine([loaded], "d", (), engine.thresholds())
    assert again.thresholds()[loaded.digest] == stands
    anew = TriggerEngine([loaded], "d")
    anew.take_over(engine, anew={loaded.digest})
    assert anew.thresholds()[loaded.digest] == Threshold()
    # Whoever goes on from where it stood fires where it would have.
    more = np.exp(1.0 + 0.3 * rng.standard_normal(2000))
    fires = [f.fired_mono_ns for f in drive(again, more, 2000)]
    wider_fires = [f for f in drive(wider, more, 2000) if f.loaded.digest == loaded.digest]
    assert fires == [f.fired_mono_ns for f in wider_fires]


def test_safety_kinds_and_those_without_a_score_do_not_adapt() -> None:
    assert not ADAPTIVE_KINDS & SAFETY_KINDS
    assert set(BOUNDS) == ADAPTIVE_KINDS
    head = "apiVersion: longtail/v1\nid: t\nversion: 1\nowner: x\nrate: {per_hour: 2}\n"
    for kind in sorted(set(SPEC_KINDS) - ADAPTIVE_KINDS):
        when = {"random_baseline": "when: {probability: 0.1}\n",
                "expression": "when: ego.speed_mps > 1\n"}.get(kind, "")  # fmt: skip
        with pytest.raises(InputError, match=r"never adapts|no continuous score"):
            parse_spec(f"{head}kind: {kind}\n{when}", "t.yaml")
    with pytest.raises(InputError, match="never adapts"):
        parse_spec(f"{head}kind: jerk\nupload: {{priority: safety}}\n", "t.yaml")
