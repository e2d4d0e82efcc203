"""The rollout's state machine: `step` takes what is known now and says what to do.

Guarantees: no more vehicles are admitted than the stage allows; a halted rollout goes on only by
a person's order; the audit log only grows; the same step taken twice changes nothing more and
decides nothing more, so that a caller that stores state and decisions in one transaction may
repeat it after a crash. Time is wall time in integer nanoseconds, read once by the caller.

One step: read the new intervals, obey the order, then look, judge and act until nothing changes.
Not here: persistence, signing, how a decision reaches a vehicle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cloud_ingest.rollout import vehicles
from cloud_ingest.rollout.cohort import Cohort, cohort_of, stage_limit
from cloud_ingest.rollout.commands import LIVE, move, next_stage, obey
from cloud_ingest.rollout.failures import log_e_share_above
from cloud_ingest.rollout.guardrails import Reading, Verdict, absorb_interval, arms_of, read
from cloud_ingest.rollout.observation import Interval, VehicleView
from cloud_ingest.rollout.sample_ratio import RatioWatch, is_mismatch
from cloud_ingest.rollout.state import (
    Cause,
    Command,
    Decision,
    Phase,
    RolloutState,
    StepResult,
)
from cloud_ingest.rollout.vehicles import Fleet
from contracts.errors import InputError


def step(
    state: RolloutState,
    fleet: Iterable[VehicleView],
    intervals: Sequence[Interval],
    command: Command | None,
    now_ns: int,
) -> StepResult:
    """Take one step.

    Args:
        fleet: all vehicles as they stand; the plan's selector chooses among them.
        intervals: closed intervals in order; those read before are skipped.
        command: a person's order, or None.
        now_ns: wall time.

    Raises `InputError` for intervals that overlap what was read, or that lack a guardrail.
    """
    views = {view.vehicle_id: view for view in fleet}
    cohort = cohort_of(state.plan.selector, views.values())
    for interval in intervals:
        state = _read_interval(state, interval, cohort, now_ns)
    decisions: list[Decision] = []
    if command is not None:
        state, decisions = obey(state, command, now_ns)
    reading = _reading(state)
    before = None
    while state is not before:
        before = state
        state, more = _act(state, views, cohort, reading, now_ns)
        decisions += more
        if state.stage != before.stage:
            reading = _reading(state)
    state = _watched(state, cohort, now_ns)
    return StepResult(
        state=state,
        decisions=tuple(decisions),
        reading=reading,
        waiting_for=_waiting_for(state, cohort, reading),
        never_contacted=cohort.never_contacted,
    )


def _act(
    state: RolloutState, fleet: Fleet, cohort: Cohort, reading: Reading, now_ns: int
) -> tuple[RolloutState, list[Decision]]:
    """One look, one judgement and what follows; the same state when nothing is left to do."""
    if state.phase in LIVE:
        state = _with_records(state, vehicles.track(state.plan, state.records, fleet, now_ns))
        state = _judge(state, cohort, reading, now_ns)
    if state.phase in (Phase.RUNNING, Phase.SOAKING):
        records, decisions = vehicles.admit(
            state.plan, state.records, fleet, cohort.contacted, _limit(state, cohort), now_ns
        )
        return _with_records(state, records), decisions
    if state.phase in (Phase.ROLLING_BACK, Phase.HALTED, Phase.ABORTED):
        return _take_back(state, fleet, now_ns)
    return state, []


def _with_records(state: RolloutState, records: vehicles.Records) -> RolloutState:
    return state if records is state.records else replace(state, records=records)


def _limit(state: RolloutState, cohort: Cohort) -> int:
    fraction = state.plan.stages[state.stage].fraction
    return stage_limit(fraction, len(cohort.contacted), state.plan.min_canary)


def _judge(state: RolloutState, cohort: Cohort, reading: Reading, now_ns: int) -> RolloutState:
    plan, records = state.plan, state.records
    failed, executed = vehicles.failed(records), vehicles.executed(records)
    if executed >= plan.min_executed and _failures_halt(state, cohort):
        return _halt(state, Cause.FAILURES, f"{failed} of {executed} vehicles failed", now_ns)
    if reading.verdict is Verdict.WORSE and not state.reading_stopped:
        return _halt(state, Cause.GUARDRAIL, reading.why(), now_ns)
    if state.phase is Phase.PAUSED or len(records) < _limit(state, cohort) or not records:
        return state
    if state.phase is Phase.RUNNING and executed >= _quorum(state):
        return move(state, Phase.SOAKING, "soak", f"{executed} of {len(records)} took it", now_ns)
    if state.phase is Phase.SOAKING and not _holds_back(state, cohort, reading):
        after = next_stage(state)
        moved = move(state, after.phase, "advance", "soaked, and no worse than control", now_ns)
        return replace(after, audit=moved.audit)
    return state


def _halt(state: RolloutState, cause: Cause, reason: str, now_ns: int) -> RolloutState:
    phase = Phase.ROLLING_BACK if state.plan.auto_rollback else Phase.HALTED
    halted = move(state, phase, "halt", reason, now_ns)
    return replace(halted, cause=cause, ending=Phase.HALTED, watch=None)


def _failures_halt(state: RolloutState, cohort: Cohort) -> bool:
    """Of a stage that is out, by their share; before, only more of them than chance brings."""
    failed, executed = vehicles.failed(state.records), vehicles.executed(state.records)
    if len(state.records) >= _limit(state, cohort) and executed >= _quorum(state):
        return _too_many_failed(state)
    evidence = log_e_share_above(failed, executed, state.plan.max_failure_ratio)
    return evidence >= -math.log(state.plan.alpha)


def _too_many_failed(state: RolloutState) -> bool:
    executed = vehicles.executed(state.records)
    return vehicles.failed(state.records) > state.plan.max_failure_ratio * executed


def _quorum(state: RolloutState) -> int:
    return math.ceil(state.plan.quorum * len(state.records))


def _holds_back(state: RolloutState, cohort: Cohort, reading: Reading) -> str:
    """Why a soaking stage does not advance by itself; empty when it does."""
    settled, quorum = vehicles.settled(state.records), _quorum(state)
    if settled < quorum:
        return f"{settled} of {quorum} vehicles soaked or failed"
    if _too_many_failed(state):
        return f"{vehicles.failed(state.records)} vehicles failed: too few to halt, so an order"
    if state.plan.stages[state.stage].tolerated_ratio is None:
        return ""
    if state.reading_stopped:
        return "the arms report unequally, so only a person can advance it"
    if reading.verdict is Verdict.NOT_WORSE:
        return ""
    if not set(cohort.contacted) - state.records.keys():
        return f"no control vehicle is left, so only a person can advance it ({reading.why()})"
    return reading.why()


def _take_back(
    state: RolloutState, fleet: Fleet, now_ns: int
) -> tuple[RolloutState, list[Decision]]:
    applied_too = (
        state.phase is Phase.ROLLING_BACK
        or state.ending is Phase.ABORTED
        or state.plan.auto_rollback
    )
    records, decisions = vehicles.recall(state.plan, state.records, fleet, applied_too=applied_too)
    state = _with_records(state, records)
    if state.phase is Phase.ROLLING_BACK and vehicles.all_returned(state.plan, records, fleet):
        state = move(state, state.ending, "rolled back", "no vehicle shows the release", now_ns)
    return state, decisions


def _read_interval(
    state: RolloutState, interval: Interval, cohort: Cohort, now_ns: int
) -> RolloutState:
    if interval.end_utc_ns <= state.read_until_ns:
        return state
    if interval.start_utc_ns < state.read_until_ns:
        raise InputError(
            f"it overlaps what was read until {state.read_until_ns}",
            f"interval {interval.start_utc_ns}",
        )
    if state.phase not in LIVE | {Phase.PLANNED} or state.reading_stopped:
        return state
    assigned, eligible = frozenset(state.records), frozenset(cohort.contacted)
    arms = arms_of(interval, state.plan.target_digest, assigned, eligible)
    evidence = absorb_interval(state.evidence, state.plan.guardrails, interval, arms)
    state = replace(state, evidence=evidence, read_until_ns=interval.end_utc_ns)
    return _watch_interval(state, interval, now_ns)


def _watch_interval(state: RolloutState, interval: Interval, now_ns: int) -> RolloutState:
    watch = state.watch
    if watch is None or interval.start_utc_ns < watch.start_utc_ns:
        return state
    drove = frozenset(
        vehicle_id
        for vehicle_id, hours in zip(interval.vehicle_ids, interval.connected_h, strict=True)
        if hours > 0
    )
    watch = replace(watch, reporters=watch.reporters | (drove & (watch.assigned | watch.control)))
    if interval.end_utc_ns < watch.start_utc_ns + state.plan.ratio_window_ns:
        return replace(state, watch=watch)
    if not is_mismatch(watch, state.plan.ratio_alpha):
        return replace(state, watch=None)
    told = len(watch.reporters & watch.assigned)
    reason = (
        f"{told} of {len(watch.assigned)} treated and {len(watch.reporters) - told} of "
        f"{len(watch.control)} control vehicles reported"
    )
    paused = move(state, Phase.PAUSED, Cause.MISMATCH.value, reason, now_ns)
    return replace(paused, watch=None, reading_stopped=True, cause=Cause.MISMATCH)


def _watched(state: RolloutState, cohort: Cohort, now_ns: int) -> RolloutState:
    """Begin a window of the sample-ratio check when none is in progress."""
    assigned = frozenset(state.records)
    control = frozenset(cohort.contacted) - assigned
    idle = state.watch is not None or state.reading_stopped or state.phase not in LIVE
    if idle or not assigned or not control:
        return state
    window = state.watches + 1
    watch = RatioWatch(window, now_ns, assigned, control)
    return replace(state, watch=watch, watches=window)


def _reading(state: RolloutState) -> Reading:
    return read(
        state.evidence,
        state.plan.guardrails,
        alpha=state.plan.alpha,
        tolerated_ratio=state.plan.stages[state.stage].tolerated_ratio,
        exposure_before=state.exposure_before,
    )


def _waiting_for(state: RolloutState, cohort: Cohort, reading: Reading) -> str:
    match state.phase:
        case Phase.PLANNED | Phase.PAUSED | Phase.HALTED:
            return "an order"
        case Phase.RUNNING if not state.records:
            return "a matching vehicle in contact"
        case Phase.RUNNING:
            executed = vehicles.executed(state.records)
            return f"{executed} of {_quorum(state)} vehicles took it"
        case Phase.SOAKING:
            return _holds_back(state, cohort, reading)
        case Phase.ROLLING_BACK:
            return "vehicles that still show the release"
        case _:
            return ""
