"""What a rollout tells people, kept beside its state so that lists need not read the state."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from cloud_ingest.database import to_ns
from cloud_ingest.rollout.snapshot import restore
from cloud_ingest.rollout.state import Outcome, RolloutState, StepResult
from contracts.clip import Wire
from contracts.fleet import (
    GuardrailRow,
    RolloutAudit,
    RolloutDetail,
    RolloutRow,
    RolloutVehicle,
)
from contracts.ota import ReleaseId, Slot

_MOST_NEVER_CONTACTED = 1000


class Told(Wire):
    """The column `told`.

    `attempts_before` is the highest attempt that earlier rollouts of this release in this slot
    gave, `attempts` the highest of this one, counted on from there.
    """

    selector: dict[str, tuple[str, ...]]
    attempts_before: int
    attempts: int
    matching: int = 0
    outcomes: dict[str, int] = Field(default_factory=dict)
    stage: int = 0
    waiting_for: str = ""
    verdict: str = ""
    guardrails: tuple[GuardrailRow, ...] = ()
    never_contacted: int = 0
    never_contacted_ids: tuple[str, ...] = ()
    stages: tuple[float, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a rollout is about. `release` None: back to what is built in."""

    slot: Slot
    release: ReleaseId | None
    attempts_before: int


def first_told(state: RolloutState, attempts_before: int) -> Told:
    """Of a rollout that has not been stepped."""
    plan = state.plan
    selector = {name: tuple(sorted(values)) for name, values in plan.selector.labels.items()}
    return Told(
        selector=selector,
        attempts_before=attempts_before,
        attempts=attempts_before + 1,
        stages=tuple(stage.fraction for stage in plan.stages),
        digest=plan.target_digest,
    )


def told_after(told: Told, result: StepResult, matching: int) -> Told:
    """What is told after a step; `matching` vehicles satisfy the selector."""
    records = result.state.records.values()
    highest = max((record.attempt for record in records), default=1)
    outcomes = Counter(record.outcome.value for record in records)
    reading = result.reading
    return told.model_copy(
        update={
            "attempts": max(told.attempts, told.attempts_before + highest),
            "matching": matching,
            "outcomes": dict(outcomes),
            "stage": result.state.stage,
            "waiting_for": result.waiting_for,
            "verdict": reading.verdict.value if reading.guardrails else "",
            "guardrails": tuple(
                GuardrailRow(
                    name=guardrail.name,
                    log10_e_worse=guardrail.log_e_worse / math.log(10),
                    likeliest_ratio=guardrail.likeliest_ratio,
                    treated_exposure=guardrail.treated_exposure,
                    treated_events=guardrail.treated_events,
                    missing=guardrail.missing,
                )
                for guardrail in reading.guardrails
            ),
            "never_contacted": len(result.never_contacted),
            "never_contacted_ids": result.never_contacted[:_MOST_NEVER_CONTACTED],
        }
    )


def rollout_row(row: Any) -> RolloutRow:
    """A row of the table `rollouts`, in short."""
    return RolloutRow(**_shared(row, Told.model_validate(row.told)))


def rollout_detail(row: Any) -> RolloutDetail:
    """A row of the table `rollouts`, in full."""
    told, state = Told.model_validate(row.told), restore(bytes(row.state))
    return RolloutDetail(
        **_shared(row, told),
        verdict=told.verdict,
        guardrails=told.guardrails,
        vehicles=tuple(
            RolloutVehicle(
                vehicle_id=record.vehicle_id,
                outcome=record.outcome.value,
                attempt=record.attempt,
                applied_utc_ns=record.applied_ns,
                recall=record.recall.value,
                failure=record.failure,
            )
            for _, record in sorted(state.records.items())
        ),
        never_contacted_ids=told.never_contacted_ids,
        audit=tuple(
            RolloutAudit(
                number=record.number,
                at_utc_ns=record.at_utc_ns,
                actor=record.actor,
                action=record.action,
                reason=record.reason,
                from_phase=record.from_phase.value,
                to_phase=record.to_phase.value,
                stage=record.stage + 1,
                refused=record.refused,
            )
            for record in state.audit
        ),
    )


def _shared(row: Any, told: Told) -> dict[str, Any]:
    def having(outcome: Outcome) -> int:
        return told.outcomes.get(outcome.value, 0)

    return {
        "rollout_id": row.rollout_id,
        "kind": row.kind,
        "name": row.name,
        "version": row.version,
        "shadow": row.shadow,
        "digest": told.digest,
        "phase": row.phase,
        "stage": told.stage + 1,
        "stages": len(told.stages),
        "fraction": told.stages[told.stage],
        "matching": told.matching,
        "never_contacted": told.never_contacted,
        "offered": having(Outcome.OFFERED),
        "applied": having(Outcome.APPLIED),
        "succeeded": having(Outcome.SUCCEEDED),
        "failed": having(Outcome.FAILED),
        "waiting_for": told.waiting_for,
        "created_utc_ns": to_ns(row.created_utc),
        "created_by": row.created_by,
    }
