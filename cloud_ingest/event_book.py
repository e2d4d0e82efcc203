"""Event records as they arrive, long before any payload; the same record twice is one."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import to_ns, to_time
from cloud_ingest.problems import TooLargeError
from cloud_ingest.schema import events
from contracts.clip_search import EventPage, EventRow
from contracts.clock import Clock
from contracts.errors import InputError, RefusedError
from contracts.upload import MAX_EVENT_BYTES, EventRecord


class EventBook:
    """The table of events."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def add(self, vehicle_id: str, record: EventRecord) -> bool:
        """Keep a record. True when the same one had arrived before."""
        if record.event.vehicle_id != vehicle_id:
            raise RefusedError("a vehicle reports only its own events", "event.vehicle_id")
        text = record.model_dump_json().encode()
        if len(text) > MAX_EVENT_BYTES:
            raise TooLargeError(f"an event record has at most {MAX_EVENT_BYTES} bytes")
        if b"\\u0000" in text:
            raise InputError("text holds a NUL character")
        row = {
            "record_sha256": hashlib.sha256(text).digest(),
            "vehicle_id": vehicle_id,
            "event_key": record.event.text(),
            "trigger_id": record.cause.trigger_id,
            "outcome": record.outcome,
            "received_utc": to_time(self._clock.utc_ns()),
            "record": record.model_dump(mode="json"),
        }
        statement = insert(events).values(row).on_conflict_do_nothing().returning(events.c.sequence)
        async with self._engine.begin() as connection:
            return (await connection.execute(statement)).one_or_none() is None

    async def page(
        self, vehicle_id: str | None, outcome: str | None, limit: int, before: int | None
    ) -> EventPage:
        """Records from the newest on; `before` is the last page's cursor."""
        query = sa.select(events).order_by(events.c.sequence.desc()).limit(limit + 1)
        if vehicle_id is not None:
            query = query.where(events.c.vehicle_id == vehicle_id)
        if outcome is not None:
            query = query.where(events.c.outcome == outcome)
        if before is not None:
            query = query.where(events.c.sequence < before)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        found = tuple(
            EventRow(
                received_utc_ns=to_ns(row.received_utc),
                record=EventRecord.model_validate(row.record),
            )
            for row in rows[:limit]
        )
        return EventPage(
            events=found, cursor=str(rows[limit - 1].sequence) if len(rows) > limit else None
        )
