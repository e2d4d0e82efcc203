"""Bytes on metered links, per day and month.

Guarantees: bytes are debited before they are sent and settled from what the socket really
sent; after a crash the debit stands, so the count is never below what went over the air. The
counts are sealed by their digest: a bit that flips in one is found when the ledger opens. Days
and months are UTC, of budget time. Caps are `edge_agent.upload.policy`'s.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from contracts.errors import CorruptError, InputError
from contracts.ids import sha256_hex
from edge_agent.ledger.store import LedgerStore

KEPT_DAYS = 400
SEAL = "cellular_seal"
"""The key of the seal among the ledger's meta values."""
ALL_BYTES = 2**62
"""More than any cap, and what counts as spent where nothing is known."""
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


def seal_of(days: Iterable[tuple[int, int]]) -> str:
    """The digest of each day's metered bytes, in any order."""
    return sha256_hex(repr(sorted(days)).encode())


def _seal(connection: sqlite3.Connection) -> None:
    days = connection.execute("SELECT day, bytes FROM cellular").fetchall()
    connection.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (SEAL, seal_of(days)))


def _add(connection: sqlite3.Connection, day: int, wire_bytes: int) -> None:
    connection.execute(
        "INSERT INTO cellular VALUES(?, ?)"
        " ON CONFLICT(day) DO UPDATE SET bytes = bytes + excluded.bytes",
        (day, wire_bytes),
    )


class Cellular:
    """Debits and settlements of metered bytes. Raises `CorruptError` when the seal is broken."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        seal = store.rows("SELECT value FROM meta WHERE key = ?", SEAL)
        days = store.rows("SELECT day, bytes FROM cellular")
        # Ledgers of earlier versions have none until they debit something.
        if seal and seal[0][0] != seal_of((row[0], row[1]) for row in days):
            raise CorruptError("the metered bytes are not those that were written", str(store.path))

    def take_over(self, days: Iterable[tuple[int, int]]) -> None:
        """Set what was spent on these days, from a ledger that this one takes the place of."""
        with self._store.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO cellular VALUES(?, ?)", days)
            _seal(connection)

    def spend_month(self) -> None:
        """Count this month as spent: what went over the air before is not known."""
        self.take_over([(self._store.budget_day(), ALL_BYTES)])

    def spent(self) -> CellularSpent:
        today = self._store.budget_day()
        first, last = month_of(today)
        found = self._store.rows(
            "SELECT day, bytes FROM cellular WHERE day BETWEEN ? AND ?", first, last
        )
        month_bytes = sum(spent for _, spent in found)
        day_bytes = sum(spent for day, spent in found if day == today)
        return CellularSpent(min(ALL_BYTES, day_bytes), min(ALL_BYTES, month_bytes))

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
            _seal(connection)
            return int(cursor.lastrowid or 0)

    def settle(self, debit: int, wire_bytes: int) -> bool:
        """Replace a debit by what the socket sent. False: it was settled before."""
        with self._store.transaction() as connection:
            found = connection.execute(
                "DELETE FROM cellular_debit WHERE id = ? RETURNING day, bytes", (debit,)
            ).fetchone()
            if found is not None:
                _add(connection, found[0], max(0, wire_bytes) - found[1])
                _seal(connection)
        return found is not None
