"""What a vehicle did not keep: suppressed fires by reason, and tombstones of evicted clips.

Guarantees: every suppressed fire is counted under (day, trigger, reason), every evicted clip
leaves one tombstone. Counts are gathered for at most `HELD_NS` before they are written, so a
power cut loses at most that much of them; they only tell, they never permit spending.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from contracts.clip import Wire
from contracts.clock import NS_PER_S
from contracts.errors import ExhaustedError
from contracts.ids import EventKey, Sha256Hex
from edge_agent.ledger.store import LedgerStore

HELD_NS = 5 * NS_PER_S
KEPT_DAYS = 70
KEPT_TOMBSTONES = 100_000


@dataclass(frozen=True, slots=True)
class SuppressionRow:
    """How many fires of a trigger were not kept on a day, for one reason."""

    day: int
    trigger_id: str
    reason: str
    fires: int


class Tombstone(Wire):
    """A clip that was here and is not any more. `uploaded` tells whether the cloud has it."""

    clip_id: Sha256Hex
    budget_utc_ns: int
    size_bytes: int
    value: float
    priority: str
    stream: str
    safety: bool
    uploaded: bool
    reason: str
    event: EventKey | None = None


class Suppressions:
    """Counts of fires that were not kept."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._held: Counter[tuple[int, str, str]] = Counter()
        self._writing: Counter[tuple[int, str, str]] = Counter()
        self._held_since_ns: int | None = None
        self._lock = threading.Lock()
        store.add_rider(self)

    def count(self, trigger_id: str, reason: str, fires: int = 1) -> None:
        """Add to today's count; on disk within `HELD_NS`, or with the next transaction.

        On a full disk counts stay in memory until a later transaction succeeds.
        """
        now_ns = self._store.mono_ns()
        with self._lock:
            self._held[self._store.budget_day(), trigger_id, reason] += fires
            if self._held_since_ns is None:
                self._held_since_ns = now_ns
            due = now_ns - self._held_since_ns >= HELD_NS
        if due:
            with suppress(ExhaustedError):
                self.flush()

    def flush(self) -> None:
        """Write the counts that are held back."""
        with self._store.transaction():
            pass

    def write(self, connection: sqlite3.Connection) -> None:
        """A rider's part of a transaction (`LedgerStore.add_rider`)."""
        with self._lock:
            self._writing, self._held, self._held_since_ns = self._held, Counter(), None
        for (day, trigger_id, reason), fires in self._writing.items():
            connection.execute(
                "INSERT INTO suppressed VALUES(?, ?, ?, ?) ON CONFLICT(day, trigger_id, reason)"
                " DO UPDATE SET fires = fires + excluded.fires",
                (day, trigger_id, reason, fires),
            )
        if self._writing:
            oldest = self._store.budget_day() - KEPT_DAYS
            connection.execute("DELETE FROM suppressed WHERE day < ?", (oldest,))

    def ended(self, committed: bool) -> None:
        """Take back what a failed transaction did not write."""
        with self._lock:
            if not committed and self._writing:
                self._held.update(self._writing)
                self._held_since_ns = self._store.mono_ns()
            self._writing = Counter()

    def rows(self, since_day: int = 0) -> tuple[SuppressionRow, ...]:
        """All counts from a day on, those held back included."""
        self.flush()
        found = self._store.rows(
            "SELECT day, trigger_id, reason, fires FROM suppressed WHERE day >= ?"
            " ORDER BY day, trigger_id, reason",
            since_day,
        )
        return tuple(SuppressionRow(*row) for row in found)


class Tombstones:
    """Clips that were evicted, for check-in."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    def add(self, tombstone: Tombstone) -> bool:
        """Record once for each clip. False: it has one."""
        with self._store.transaction() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO tombstone(clip_id, body) VALUES(?, ?)",
                (tombstone.clip_id, tombstone.model_dump_json()),
            ).rowcount
            connection.execute(
                "DELETE FROM tombstone WHERE id <= (SELECT max(id) FROM tombstone) - ?",
                (KEPT_TOMBSTONES,),
            )
        return added == 1

    def after(self, number: int = 0, limit: int = 1000) -> tuple[tuple[int, Tombstone], ...]:
        """Tombstones newer than the one numbered `number`, in order, each with its number."""
        found = self._store.rows(
            "SELECT id, body FROM tombstone WHERE id > ? ORDER BY id LIMIT ?", number, limit
        )
        return tuple((row[0], Tombstone.model_validate_json(row[1])) for row in found)
