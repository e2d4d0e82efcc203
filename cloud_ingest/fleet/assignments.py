"""What each vehicle is ordered to hold: the rows that the director signs.

Guarantees: a row's counter rises by one in each transaction that changes what the row orders, and
never otherwise; rows are locked in the order of vehicle ids, so that writers wait for each other
and do not deadlock; a row that is made while a kill is under way has the kill in it.

Lock order: the newcomers' lock, then rows. Who makes rows holds the newcomers' lock shared; who
must see every vehicle (a kill, the end of a rollout) holds it alone.

Not here: who should hold what (`rollout`), and signing (`ota`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import among, to_time
from cloud_ingest.fleet_schema import assignments, killed_triggers
from contracts.errors import ExhaustedError
from contracts.ota import MAX_KILLED, ReleaseId, Slot

Slots = Mapping[str, Mapping[str, Any]]
"""Slot's text → {"kind", "name", "version", "attempt"}."""

_NEWCOMERS = 0x4E455743  # any number that nobody else uses


@dataclass(frozen=True, slots=True)
class Assignment:
    """Let `slot` of a vehicle hold `release`; None empties it, so that the built-in one works."""

    vehicle_id: str
    slot: Slot
    release: ReleaseId | None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class HeldSlots:
    """A row. `counter` is 0 when it orders nothing at all."""

    counter: int
    slots: Slots


def slots_after(slots: Slots, wanted: Assignment) -> dict[str, Mapping[str, Any]]:
    """The slots once `wanted` is ordered.

    A release that becomes active leaves its shadow slot: beside itself it would show nothing.
    """
    after = dict(slots)
    if wanted.release is None:
        after.pop(wanted.slot.text, None)
        return after
    release = wanted.release
    named = {"kind": release.kind, "name": release.name, "version": release.version}
    after[wanted.slot.text] = {**named, "attempt": wanted.attempt}
    shadow = Slot(wanted.slot.kind, wanted.slot.name, shadow=True).text
    if not wanted.slot.shadow and named.items() <= after.get(shadow, {}).items():
        del after[shadow]
    return after


async def assign(
    connection: AsyncConnection,
    vehicle_id: str,
    slot: Slot,
    release: ReleaseId | None,
    attempt: int = 1,
) -> int:
    """Order one slot of one vehicle; returns the row's counter, the same when nothing changed."""
    counters = await assign_all(connection, [Assignment(vehicle_id, slot, release, attempt)])
    return counters[vehicle_id]


async def assign_all(connection: AsyncConnection, wanted: Sequence[Assignment]) -> dict[str, int]:
    """Carry out orders in their sequence; returns the counters of the vehicles they speak of.

    Raises `sqlalchemy.exc.IntegrityError` for a vehicle that is not enrolled.
    """
    vehicle_ids = sorted({order.vehicle_id for order in wanted})
    if not vehicle_ids:
        return {}
    await make_rows(connection, vehicle_ids)
    query = (
        sa.select(assignments.c.vehicle_id, assignments.c.counter, assignments.c.slots)
        .where(among(assignments.c.vehicle_id, vehicle_ids))
        .order_by(assignments.c.vehicle_id)
        .with_for_update()
    )
    rows = (await connection.execute(query)).all()
    slots: dict[str, Slots] = {row.vehicle_id: row.slots for row in rows}
    for order in wanted:
        slots[order.vehicle_id] = slots_after(slots[order.vehicle_id], order)
    changed = [
        {"who": row.vehicle_id, "next": row.counter + 1, "holds": slots[row.vehicle_id]}
        for row in rows
        if slots[row.vehicle_id] != row.slots
    ]
    if changed:
        update = (
            sa.update(assignments)
            .where(assignments.c.vehicle_id == sa.bindparam("who"))
            .values(counter=sa.bindparam("next"), slots=sa.bindparam("holds"))
        )
        await connection.execute(update, changed)
    return {row.vehicle_id: row.counter for row in rows} | {
        row["who"]: row["next"] for row in changed
    }


