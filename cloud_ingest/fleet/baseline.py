"""What a vehicle that comes new gets: what the finished rollouts have brought to its like.

For each slot the newest finished rollout whose selector matches the vehicle counts. It gives
nothing when its release was withdrawn since, or when it was a return to the built-in one; a
shadow release gives nothing once the same release became active. A vehicle is new at its first
check-in; a rollout finishes under the newcomers' lock (`assignments`), so that every vehicle is
either part of it or meets it finished. Labels that change later bring nothing until the next
rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.fleet import assignments
from cloud_ingest.fleet.assignments import Assignment
from cloud_ingest.fleet_schema import releases, rollouts
from cloud_ingest.rollout.cohort import Selector
from contracts.ota import ReleaseId, Slot, parse_slot


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished rollout. `release` None: back to the built-in one, or withdrawn since."""

    slot: Slot
    release: ReleaseId | None
    selector: Selector
    attempt: int


def baseline_for(finished: Sequence[Finished], labels: Mapping[str, str]) -> dict[Slot, Finished]:
    """The rollout that counts for each slot of a vehicle; `finished` from the newest on."""
    chosen: dict[Slot, Finished] = {}
    made_active: set[ReleaseId] = set()
    for rollout in finished:
        if not rollout.selector.matches(labels):
            continue
        is_past = rollout.slot.shadow and rollout.release in made_active
        chosen.setdefault(rollout.slot, replace(rollout, release=None) if is_past else rollout)
        if rollout.release is not None and not rollout.slot.shadow:
            made_active.add(rollout.release)
    return chosen


async def finished_rollouts(connection: AsyncConnection) -> list[Finished]:
    """All finished rollouts from the newest on."""
    is_release = sa.and_(
        releases.c.kind == rollouts.c.kind,
        releases.c.name == rollouts.c.name,
        releases.c.version == rollouts.c.version,
    )
    query = (
        sa.select(
            rollouts.c.slot,
            rollouts.c.kind,
            rollouts.c.name,
            rollouts.c.version,
            rollouts.c.told["selector"].label("selector"),
            rollouts.c.told["attempts"].label("attempts"),
            sa.and_(releases.c.version.is_not(None), releases.c.withdrawn_utc.is_(None)).label(
                "is_offered"
            ),
        )
        .join_from(rollouts, releases, is_release, isouter=True)
        .where(rollouts.c.phase == "done")
        .order_by(rollouts.c.created_utc.desc(), rollouts.c.rollout_id)
    )
    return [
        Finished(
            slot=parse_slot(row.slot),
            release=ReleaseId(row.kind, row.name, row.version) if row.is_offered else None,
            selector=Selector({name: frozenset(values) for name, values in row.selector.items()}),
            attempt=row.attempts,
        )
        for row in (await connection.execute(query)).all()
    ]


async def welcome(
    connection: AsyncConnection, newcomers: Mapping[str, Mapping[str, str]]
) -> dict[str, int]:
    """Give vehicles that check in for the first time their rows and their baseline.

    A slot that holds a release already keeps it: the vehicle was known under another key.

    Args:
        newcomers: their labels by vehicle.

    Returns the counters of their orders.
    """
    await assignments.hold_newcomers(connection, alone=False)
    held = await assignments.held_slots(connection, list(newcomers))
    finished = await finished_rollouts(connection)
    orders = [
        Assignment(vehicle_id, slot, rollout.release, rollout.attempt)
        for vehicle_id, labels in newcomers.items()
        for slot, rollout in baseline_for(finished, labels).items()
        if rollout.release is not None and slot.text not in held[vehicle_id].slots
    ]
    counters = {vehicle_id: row.counter for vehicle_id, row in held.items()}
    return counters | await assignments.assign_all(connection, orders)
