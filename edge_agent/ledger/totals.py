"""Totals by name since the vehicle's state was made; they never fall.

Whoever counts keeps its own numbers in memory, at no cost to the drive, and is asked for them
when a transaction is written anyway: a power cut loses what was counted since the last one.
They only tell, they never permit spending.

The mark set by `start` and cleared by `end` tells whether the run before ended in order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from edge_agent.ledger.store import LedgerStore

Amounts = Mapping[str, float]
STARTS = "starts"
UNCLEAN_STARTS = "unclean_starts"
_MARK = "running"


class Totals:
    """Durable sums of what this process counts and what those before it counted."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._sources: list[Callable[[], Amounts]] = []
        self._before: dict[str, float] = dict(store.rows("SELECT name, amount FROM total"))
        self._written: dict[str, float] = {}
        self._writing: dict[str, float] = {}
        self._starts = {STARTS: 0.0, UNCLEAN_STARTS: 0.0}
        self.watch(lambda: self._starts)
        store.add_rider(self)

    def watch(self, source: Callable[[], Amounts]) -> None:
        """Add what `source` has counted in this process so far.

        It may be asked in any thread; its amounts only rise, and its names are its own.
        """
        self._sources.append(source)

    def start(self) -> None:
        """Count this start, as an unclean one when the run before did not end in order."""
        running = bool(self._store.rows("SELECT 1 FROM meta WHERE key = ?", _MARK))
        self._starts[STARTS] += 1
        self._starts[UNCLEAN_STARTS] += running
        with self._store.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES(?, 1)", (_MARK,))

    def end(self) -> None:
        """The run ends in order."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM meta WHERE key = ?", (_MARK,))

    def all(self) -> dict[str, float]:
        """Every total as of now, what is not written yet included."""
        found = dict(self._before)
        for name, amount in self._counted().items():
            found[name] = found.get(name, 0) + amount
        return found

    def _counted(self) -> dict[str, float]:
        return {name: n for source in self._sources for name, n in source().items()}

    def write(self, connection: sqlite3.Connection) -> None:
        """A rider's part of a transaction (`LedgerStore.add_rider`)."""
        self._writing = self._counted()
        connection.executemany(
            "INSERT INTO total VALUES(?, ?)"
            " ON CONFLICT(name) DO UPDATE SET amount = amount + excluded.amount",
            [
                (name, amount - self._written.get(name, 0))
                for name, amount in self._writing.items()
                if amount != self._written.get(name, 0)
            ],
        )

    def ended(self, committed: bool) -> None:
        """Remember what is on disk."""
        if committed:
            self._written = self._writing
