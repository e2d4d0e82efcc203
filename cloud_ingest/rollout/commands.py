"""What a person may order, and when; every order leaves an audit record, refused ones too.

A refusal changes nothing but the log. A release that a guardrail called worse is not resumed:
another release is another rollout.
"""

from __future__ import annotations

from dataclasses import replace

from cloud_ingest.rollout.guardrails import treated_exposure
from cloud_ingest.rollout.state import (
    AuditRecord,
    Cause,
    Command,
    Decision,
    Outcome,
    Phase,
    RolloutState,
    Verb,
)
from cloud_ingest.rollout.vehicles import offer_again

LIVE = frozenset({Phase.RUNNING, Phase.SOAKING, Phase.PAUSED})
_MACHINE = "machine"

_ALLOWED: dict[Verb, frozenset[Phase]] = {
    Verb.START: frozenset({Phase.PLANNED}),
    Verb.PAUSE: frozenset({Phase.RUNNING, Phase.SOAKING}),
    Verb.RESUME: frozenset({Phase.PAUSED}),
    Verb.ABORT: LIVE | {Phase.PLANNED, Phase.ROLLING_BACK, Phase.HALTED},
    Verb.ADVANCE: LIVE,
    Verb.RETRY_FAILURES: frozenset({Phase.RUNNING, Phase.SOAKING, Phase.HALTED}),
}


def obey(state: RolloutState, command: Command, now_ns: int) -> tuple[RolloutState, list[Decision]]:
    """Carry the order out, or record why not. An order seen before changes nothing."""
    if any(record.command_id == command.command_id for record in state.audit):
        return state, []
    refused = _refusal(state, command)
    after, decisions = (state, []) if refused else _carry_out(state, command.verb, now_ns)
    record = AuditRecord(
        number=len(state.audit) + 1,
        at_utc_ns=now_ns,
        actor=command.actor,
        action=command.verb.value,
        reason=command.reason,
        from_phase=state.phase,
        to_phase=after.phase,
        stage=after.stage,
        command_id=command.command_id,
        refused=refused,
    )
    return replace(after, audit=(*state.audit, record)), decisions


def move(state: RolloutState, phase: Phase, action: str, reason: str, now_ns: int) -> RolloutState:
    """Go to `phase` by the machine's own decision, and say so in the log."""
    record = AuditRecord(
        number=len(state.audit) + 1,
        at_utc_ns=now_ns,
        actor=_MACHINE,
        action=action,
        reason=reason,
        from_phase=state.phase,
        to_phase=phase,
        stage=state.stage,
    )
    return replace(state, phase=phase, audit=(*state.audit, record))


def next_stage(state: RolloutState) -> RolloutState:
    """The beginning of the next stage, or the end."""
    if state.stage + 1 == len(state.plan.stages):
        return replace(state, phase=Phase.DONE, watch=None)
    return replace(
        state,
        phase=Phase.RUNNING,
        stage=state.stage + 1,
        exposure_before=treated_exposure(state.evidence),
        watch=None,
    )


def _refusal(state: RolloutState, command: Command) -> str:
    verb = command.verb
    if state.phase not in _ALLOWED[verb]:
        phases = ", ".join(sorted(_ALLOWED[verb]))
        return f"{verb} is for {phases}; the rollout is {state.phase}"
    if verb is Verb.RETRY_FAILURES:
        if state.phase is Phase.HALTED and state.cause is not Cause.FAILURES:
            return f"it halted by {state.cause}; another release is another rollout"
        if not any(record.outcome is Outcome.FAILED for record in state.records.values()):
            return "no vehicle failed"
    return ""


def _carry_out(state: RolloutState, verb: Verb, now_ns: int) -> tuple[RolloutState, list[Decision]]:
    match verb:
        case Verb.START | Verb.RESUME:
            return replace(state, phase=Phase.RUNNING), []
        case Verb.PAUSE:
            return replace(state, phase=Phase.PAUSED), []
        case Verb.ADVANCE:
            return next_stage(state), []
        case Verb.ABORT:
            return replace(state, phase=Phase.ROLLING_BACK, ending=Phase.ABORTED, watch=None), []
        case Verb.RETRY_FAILURES:
            phase = Phase.RUNNING if state.phase is Phase.HALTED else state.phase
            records, offers = offer_again(state.plan, state.records, now_ns)
            return replace(state, phase=phase, cause=None, records=records), offers