async def make_rows(connection: AsyncConnection, vehicle_ids: Sequence[str]) -> None:
    """Give each vehicle a row; new ones hold nothing and know the killed triggers.

    A new row's counter is 0 when it orders nothing at all.
    """
    query = sa.select(assignments.c.vehicle_id).where(among(assignments.c.vehicle_id, vehicle_ids))
    present = set((await connection.execute(query)).scalars())
    missing = [vehicle_id for vehicle_id in vehicle_ids if vehicle_id not in present]
    if not missing:
        return
    await hold_newcomers(connection, alone=False)
    found = await connection.execute(
        sa.select(killed_triggers.c.trigger_id).order_by(killed_triggers.c.trigger_id)
    )
    killed = list(found.scalars())
    rows = [
        {"vehicle_id": vehicle_id, "counter": int(bool(killed)), "slots": {}, "killed": killed}
        for vehicle_id in missing
    ]
    await connection.execute(insert(assignments).on_conflict_do_nothing(), rows)


async def hold_newcomers(connection: AsyncConnection, *, alone: bool) -> None:
    """Take the lock under which rows are made, until the transaction ends. `alone`: nobody makes
    any meanwhile, and all that were made are seen."""
    lock = sa.func.pg_advisory_xact_lock if alone else sa.func.pg_advisory_xact_lock_shared
    await connection.execute(sa.select(lock(_NEWCOMERS)))


async def set_killed(
    connection: AsyncConnection,
    trigger_id: str,
    killed: bool,
    *,
    actor: str,
    reason: str,
    at_utc_ns: int,
) -> int:
    """Switch a trigger off, or on again, for all vehicles and those to come.

    Returns how many vehicles' orders changed. Raises `ExhaustedError` for one more trigger than
    a director's word holds.
    """
    await hold_newcomers(connection, alone=True)
    if killed:
        row = {
            "trigger_id": trigger_id,
            "actor": actor,
            "reason": reason,
            "killed_utc": to_time(at_utc_ns),
        }
        await connection.execute(insert(killed_triggers).values(row).on_conflict_do_nothing())
        count = sa.select(sa.func.count()).select_from(killed_triggers)
        if (await connection.execute(count)).scalar_one() > MAX_KILLED:
            raise ExhaustedError(f"at most {MAX_KILLED} triggers can be killed at a time")
        touched = sa.not_(_knows(trigger_id))
        after = sa.func.array_append(assignments.c.killed, trigger_id)
    else:
        await connection.execute(
            sa.delete(killed_triggers).where(killed_triggers.c.trigger_id == trigger_id)
        )
        touched = _knows(trigger_id)
        after = sa.func.array_remove(assignments.c.killed, trigger_id)
    in_order = (
        sa.select(assignments.c.vehicle_id)
        .where(touched)
        .order_by(assignments.c.vehicle_id)
        .with_for_update()
    )
    vehicle_ids = list((await connection.execute(in_order)).scalars())
    await connection.execute(
        sa.update(assignments)
        .where(among(assignments.c.vehicle_id, vehicle_ids))
        .values(killed=after, counter=assignments.c.counter + 1)
    )
    return len(vehicle_ids)


async def held_slots(
    connection: AsyncConnection, vehicle_ids: Sequence[str]
) -> dict[str, HeldSlots]:
    """What vehicles are ordered to hold; they have rows afterwards."""
    await make_rows(connection, vehicle_ids)
    query = sa.select(assignments.c.vehicle_id, assignments.c.counter, assignments.c.slots)
    rows = await connection.execute(query.where(among(assignments.c.vehicle_id, vehicle_ids)))
    return {row.vehicle_id: HeldSlots(row.counter, row.slots) for row in rows}


def _knows(trigger_id: str) -> sa.ColumnElement[bool]:
    return sa.literal(trigger_id) == sa.any_(assignments.c.killed)
