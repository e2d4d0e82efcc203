"""The ledger as one object: its parts share a file, a clock and a transaction.

Guarantees: see each part. It is apart from the spool's index, which is a cache and may be
deleted at any time; this file may not.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from contracts.clock import Clock
from edge_agent.ledger.cellular import Cellular
from edge_agent.ledger.outbox import Outbox
from edge_agent.ledger.records import Suppressions, Tombstones
from edge_agent.ledger.spending import Spending
from edge_agent.ledger.store import LedgerStore
from edge_agent.ledger.totals import Totals


class Ledger:
    """Budgets, cellular bytes, suppressions, tombstones, outbox and totals of one vehicle.

    Args:
        path: the SQLite file, created when absent; its folder must exist.
        clock: where time comes from.
        boot_id: names this boot, the same as in the event keys of this boot.
        connection: what speaks to the file; tests fail here.

    Raises:
        CorruptError: the file is damaged; it is left for the operator.
        RefusedError: it cannot be opened or written.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        boot_id: str,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        self._store = LedgerStore(path, clock, boot_id, connection)
        try:
            self.cellular = Cellular(self._store)
        except BaseException:
            self._store.abandon()
            raise
        self.spending = Spending(self._store)
        self.suppressions = Suppressions(self._store)
        self.tombstones = Tombstones(self._store)
        self.outbox = Outbox(self._store, self.suppressions)
        self.totals = Totals(self._store)

    @property
    def path(self) -> Path:
        return self._store.path

    def budget_utc_ns(self) -> int:
        """Now, on the time that budgets run on (`edge_agent.ledger.store`)."""
        return self._store.budget_utc_ns()

    def budget_day(self) -> int:
        """Days since 1970-01-01 (UTC) of budget time."""
        return self._store.budget_day()

    def flush(self) -> None:
        """Write suppression counts and totals that are held back."""
        self.suppressions.flush()

    def close(self) -> None:
        """Flush and close. Not needed for durability of anything but held counts."""
        self._store.close()
