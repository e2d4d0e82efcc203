"""Bytes on metered links, per day and month.

Guarantees: bytes are debited before they are sent and settled from what the socket really
sent; after a crash the debit stands, so the count is never below what went over the air.
Days and months are UTC, of budget time. Caps are `edge_agent.upload.policy`'s.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from dataclasses import dataclass

from contracts.errors import InputError
from edge_agent.ledger.store import LedgerStore

KEPT_DAYS = 400
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class CellularSpent:
    """Wire bytes of today and of this month, today's included."""

    day_bytes: int
    month_bytes: int


def month_of(day: int) -> tuple[int, int]:
    """First and last day number of the month that a day number lies in."""
    date = _EPOCH + dt.timedelta(days=day)
    first = date.replace(day=1)
    following = (first + dt.timedelta(days=32)).replace(day=1)
    return (first - _EPOCH).days, (following - _EPOCH).days - 1


def _add(connection: sqlite3.Connection, day: int, wire_bytes: int) -> None:
    connection.execute(
        "INSERT INTO cellular VALUES(?, ?)"
        " ON CONFLICT(day) DO UPDATE SET bytes = bytes + excluded.bytes",
        (day, wire_bytes),
    )


class Cellular:
    """Debits and settlements of metered bytes."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    def spent(self) -> CellularSpent:
        today = self._store.budget_day()
        first, last = month_of(today)
        found = self._store.rows(
            "SELECT day, bytes FROM cellular WHERE day BETWEEN ? AND ?", first, last
        )
        return CellularSpent(
            day_bytes=sum(spent for day, spent in found if day == today),
            month_bytes=sum(spent for _, spent in found),
        )

    def debit(self, wire_bytes: int) -> int:
        """Charge bytes that are about to be sent; the debit's number, for `settle`."""
        if wire_bytes < 0:
            raise InputError(f"a debit cannot be {wire_bytes} bytes")
        day = self._store.budget_day()
        with self._store.transaction() as connection:
            _add(connection, day, wire_bytes)
            cursor = connection.execute(
                "INSERT INTO cellular_debit(day, bytes) VALUES(?, ?)", (day, wire_bytes)
            )
            connection.execute("DELETE FROM cellular_debit WHERE day < ?", (day - KEPT_DAYS,))
            connection.execute("DELETE FROM cellular WHERE day < ?", (day - KEPT_DAYS,))
            return int(cursor.lastrowid or 0)

    def settle(self, debit: int, wire_bytes: int) -> bool:
        """Replace a debit by what the socket sent. False: it was settled before."""
        with self._store.transaction() as connection:
            found = connection.execute(
                "DELETE FROM cellular_debit WHERE id = ? RETURNING day, bytes", (debit,)
            ).fetchone()
            if found is not None:
                _add(connection, found[0], max(0, wire_bytes) - found[1])
        return found is not None
