from __future__ import annotations

import pytest

from contracts.gate_report import GateOutcome
from offline.loop_report.facts import Change, LoopFacts, RolloutStage
from offline.loop_report.headline import headline
from tests.offline.loop_report import example


def test_a_candidate_on_the_canary_is_told_with_what_it_changed() -> None:
    found = headline(example.complete())
    assert found.mood == "good"
    assert found.told == (
        "The candidate passes all gates and is on the canary:"
        " critical misses −41 %, critical false alarms −29 %"
    )
    assert "Critical misses −41 % (95 %: −55 % … −26 %)" in found.why


def test_the_failing_scenario_and_why_come_first() -> None:
    found = headline(example.complete(example.gate_report("scenarios")))
    assert found.mood == "bad"
    assert found.told == "Nothing was shipped: scenario scenarios-1 failed"
    assert found.why.endswith("Found: 6 of 10 were told.")


def test_another_gate_is_named() -> None:
    found = headline(example.complete(example.gate_report("calibration")))
    assert found.told == "Nothing was shipped: claim calibration-1 failed"
    assert found.why.endswith("Gate: calibration.")


def test_a_candidate_that_waits_for_the_fleet_is_not_shipped_and_not_refused() -> None:
    whole = example.gate_report()
    shadow = GateOutcome(gate="shadow", verdict="not_run", reason="the fleet has not been asked")
    facts = example.complete(whole.model_copy(update={"gates": (*whole.gates[:-1], shadow)}))
    assert headline(facts).mood == "open"
    assert "the fleet has not been asked" in headline(facts).told


def test_a_failed_stage_is_told_where_no_gate_was_reached() -> None:
    found = headline(LoopFacts(name="x", stages=example.stages("auto-label")))
    assert found.told == "Nothing was shipped: the stage auto-label failed"
    assert found.why == "two clips cannot be read"


def test_nothing_known_is_no_verdict() -> None:
    assert headline(LoopFacts(name="x")).told == "No candidate has been judged yet"


@pytest.mark.parametrize(
    ("states", "told", "mood"),
    [
        (("done", "done", "done"), "is on the whole fleet", "good"),
        (("done", "rolled_back", "waiting"), "was rolled back at canary", "bad"),
        (("done", "done", "running"), "is at 100 %", "good"),
    ],
)
def test_the_rollout_tells_where_the_model_is(
    states: tuple[str, ...], told: str, mood: str
) -> None:
    stages = tuple(
        RolloutStage(name=name, state=state)
        for name, state in zip(("shadow", "canary", "100 %"), states, strict=True)
    )
    found = headline(example.complete().model_copy(update={"rollout": stages}))
    assert told in found.told
    assert found.mood == mood


@pytest.mark.parametrize("interval", ["after", "difference", "ratio"])
def test_an_interval_means_the_same_however_it_is_written(interval: str) -> None:
    low, high = {"after": (6, 9), "difference": (-4, -1), "ratio": (0.6, 0.9)}[interval]
    change = Change(
        metric="misses", before=10, after=7, low=low, high=high,
        interval=interval, better="lower",
    )  # fmt: skip
    assert change.after_bounds == pytest.approx((6, 9))
    assert change.verdict == "better"


def test_a_change_that_may_be_chance_is_told_so() -> None:
    change = Change(metric="misses", before=10, after=7, low=4, high=11, better="lower")
    assert change.verdict == "unsure"
    found = headline(example.complete().model_copy(update={"trials": (change,)}))
    assert "may be chance" in found.why
