"""What vehicles did in a stretch of the service's time, from their counter readings.

A vehicle-day is a UTC day on which a vehicle drove. What a vehicle counted between its last reading
before the stretch and its last one in it is counted once; a vehicle of which no reading is kept
from before begins with its first one. Readings are kept for `readings.KEPT_NS`.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import to_time
from contracts.clock import NS_PER_DAY, Clock
from contracts.errors import InputError
from contracts.fleet import FleetActivity

_WHOLE = ("fires", "clips", "clip_bytes", "upload_bytes", "disengagements")
_SUMMED = ("driving_s", "driven_m", *_WHOLE)

_ACTIVITY = sa.text(f"""
    WITH told AS MATERIALIZED (
        SELECT vehicle_id, sequence, (received_utc AT TIME ZONE 'UTC')::date AS day, counters
        FROM counter_readings WHERE received_utc >= :since AND received_utc < :until),
    days AS (
        SELECT DISTINCT ON (vehicle_id, day) vehicle_id, day, counters
        FROM told ORDER BY vehicle_id, day, sequence DESC),
    first AS (
        SELECT DISTINCT ON (vehicle_id) vehicle_id, counters
        FROM told ORDER BY vehicle_id, sequence),
    begun AS (
        SELECT f.vehicle_id, coalesce(b.counters, f.counters) AS counters
        FROM first f LEFT JOIN LATERAL (
            SELECT counters FROM counter_readings
            WHERE vehicle_id = f.vehicle_id AND received_utc < :since
            ORDER BY sequence DESC LIMIT 1) b ON true),
    steps AS (
        SELECT d.vehicle_id, d.counters AS now,
            coalesce(lag(d.counters) OVER (PARTITION BY d.vehicle_id ORDER BY d.day),
                b.counters) AS earlier
        FROM days d JOIN begun b USING (vehicle_id)),
    grown AS (
        SELECT vehicle_id, {
    ", ".join(
        f"(now ->> '{name}')::double precision - (earlier ->> '{name}')::double precision AS {name}"
        for name in _SUMMED
    )
}
        FROM steps),
    allowed AS (
        SELECT g.vehicle_id, sum((c.manifest::jsonb -> 'budget' ->> 'bytes_per_day')::numeric)
            FILTER (WHERE g.driving_s > 0) AS size_bytes
        FROM grown g JOIN check_ins c USING (vehicle_id) GROUP BY g.vehicle_id)
    SELECT count(DISTINCT vehicle_id) FILTER (WHERE driving_s > 0) AS vehicles,
        count(*) FILTER (WHERE driving_s > 0) AS vehicle_days,
        {", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in _SUMMED)},
        (SELECT sum(size_bytes) FROM allowed) AS budget_bytes
    FROM grown
""")


class ActivityBook:
    """Reads it, when somebody asks."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    async def between(
        self, since_utc_ns: int | None = None, until_utc_ns: int | None = None
    ) -> FleetActivity:
        """Until now, and since a day before, unless it is said. Raises `InputError` for an end
        that is not after the start.
        """
        until = self._clock.utc_ns() if until_utc_ns is None else until_utc_ns
        since = max(0, until - NS_PER_DAY) if since_utc_ns is None else since_utc_ns
        if until <= since:
            raise InputError("ends before it starts", "until_utc_ns")
        async with self._engine.connect() as connection:
            return await activity(connection, since, until)


async def activity(connection: AsyncConnection, since_ns: int, until_ns: int) -> FleetActivity:
    """Of all vehicles together."""
    values = {"since": to_time(since_ns), "until": to_time(until_ns)}
    row = (await connection.execute(_ACTIVITY, values)).one()
    return FleetActivity(
        since_utc_ns=since_ns, until_utc_ns=until_ns, vehicles=row.vehicles,
        vehicle_days=row.vehicle_days, driving_s=row.driving_s, driven_m=row.driven_m,
        budget_bytes=None if row.budget_bytes is None else int(row.budget_bytes),
        **{name: round(getattr(row, name)) for name in _WHOLE},
    )  # fmt: skip
