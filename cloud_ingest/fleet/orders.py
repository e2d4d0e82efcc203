"""Turns a rollout's decisions into assignments.

- *Offer*: the slot holds the release, under an attempt that counts on over all rollouts of it.
- *Roll back*: the published release whose digest the vehicle ran before; without one the slot is
  emptied, so that the built-in one works.
- *Withdraw*: what finished rollouts give the vehicle's like; without any, as for a roll back.

A withdrawn release is none to go back to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import among
from cloud_ingest.fleet.assignments import Assignment, assign_all
from cloud_ingest.fleet.baseline import Finished, baseline_for, finished_rollouts
from cloud_ingest.fleet.told import Target
from cloud_ingest.fleet_schema import releases, rollouts
from cloud_ingest.rollout.observation import VehicleView
from cloud_ingest.rollout.state import Decision, Offer, RollBack, VehicleRecord, Withdraw
from contracts.ota import ReleaseId, Slot

Placed = tuple[ReleaseId | None, int]
"""A release, None for the built-in one, and the attempt under which it is given."""


async def carry_out(
    connection: AsyncConnection,
    target: Target,
    decisions: Sequence[Decision],
    records: Mapping[str, VehicleRecord],
    fleet: Sequence[VehicleView],
) -> None:
    """Order what was decided, in sequence."""
    if not decisions:
        return
    slot = target.slot
    labels = {view.vehicle_id: view.labels for view in fleet}
    finished: list[Finished] = []
    if any(isinstance(decision, Withdraw) for decision in decisions):
        finished = await finished_rollouts(connection)
    digests = {record.previous_digest for record in records.values()}
    digests |= {decision.digest for decision in decisions if isinstance(decision, RollBack)}
    ways_back = await _published(connection, slot, digests - {None})

    def placed(decision: Decision) -> Placed:
        match decision:
            case Offer(attempt=attempt):
                return target.release, target.attempts_before + attempt
            case RollBack(digest=digest):
                return ways_back.get(digest, (None, 1))
            case Withdraw(vehicle_id=vehicle_id):
                found = baseline_for(finished, labels.get(vehicle_id, {})).get(slot)
                if found is not None:
                    return found.release, found.attempt
                return ways_back.get(records[vehicle_id].previous_digest, (None, 1))

    orders = []
    for decision in decisions:
        release, attempt = placed(decision)
        orders.append(Assignment(decision.vehicle_id, slot, release, attempt))
    await assign_all(connection, orders)


async def _published(
    connection: AsyncConnection, slot: Slot, digests: set[str | None]
) -> dict[str | None, Placed]:
    """The releases for this slot with these digests."""
    if not digests:
        return {}
    query = (
        sa.select(releases)
        .where(
            releases.c.kind == slot.kind,
            among(releases.c.digest, (digest for digest in digests if digest is not None)),
            releases.c.withdrawn_utc.is_(None),
            sa.true() if slot.kind == "model" else releases.c.name == slot.name,
        )
        .order_by(releases.c.version)
    )
    found: dict[str | None, Placed] = {}
    for row in (await connection.execute(query)).all():
        release = ReleaseId(row.kind, row.name, row.version)
        found[row.digest] = release, max(1, await last_attempt(connection, slot, release))
    return found


async def last_attempt(connection: AsyncConnection, slot: Slot, release: ReleaseId) -> int:
    """The highest attempt under which rollouts gave the release in this slot; 0 for none."""
    attempts = sa.cast(rollouts.c.told["attempts"].astext, sa.Integer)
    query = sa.select(sa.func.max(attempts)).where(
        rollouts.c.slot == slot.text,
        rollouts.c.kind == release.kind,
        rollouts.c.name == release.name,
        rollouts.c.version == release.version,
    )
    return (await connection.execute(query)).scalar_one() or 0
