"""How admitted vehicles come along: offered, applied, succeeded or failed, and taken back.

Success is what a signed manifest shows after the soak, not a vehicle's word. A vehicle that
applied and then drives connected for long without a signed manifest failed; a parked one did
not, since only driving counts. Failure is final until a person orders another attempt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from cloud_ingest.rollout.cohort import admitted
from cloud_ingest.rollout.observation import VehicleView
from cloud_ingest.rollout.state import (
    HOUR_NS,
    Decision,
    Offer,
    Outcome,
    Recall,
    RollBack,
    RolloutPlan,
    VehicleRecord,
    Withdraw,
)

Records = Mapping[str, VehicleRecord]
Fleet = Mapping[str, VehicleView]


def track(plan: RolloutPlan, records: Records, fleet: Fleet, now_ns: int) -> Records:
    """The records after a look at the fleet; the same object when nothing changed."""
    changed = {}
    for vehicle_id, record in records.items():
        view = fleet.get(vehicle_id)
        if view is None or record.outcome is Outcome.FAILED:
            continue
        new = _tracked(plan, record, view, now_ns)
        if new is not record:
            changed[vehicle_id] = new
    return {**records, **changed} if changed else records


def _tracked(
    plan: RolloutPlan, record: VehicleRecord, view: VehicleView, now_ns: int
) -> VehicleRecord:
    holds = view.installed_digest == plan.target_digest and view.manifest_utc_ns is not None
    if record.outcome is Outcome.OFFERED and holds:
        record = replace(record, outcome=Outcome.APPLIED, applied_ns=now_ns)
    failure = _failure(plan, record, view, holds)
    if failure:
        return replace(record, outcome=Outcome.FAILED, failure=failure)
    if record.outcome is Outcome.APPLIED and _has_soaked(plan, record, view, now_ns):
        return replace(record, outcome=Outcome.SUCCEEDED)
    return record


def _failure(plan: RolloutPlan, record: VehicleRecord, view: VehicleView, holds: bool) -> str:
    if view.failure is not None and view.failure.attempt == record.attempt:
        return f"the vehicle says: {view.failure.reason}"
    if record.outcome is Outcome.OFFERED:
        return ""
    if not holds:
        return f"its manifest shows {view.installed_digest or 'nothing'} after it had applied"
    if view.silent_driving_ns >= plan.silence_driving_ns:
        return f"silent for {view.silent_driving_ns / HOUR_NS:.1f} h of connected driving"
    return ""


def _has_soaked(plan: RolloutPlan, record: VehicleRecord, view: VehicleView, now_ns: int) -> bool:
    # Only driving that a later signed manifest stands behind.
    vouched_ns = view.driving_since_applied_ns - view.silent_driving_ns
    applied_ns = record.applied_ns if record.applied_ns is not None else now_ns
    return vouched_ns >= plan.soak_driving_ns and now_ns - applied_ns >= plan.soak_ns


def admit(
    plan: RolloutPlan,
    records: Records,
    fleet: Fleet,
    contacted: Collection[str],
    limit: int,
    now_ns: int,
) -> tuple[Records, list[Decision]]:
    """Offer the release to the next vehicles, as many as the stage has room for."""
    chosen = admitted(plan.salt, contacted, records.keys(), limit)
    new = {
        vehicle_id: VehicleRecord(
            vehicle_id=vehicle_id,
            previous_digest=fleet[vehicle_id].installed_digest,
            attempt=1,
            offered_ns=now_ns,
        )
        for vehicle_id in chosen
    }
    offers: list[Decision] = [Offer(vehicle_id, plan.target_digest, 1) for vehicle_id in chosen]
    return ({**records, **new} if new else records), offers


def offer_again(plan: RolloutPlan, records: Records, now_ns: int) -> tuple[Records, list[Decision]]:
    """Another attempt for all that failed or were taken back."""
    again = {
        vehicle_id: VehicleRecord(
            vehicle_id=vehicle_id,
            previous_digest=record.previous_digest,
            attempt=record.attempt + 1,
            offered_ns=now_ns,
        )
        for vehicle_id, record in records.items()
        if record.outcome is Outcome.FAILED or record.recall is not Recall.NONE
    }
    offers: list[Decision] = [
        Offer(vehicle_id, plan.target_digest, record.attempt)
        for vehicle_id, record in again.items()
    ]
    return ({**records, **again} if again else records), offers


def recall(
    plan: RolloutPlan, records: Records, fleet: Fleet, *, applied_too: bool
) -> tuple[Records, list[Decision]]:
    """Withdraw open offers and, with `applied_too`, roll back whoever shows the digest.

    An order is given once; a vehicle that applies after its offer was withdrawn is rolled back.
    """
    changed: dict[str, VehicleRecord] = {}
    decisions: list[Decision] = []
    for vehicle_id, record in records.items():
        view = fleet.get(vehicle_id)
        holds = view is not None and view.installed_digest == plan.target_digest
        if holds and applied_too and record.recall is not Recall.ROLLED_BACK:
            changed[vehicle_id] = replace(record, recall=Recall.ROLLED_BACK)
            decisions.append(RollBack(vehicle_id, _way_back(plan, record)))
        elif not holds and record.recall is Recall.NONE and _may_withdraw(record, applied_too):
            changed[vehicle_id] = replace(record, recall=Recall.WITHDRAWN)
            decisions.append(Withdraw(vehicle_id))
    return ({**records, **changed} if changed else records), decisions


def _may_withdraw(record: VehicleRecord, applied_too: bool) -> bool:
    return applied_too or record.outcome is Outcome.OFFERED


def _way_back(plan: RolloutPlan, record: VehicleRecord) -> str | None:
    # A vehicle that held the target before the rollout has nothing older to go back to.
    return None if record.previous_digest == plan.target_digest else record.previous_digest


def all_returned(plan: RolloutPlan, records: Records, fleet: Fleet) -> bool:
    """Whether no vehicle of the fleet shows the digest any more."""
    views = (fleet.get(vehicle_id) for vehicle_id in records)
    return not any(
        view is not None and view.installed_digest == plan.target_digest for view in views
    )


def executed(records: Records) -> int:
    """Vehicles that applied or failed."""
    return sum(record.outcome is not Outcome.OFFERED for record in records.values())


def failed(records: Records) -> int:
    return sum(record.outcome is Outcome.FAILED for record in records.values())


def settled(records: Records) -> int:
    """Vehicles that succeeded or failed."""
    ends = (Outcome.SUCCEEDED, Outcome.FAILED)
    return sum(record.outcome in ends for record in records.values())
