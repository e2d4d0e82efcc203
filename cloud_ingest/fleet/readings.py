"""Counter readings in the database: totals at the end of each minute in which a vehicle told any.

One row a vehicle and minute: an interval's count is the difference between the last readings
before its start and before its end, so within a minute only the last is of use. What ran is kept
over all of the minute's check-ins, so that a change is never lost. Readings are dropped after
`KEPT_NS`, which is longer than a rollout's history.

A reading's time is the service's own at receipt: what a vehicle counted without a connection
belongs to the interval in which it came in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import to_time
from cloud_ingest.fleet.counting import CHANGED, Totals, joined, totals_after
from cloud_ingest.fleet.intervals import Mark
from cloud_ingest.fleet_schema import counter_readings
from contracts.clock import NS_PER_DAY, NS_PER_S

KEPT_NS = 40 * NS_PER_DAY
_MINUTE_NS = 60 * NS_PER_S
_PRUNED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Reading:
    """One row. `running` is slot → digest, over all check-ins of the reading's minute."""

    sequence: int
    received_utc_ns: int
    totals: Totals
    running: Mapping[str, str]


def next_reading(
    last: Reading | None,
    sequence: int,
    received_utc_ns: int,
    counters: tuple[Totals | None, Totals],
    running: Mapping[str, str],
) -> tuple[Reading, int | None]:
    """The reading that a check-in makes, and the sequence of the one whose place it takes.

    Args:
        last: the vehicle's newest one.
        counters: the previous check-in's, None when it was the first, and this one's.
        running: slot → digest, of this check-in.
    """
    before, now = counters
    totals = totals_after(last.totals if last else {}, now if before is None else before, now)
    if last is None or not _same_minute(last.received_utc_ns, received_utc_ns):
        return Reading(sequence, received_utc_ns, totals, running), None
    ran = joined(last.running, running)
    return Reading(sequence, received_utc_ns, totals, ran), last.sequence


def _same_minute(a_ns: int, b_ns: int) -> bool:
    return a_ns // _MINUTE_NS == b_ns // _MINUTE_NS


async def prune(connection: AsyncConnection, now_ns: int) -> int:
    """Drop old readings, a bounded number at once; returns how many."""
    table = counter_readings.c
    old = (
        sa.select(table.vehicle_id, table.sequence)
        .where(table.received_utc < to_time(now_ns - KEPT_NS))
        .limit(_PRUNED_AT_ONCE)
    )
    statement = (
        sa.delete(counter_readings)
        .where(sa.tuple_(table.vehicle_id, table.sequence).in_(old))
        .returning(table.sequence)
    )
    return len((await connection.execute(statement)).all())


_BEFORE = sa.text("""
    SELECT v.vehicle_id, 0 AS place, r.counters, r.digest, r.digest AS low, r.digest AS high
    FROM vehicles v CROSS JOIN LATERAL (
        SELECT counters, coalesce(running ->> :slot, '') AS digest
        FROM counter_readings
        WHERE vehicle_id = v.vehicle_id AND received_utc < :start
        ORDER BY sequence DESC LIMIT 1) r
""")
_WITHIN = sa.text("""
    WITH told AS (
        SELECT vehicle_id, sequence, counters, coalesce(running ->> :slot, '') AS digest,
            width_bucket(received_utc, :bounds) AS place
        FROM counter_readings WHERE received_utc >= :start AND received_utc < :end)
    SELECT DISTINCT ON (vehicle_id, place) vehicle_id, place, counters, digest,
        min(digest) OVER each AS low, max(digest) OVER each AS high
    FROM told WINDOW each AS (PARTITION BY vehicle_id, place)
    ORDER BY vehicle_id, place, sequence DESC
""").bindparams(sa.bindparam("bounds", type_=ARRAY(sa.DateTime(timezone=True))))


async def marks(connection: AsyncConnection, slot: str, bounds_utc_ns: Sequence[int]) -> list[Mark]:
    """The last reading of each vehicle before the first bound, and in each interval between two.

    `Mark.place` is 0 for the former, i for the interval from bound i - 1 to bound i.
    """
    bounds = [to_time(bound) for bound in bounds_utc_ns]
    values = {"slot": slot, "start": bounds[0]}
    before = (await connection.execute(_BEFORE, values)).all()
    values |= {"end": bounds[-1], "bounds": bounds}
    within = (await connection.execute(_WITHIN, values)).all()
    return [
        Mark(
            vehicle_id=row.vehicle_id,
            place=row.place,
            totals=row.counters,
            digest=row.digest or None,
            is_steady=row.low == row.high and row.digest != CHANGED,
        )
        for row in (*before, *within)
    ]
