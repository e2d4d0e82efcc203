"""What the database holds of the vehicles that check in, read and written for many at once.

Each function is one statement for all of a batch, on the caller's transaction. `lock` comes first:
it takes the vehicles' rows in the order of their ids, so that batches of several replicas wait for
each other and do not deadlock; what is read after it is what the vehicle's last check-in left.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import to_ns
from cloud_ingest.fleet.readings import Reading


@dataclass(frozen=True, slots=True)
class Present:
    """What is known of one vehicle. `sequence`, `manifest`, `reading`: None before the first."""

    sequence: int | None
    manifest: str | None
    reading: Reading | None
    assignment_counter: int


@dataclass(frozen=True, slots=True)
class NewCheckIn:
    """A check-in that is newer than what is known, and the reading that it makes.

    `replaces` is the sequence of the reading of the same minute, which this one takes the place of.
    """

    sequence: int
    manifest: str
    signature: str
    reading: Reading
    replaces: int | None


def _bound(statement: str, **types: sa.types.TypeEngine[Any]) -> sa.TextClause:
    binds = [sa.bindparam(name, type_=kind) for name, kind in types.items()]
    return sa.text(statement).bindparams(*binds)


_IDS, _TIME = ARRAY(sa.Text), sa.DateTime(timezone=True)
_LOCK = _bound(
    """
    SELECT vehicle_id, public_key FROM vehicles
    WHERE vehicle_id = ANY(:vehicles) AND revoked_utc IS NULL
    ORDER BY vehicle_id FOR NO KEY UPDATE
    """,
    vehicles=_IDS,
)
_READ = _bound(
    """
    SELECT v.vehicle_id, c.sequence, c.manifest, coalesce(a.counter, 0) AS counter,
        r.sequence AS read_at, r.received_utc, r.counters, r.running
    FROM unnest(:vehicles) AS v (vehicle_id)
    LEFT JOIN check_ins c ON c.vehicle_id = v.vehicle_id
    LEFT JOIN assignments a ON a.vehicle_id = v.vehicle_id
    LEFT JOIN LATERAL (
        SELECT sequence, received_utc, counters, running FROM counter_readings
        WHERE vehicle_id = v.vehicle_id ORDER BY sequence DESC LIMIT 1) r ON true
    """,
    vehicles=_IDS,
)
_SEEN = """
    UPDATE vehicles SET
        first_contact_utc = coalesce(first_contact_utc, :now),
        last_contact_utc = greatest(last_contact_utc, :now)
    WHERE vehicle_id = ANY(:seen)
"""
_CONTACT = _bound(_SEEN, seen=_IDS, now=_TIME)
_KEEP = _bound(
    f"""
    WITH seen AS ({_SEEN}),
    said AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS t (vehicle_id text,
            sequence bigint, manifest text, signature text, totals jsonb, running jsonb,
            replaces bigint)),
    kept AS (
        INSERT INTO check_ins AS c (vehicle_id, sequence, received_utc, manifest, signature)
        SELECT vehicle_id, sequence, :now, manifest, signature FROM said
        ON CONFLICT (vehicle_id) DO UPDATE SET sequence = excluded.sequence,
            received_utc = excluded.received_utc, manifest = excluded.manifest,
            signature = excluded.signature),
    replaced AS (
        UPDATE counter_readings r SET sequence = said.sequence, received_utc = :now,
            counters = said.totals, running = said.running
        FROM said WHERE r.vehicle_id = said.vehicle_id AND r.sequence = said.replaces)
    INSERT INTO counter_readings (vehicle_id, sequence, received_utc, counters, running)
    SELECT vehicle_id, sequence, :now, totals, running FROM said
    WHERE replaces IS NULL
    """,
    seen=_IDS, rows=sa.Text(), now=_TIME,
)  # fmt: skip


async def lock(connection: AsyncConnection, vehicle_ids: Collection[str]) -> dict[str, bytes]:
    """The keys of those that are enrolled and not revoked.

    Their rows stay locked to the end of the transaction, so that a vehicle's check-ins come one by
    one and neither revocation nor another key falls between.
    """
    rows = await connection.execute(_LOCK, {"vehicles": list(vehicle_ids)})
    return {row.vehicle_id: bytes(row.public_key) for row in rows}


async def read(connection: AsyncConnection, vehicle_ids: Collection[str]) -> dict[str, Present]:
    rows = await connection.execute(_READ, {"vehicles": list(vehicle_ids)})
    return {
        row.vehicle_id: Present(
            sequence=row.sequence,
            manifest=row.manifest,
            reading=None
            if row.read_at is None
            else Reading(row.read_at, to_ns(row.received_utc), row.counters, row.running),
            assignment_counter=row.counter,
        )
        for row in rows
    }


async def write(
    connection: AsyncConnection,
    now: dt.datetime,
    news: Mapping[str, NewCheckIn],
    seen: Sequence[str],
) -> None:
    """Keep what is new, and note of all that were `seen` that they are in contact."""
    if not news:
        await connection.execute(_CONTACT, {"now": now, "seen": list(seen)})
        return
    rows = [
        {
            "vehicle_id": vehicle_id,
            "sequence": row.sequence,
            "manifest": row.manifest,
            "signature": row.signature,
            "totals": row.reading.totals,
            "running": row.reading.running,
            "replaces": row.replaces,
        }
        for vehicle_id, row in news.items()
    ]
    # One document: arrays would be escaped character by character, in Python.
    values = {"now": now, "seen": list(seen), "rows": json.dumps(rows)}
    await connection.execute(_KEEP, values)
