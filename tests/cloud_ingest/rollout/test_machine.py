"""The state machine: its promises under any history, and each road through it once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.rollout.cohort import Selector, stage_limit
from cloud_ingest.rollout.guardrails import Guardrail
from cloud_ingest.rollout.machine import step
from cloud_ingest.rollout.observation import (
    Exposure,
    InstallFailure,
    Interval,
    VehicleCounts,
    VehicleView,
)
from cloud_ingest.rollout.state import (
    HOUR_NS,
    Command,
    Offer,
    Outcome,
    Phase,
    RollBack,
    RolloutPlan,
    RolloutState,
    Stage,
    StepResult,
    Verb,
    Withdraw,
    new_rollout,
)
from contracts.clock import NS_PER_DAY
from contracts.errors import InputError
from tests.cloud_ingest.rollout.fleet_simulator import START, World, roll_out

TARGET, OLD = "b" * 64, "a" * 64
FIRES = Guardrail("fires", Exposure.CONNECTED_H, min_exposure=1.0)
UNGUARDED = (Stage(0.1, None), Stage(0.5, None), Stage(1.0, None))
_LIVE = (Phase.RUNNING, Phase.SOAKING, Phase.PAUSED)


def plan(**changes: object) -> RolloutPlan:
    return RolloutPlan(
        **{
            "rollout_id": "r1",
            "salt": "s",
            "target_digest": TARGET,
            "guardrails": (),
            "stages": UNGUARDED,
            **changes,
        }  # type: ignore[arg-type]
    )


def order(verb: Verb, command_id: str = "") -> Command:
    return Command(command_id or f"c-{verb}", verb, actor="ann", reason="because")


@dataclass
class Bench:
    """A small fleet moved by hand; every step is taken twice, and the second must do nothing."""

    state: RolloutState
    views: dict[str, VehicleView] = field(default_factory=dict)
    now_ns: int = NS_PER_DAY

    @classmethod
    def of(cls, vehicles: int, the_plan: RolloutPlan) -> Bench:
        ids = [f"v{i:02d}" for i in range(vehicles)]
        views = {
            v: VehicleView(v, first_contact_ns=0, installed_digest=OLD, manifest_utc_ns=1)
            for v in ids
        }
        return cls(new_rollout(the_plan), views)

    def step(self, command: Command | None = None, *intervals: Interval) -> StepResult:
        audit = self.state.audit
        result = step(self.state, self.views.values(), intervals, command, self.now_ns)
        again = step(result.state, self.views.values(), intervals, command, self.now_ns)
        assert again.state == result.state
        assert again.decisions == ()
        assert result.state.audit[: len(audit)] == audit
        assert [r.number for r in result.state.audit] == [
            n + 1 for n in range(len(result.state.audit))
        ]
        self.state = result.state
        return result

    def change(self, vehicle_id: str, **changes: object) -> None:
        self.views[vehicle_id] = replace(self.views[vehicle_id], **changes)  # type: ignore[arg-type]

    def apply(self, *vehicle_ids: str) -> None:
        for vehicle_id in vehicle_ids:
            self.change(vehicle_id, installed_digest=TARGET)

    def soak(self, *vehicle_ids: str) -> None:
        for vehicle_id in vehicle_ids:
            self.change(vehicle_id, driving_since_applied_ns=3 * HOUR_NS)
        self.now_ns += 2 * NS_PER_DAY

    def offered(self) -> list[str]:
        return [v for v, r in self.state.records.items() if r.outcome is Outcome.OFFERED]


def taken(result: StepResult) -> list[str]:
    return [d.vehicle_id for d in result.decisions if isinstance(d, Offer)]


def test_a_release_goes_through_all_stages() -> None:
    bench = Bench.of(20, plan())
    assert bench.step().state.phase is Phase.PLANNED
    seen = []
    result = bench.step(order(Verb.START))
    while result.state.phase is not Phase.DONE:
        new = taken(result)
        seen.append(len(new))
        bench.apply(*new)
        assert bench.step().state.phase is Phase.SOAKING
        bench.soak(*new)
        result = bench.step()
    assert seen == [5, 5, 10]
    assert all(r.outcome is Outcome.SUCCEEDED for r in bench.state.records.values())
    assert [r.action for r in bench.state.audit] == ["start", *["soak", "advance"] * 3]


def test_nothing_is_decided_before_the_start_and_an_order_is_obeyed_once() -> None:
    bench = Bench.of(20, plan())
    assert bench.step().decisions == ()
    bench.step(order(Verb.START))
    bench.step(order(Verb.PAUSE))
    result = bench.step(order(Verb.START))
    assert result.state.phase is Phase.PAUSED
    assert len(result.state.audit) == 2


def test_a_parked_vehicle_is_no_failure_and_a_silent_driving_one_is() -> None:
    bench = Bench.of(20, plan(max_failure_ratio=0.5))
    new = taken(bench.step(order(Verb.START)))
    bench.apply(*new)
    bench.step()
    parked, silent = new[0], new[1]
    bench.soak(*new[1:])
    bench.now_ns += 400 * NS_PER_DAY
    bench.change(silent, silent_driving_ns=4 * HOUR_NS, driving_since_applied_ns=9 * HOUR_NS)
    state = bench.step().state
    assert state.records[parked].outcome is Outcome.APPLIED
    assert state.records[silent].outcome is Outcome.FAILED
    assert "silent for 4.0 h" in state.records[silent].failure


def test_driving_that_no_manifest_stands_behind_is_no_soak() -> None:
    bench = Bench.of(20, plan())
    new = taken(bench.step(order(Verb.START)))
    bench.apply(*new)
    bench.step()
    bench.soak(*new)
    bench.change(new[0], silent_driving_ns=2 * HOUR_NS)
    assert bench.step().state.records[new[0]].outcome is Outcome.APPLIED


def test_too_many_failures_halt_and_roll_back_to_what_was_there() -> None:
    bench = Bench.of(20, plan())
    new = taken(bench.step(order(Verb.START)))
    bench.apply(*new[:4])
    bench.change(new[4], failure=InstallFailure(1, "out of disk"))
    result = bench.step()
    assert result.state.phase is Phase.ROLLING_BACK
    assert set(result.decisions) == {RollBack(v, OLD) for v in new[:4]} | {Withdraw(new[4])}
    for vehicle_id in new[:4]:
        assert bench.state.phase is Phase.ROLLING_BACK
        bench.change(vehicle_id, installed_digest=OLD)
        bench.step()
    assert bench.state.phase is Phase.HALTED
    for _ in range(3):
        bench.now_ns += 100 * NS_PER_DAY
        assert bench.step().decisions == ()
    assert bench.state.phase is Phase.HALTED


def test_fewer_than_five_executed_never_halt() -> None:
    bench = Bench.of(20, plan())
    new = taken(bench.step(order(Verb.START)))
    for vehicle_id in new[:4]:
        bench.change(vehicle_id, failure=InstallFailure(1, "no"))
    assert bench.step().state.phase is Phase.SOAKING
    bench.change(new[4], failure=InstallFailure(1, "no"))
    assert bench.step().state.phase is Phase.HALTED


def test_failures_are_retried_by_order_only_and_old_failures_do_not_count_again() -> None:
    bench = Bench.of(20, plan())
    new = taken(bench.step(order(Verb.START)))
    for vehicle_id in new:
        bench.change(vehicle_id, failure=InstallFailure(1, "no"))
    bench.step()
    assert bench.state.phase is Phase.HALTED
    assert bench.step(order(Verb.RESUME)).state.phase is Phase.HALTED
    assert bench.state.audit[-1].refused
    result = bench.step(order(Verb.RETRY_FAILURES))
    assert result.state.phase is Phase.RUNNING
    assert set(result.decisions) == {Offer(v, TARGET, 2) for v in new}
    bench.apply(*new)
    assert bench.step().state.phase is Phase.SOAKING


def test_a_vehicle_that_applies_after_the_recall_is_rolled_back_too() -> None:
    bench = Bench.of(20, plan())
    new = taken(bench.step(order(Verb.START)))
    result = bench.step(order(Verb.ABORT))
    assert result.state.phase is Phase.ABORTED
    assert set(result.decisions) == {Withdraw(v) for v in new}
    bench.apply(new[2])
    assert bench.step().decisions == (RollBack(new[2], OLD),)


def test_a_vehicle_that_reverts_is_a_failure() -> None:
    bench = Bench.of(20, plan(max_failure_ratio=0.5))
    new = taken(bench.step(order(Verb.START)))
    bench.apply(*new)
    bench.step()
    bench.change(new[0], installed_digest=OLD)
    assert "its manifest shows aaa" in bench.step().state.records[new[0]].failure


def test_a_pause_offers_nothing_and_a_resume_goes_on() -> None:
    bench = Bench.of(20, plan())
    new = taken(bench.step(order(Verb.START)))
    bench.step(order(Verb.PAUSE))
    bench.apply(*new)
    bench.step()
    bench.soak(*new)
    result = bench.step()
    assert (result.state.phase, result.decisions) == (Phase.PAUSED, ())
    assert len(taken(bench.step(order(Verb.RESUME)))) == 5


def test_a_small_fleet_without_control_waits_for_a_person() -> None:
    stages = (Stage(0.1, 3.0), Stage(1.0, None))
    bench = Bench.of(4, plan(stages=stages, guardrails=(FIRES,)))
    new = taken(bench.step(order(Verb.START)))
    assert len(new) == 4
    bench.apply(*new)
    bench.step()
    bench.soak(*new)
    assert "no control vehicle is left" in bench.step().waiting_for
    assert bench.step(order(Verb.ADVANCE)).state.phase is Phase.DONE


def counts(start_day: int, bench: Bench, fires: float) -> Interval:
    rows = [
        VehicleCounts(v, view.installed_digest, 100.0, 2.0, {"fires": fires})
        for v, view in bench.views.items()
    ]
    return Interval.from_rows(start_day * NS_PER_DAY, (start_day + 1) * NS_PER_DAY, rows)


def test_intervals_are_read_once_and_in_order() -> None:
    bench = Bench.of(20, plan(guardrails=(FIRES,)))
    first = counts(1, bench, 3.0)
    state = bench.step(None, first).state
    assert state.read_until_ns == 2 * NS_PER_DAY
    overlapping = replace(first, end_utc_ns=3 * NS_PER_DAY)
    with pytest.raises(InputError, match="overlaps"):
        step(state, bench.views.values(), [overlapping], None, bench.now_ns)
    missing = replace(counts(2, bench, 1.0), events={})
    with pytest.raises(InputError, match="fires"):
        step(state, bench.views.values(), [missing], None, bench.now_ns)


def test_rows_that_tell_other_guardrails_are_refused() -> None:
    rows = [VehicleCounts("a", None, 1, 1, {"fires": 1}), VehicleCounts("b", None, 1, 1, {})]
    with pytest.raises(InputError, match="b"):
        Interval.from_rows(0, 1, rows)
    with pytest.raises(InputError, match="not negative"):
        Interval.from_rows(0, 1, [VehicleCounts("a", None, -1, 1, {"fires": 1})])


def test_selected_vehicles_only_and_never_contacted_are_shown() -> None:
    bench = Bench.of(10, plan(selector=Selector({"region": frozenset({"eu"})})))
    for vehicle_id in ("v00", "v01", "v02"):
        bench.change(vehicle_id, labels={"region": "eu"})
    bench.change("v02", first_contact_ns=None)
    result = bench.step(order(Verb.START))
    assert sorted(taken(result)) == ["v00", "v01"]
    assert result.never_contacted == ("v02",)


def test_a_release_called_worse_cannot_be_resumed_or_retried() -> None:
    ending = roll_out(World(effect={"fires": 50.0}), 1)
    views, now_ns = ending.fleet.views(), ending.fleet.now_ns
    for verb in (Verb.RESUME, Verb.RETRY_FAILURES, Verb.ADVANCE, Verb.START):
        result = step(ending.state, views, [], order(verb), now_ns)
        assert result.state.phase is Phase.HALTED
        assert result.state.audit[-1].refused
        assert result.decisions == ()


def test_what_was_installed_before_comes_back_even_when_that_was_nothing() -> None:
    bench = Bench.of(5, plan())
    for vehicle_id in bench.views:
        bench.change(vehicle_id, installed_digest=None, manifest_utc_ns=None)
    new = taken(bench.step(START))
    for vehicle_id in new:
        bench.change(vehicle_id, installed_digest=TARGET, manifest_utc_ns=5)
    bench.step()
    result = bench.step(order(Verb.ABORT))
    assert set(result.decisions) == {RollBack(v, None) for v in new}


# --- any history ---------------------------------------------------------------------------

VEHICLES = 12
moves = st.one_of(
    st.tuples(st.just("apply"), st.integers(0, VEHICLES - 1)),
    st.tuples(st.just("fail"), st.integers(0, VEHICLES - 1)),
    st.tuples(st.just("revert"), st.integers(0, VEHICLES - 1)),
    st.tuples(st.just("drive"), st.integers(0, 5)),
    st.tuples(st.just("order"), st.sampled_from(list(Verb))),
    st.tuples(st.just("count"), st.integers(0, 40)),
)


def play(bench: Bench, history: list[tuple[str, object]]) -> Iterator[tuple[str, RolloutState]]:
    """Carry the moves out; yields each with the state before it."""
    yield "start", bench.state
    for number, (move, what) in enumerate(history):
        before, command, intervals = bench.state, None, ()
        vehicle_id = f"v{what:02d}" if isinstance(what, int) else ""
        record = bench.state.records.get(vehicle_id)
        bench.now_ns += NS_PER_DAY
        match move:
            # A vehicle installs what it was offered, and nothing else.
            case "apply" if record is not None and vehicle_id in bench.views:
                bench.apply(vehicle_id)
            case "fail" if record is not None:
                bench.change(vehicle_id, failure=InstallFailure(record.attempt, "no"))
            case "revert" if vehicle_id in bench.views:
                bench.change(vehicle_id, installed_digest=OLD)
            case "drive":
                for view in list(bench.views.values()):
                    driven = view.driving_since_applied_ns + HOUR_NS
                    bench.change(view.vehicle_id, driving_since_applied_ns=driven)
            case "order":
                command = Command(f"c{number}", Verb(str(what)), "ann", "because")
            case "count":
                assert isinstance(what, int)
                intervals = (counts(number + 2, bench, float(what)),)
        bench.step(command, *intervals)
        yield (str(what) if command else move), before


@settings(max_examples=150, deadline=None)
@given(st.lists(moves, max_size=40), st.booleans())
def test_the_promises_hold_under_any_history(
    history: list[tuple[str, object]], auto_rollback: bool
) -> None:
    bench = Bench.of(
        VEHICLES,
        plan(
            guardrails=(FIRES,),
            stages=(Stage(0.1, 3.0), Stage(0.6, None), Stage(1.0, None)),
            auto_rollback=auto_rollback,
        ),
    )
    bench.step(order(Verb.START, "first"))
    for move, before in play(bench, history):
        now = bench.state
        limit = stage_limit(now.plan.stages[now.stage].fraction, VEHICLES, now.plan.min_canary)
        holding = sum(view.installed_digest == TARGET for view in bench.views.values())
        assert holding <= len(now.records) <= limit
        assert before.records.keys() <= now.records.keys()
        assert now.stage >= before.stage
        if before.phase in (Phase.HALTED, Phase.ROLLING_BACK):
            assert now.stage == before.stage
            assert now.phase not in _LIVE or move == Verb.RETRY_FAILURES
        if before.phase in (Phase.ABORTED, Phase.DONE):
            assert now.phase is before.phase
        for record in now.audit:
            assert record.actor
            assert record.reason
        assert np.isfinite(now.evidence.log_shares).all()
