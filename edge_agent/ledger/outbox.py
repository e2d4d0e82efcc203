"""Event records still to be sent: they go out at once on any link, before any payload.

Guarantees: a record survives restarts until the server has answered for it; the same record
put twice is one; the outbox is bounded, and what it drops is counted as suppressed with the
reason `outbox`, the oldest of ordinary kinds first.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import InputError
from contracts.ids import sha256_hex
from contracts.upload import MAX_EVENT_BYTES, EventRecord
from edge_agent.ledger.records import Suppressions
from edge_agent.ledger.store import LedgerStore

MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A record waiting to be sent. `body` is the JSON text that goes on the wire."""

    number: int
    body: str


def event_body(record: EventRecord) -> str:
    """The record as it goes on the wire. Raises `InputError` above `MAX_EVENT_BYTES`."""
    body = record.model_dump_json(exclude_none=True)
    size_bytes = len(body.encode())
    if size_bytes > MAX_EVENT_BYTES:
        raise InputError(
            f"an event record has at most {MAX_EVENT_BYTES} bytes, not {size_bytes}:"
            " shorten its evidence",
            record.event.text(),
        )
    return body


class Outbox:
    """The queue of event records."""

    def __init__(self, store: LedgerStore, suppressions: Suppressions) -> None:
        self._store = store
        self._suppressions = suppressions

    def put(self, record: EventRecord) -> bool:
        """Queue a record durably. False: the same record is there. Raises `InputError`."""
        body = event_body(record)
        with self._store.transaction() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO outbox(key, trigger_id, safety, body) VALUES(?, ?, ?, ?)",
                (sha256_hex(body.encode()), record.cause.trigger_id, record.cause.safety, body),
            ).rowcount
            dropped = connection.execute(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY"
                " refused IS NULL, safety, id LIMIT max(0, (SELECT count(*) FROM outbox) - ?))"
                " RETURNING trigger_id, refused",
                (MAX_ROWS,),
            ).fetchall()
        for trigger_id, refused in dropped:
            if refused is None:
                self._suppressions.count(trigger_id, "outbox")
        return added == 1

    def waiting(self, limit: int = 100) -> tuple[OutboxRow, ...]:
        """The oldest records still to be sent, those of safety kinds first."""
        found = self._store.rows(
            "SELECT id, body FROM outbox WHERE refused IS NULL ORDER BY safety DESC, id LIMIT ?",
            limit,
        )
        return tuple(OutboxRow(*row) for row in found)

    def count(self) -> int:
        """How many records are still to be sent."""
        ((count,),) = self._store.rows("SELECT count(*) FROM outbox WHERE refused IS NULL")
        return int(count)

    def sent(self, number: int) -> None:
        """Forget a record that the server has answered for."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE id = ?", (number,))

    def refuse(self, number: int, reason: str) -> None:
        """Set aside a record that the server will never take, with the reason."""
        with self._store.transaction() as connection:
            connection.execute("UPDATE outbox SET refused = ? WHERE id = ?", (reason, number))

    def refused(self) -> tuple[tuple[int, str], ...]:
        """Records set aside: number and reason."""
        return tuple(
            (row[0], row[1])
            for row in self._store.rows(
                "SELECT id, refused FROM outbox WHERE refused IS NOT NULL ORDER BY id"
            )
        )
