"""Spent budget per day: clips and bytes of each trigger and of each pool of the vehicle.

Guarantees: a fire is reserved once and an event settled once, whatever crashes between; a
reservation whose clip never came stands until somebody releases it, so a crash never gives
budget back. A clip with several causes is charged in full to each of its triggers and once
to the vehicle. Deciding is `edge_agent.selection.budget`'s.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from contracts.ids import EventKey
from edge_agent.ledger.store import LedgerStore

Pool = Literal["ordinary", "safety", "random"]
POOLS: tuple[Pool, ...] = get_args(Pool)
KEPT_DAYS = 70

Fire = tuple[str, int]
"""A fire's key: trigger id and `fired_mono_ns`."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used of a budget."""

    clips: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DaySpending:
    """One day's spending as a decision for one trigger needs it.

    `last_fire_mono_ns` is None when the trigger has not fired on this boot.
    `clip_bytes` is the size of the trigger's last packed clip, 0 when it has none.
    """

    day: int
    trigger: Spent
    pools: dict[Pool, Spent]
    last_fire_mono_ns: int | None
    clip_bytes: int


def _charge(
    connection: sqlite3.Connection, day: int, scope: str, clips: int, size_bytes: int
) -> None:
    connection.execute(
        "INSERT INTO spent VALUES(?, ?, ?, ?) ON CONFLICT(day, scope) DO UPDATE SET"
        " clips = clips + excluded.clips, bytes = bytes + excluded.bytes",
        (day, scope, clips, size_bytes),
    )


def _undo(connection: sqlite3.Connection, fires: Iterable[Fire]) -> int | None:
    """Take back reservations; the day of the earliest, or None when there was none."""
    days = []
    for trigger_id, fired_mono_ns in fires:
        found = connection.execute(
            "DELETE FROM reservation WHERE trigger_id = ? AND fired_mono_ns = ?"
            " RETURNING day, pool, bytes",
            (trigger_id, fired_mono_ns),
        ).fetchall()
        for day, pool, size_bytes in found:
            _charge(connection, day, f"trigger/{trigger_id}", -1, -size_bytes)
            _charge(connection, day, f"pool/{pool}", -1, -size_bytes)
            days.append(day)
    return min(days) if days else None


class Spending:
    """Reservations and settlements of the capture budget."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._held_fires: dict[str, int] = {}
        self._writing: dict[str, int] = {}
        self._lock = threading.Lock()
        store.add_rider(self)

    def of(self, trigger_id: str) -> DaySpending:
        """Today's spending as it concerns one trigger."""
        day = self._store.budget_day()
        # Before the disk is asked: a mark that is held now may be there by then, and held no more.
        held_fire = self._held_fires.get(trigger_id)
        spent = {
            scope: Spent(clips, size_bytes)
            for scope, clips, size_bytes in self._store.rows(
                "SELECT scope, clips, bytes FROM spent WHERE day = ?"
                " AND (scope = ? OR scope LIKE 'pool/%')",
                day,
                f"trigger/{trigger_id}",
            )
        }
        state = self._store.rows(
            "SELECT boot_id, fired_mono_ns, clip_bytes FROM trigger_state WHERE trigger_id = ?",
            trigger_id,
        )
        boot_id, fired_mono_ns, clip_bytes = state[0] if state else (None, None, 0)
        last_fire_mono_ns = fired_mono_ns if boot_id == self._store.boot_id else None
        return DaySpending(
            day=day,
            trigger=spent.get(f"trigger/{trigger_id}", Spent()),
            pools={pool: spent.get(f"pool/{pool}", Spent()) for pool in POOLS},
            last_fire_mono_ns=last_fire_mono_ns if held_fire is None else held_fire,
            clip_bytes=clip_bytes,
        )

    def is_reserved(self, fire: Fire) -> bool:
        return bool(
            self._store.rows(
                "SELECT 1 FROM reservation WHERE trigger_id = ? AND fired_mono_ns = ?", *fire
            )
        )

    def reserve(self, fire: Fire, pool: Pool, size_bytes: int) -> bool:
        """Charge one clip of about `size_bytes`, to be settled. False: it was done before."""
        day = self._store.budget_day()
        trigger_id, fired_mono_ns = fire
        with self._store.transaction() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO reservation VALUES(?, ?, ?, ?, ?)",
                (trigger_id, fired_mono_ns, day, pool, size_bytes),
            ).rowcount
            if added == 1:
                _charge(connection, day, f"trigger/{trigger_id}", 1, size_bytes)
                _charge(connection, day, f"pool/{pool}", 1, size_bytes)
                self.note_fire(fire)
        return added == 1

    def note_fire(self, fire: Fire) -> None:
        """Start a cooldown; on disk with the next transaction, whichever thread makes it."""
        with self._lock:
            self._held_fires[fire[0]] = fire[1]

    def write(self, connection: sqlite3.Connection) -> None:
        """A rider's part of a transaction (`LedgerStore.add_rider`)."""
        with self._lock:
            self._writing = dict(self._held_fires)
        connection.executemany(
            "INSERT INTO trigger_state(trigger_id, boot_id, fired_mono_ns) VALUES(?, ?, ?)"
            " ON CONFLICT(trigger_id) DO UPDATE SET boot_id = excluded.boot_id,"
            " fired_mono_ns = excluded.fired_mono_ns",
            [(trigger, self._store.boot_id, at) for trigger, at in self._writing.items()],
        )

    def ended(self, committed: bool) -> None:
        """Forget held fires once they are on disk; one noted meanwhile is held on."""
        with self._lock:
            for trigger_id, fired_mono_ns in self._writing.items():
                if committed and self._held_fires[trigger_id] == fired_mono_ns:
                    del self._held_fires[trigger_id]
            self._writing = {}

    def settle(self, event: EventKey, fires: Sequence[Fire], pool: Pool, size_bytes: int) -> bool:
        """Turn an event's reservations into what its clip took. False: settled before."""
        with self._store.transaction() as connection:
            reserved_day = _undo(connection, fires)
            day = self._store.budget_day() if reserved_day is None else reserved_day
            added = connection.execute(
                "INSERT OR IGNORE INTO settled VALUES(?, ?)", (event.text(), day)
            ).rowcount
            if added == 1:
                for trigger_id in dict.fromkeys(fire[0] for fire in fires):
                    _charge(connection, day, f"trigger/{trigger_id}", 1, size_bytes)
                    connection.execute(
                        "INSERT INTO trigger_state(trigger_id, clip_bytes) VALUES(?, ?) ON"
                        " CONFLICT(trigger_id) DO UPDATE SET clip_bytes = excluded.clip_bytes",
                        (trigger_id, size_bytes),
                    )
                _charge(connection, day, f"pool/{pool}", 1, size_bytes)
            oldest = self._store.budget_day() - KEPT_DAYS
            connection.execute("DELETE FROM settled WHERE day < ?", (oldest,))
            connection.execute("DELETE FROM reservation WHERE day < ?", (oldest,))
            connection.execute("DELETE FROM spent WHERE day < ?", (oldest,))
        return added == 1

    def release(self, fires: Sequence[Fire]) -> bool:
        """Give reservations back for a clip that will not come. False: there were none."""
        with self._store.transaction() as connection:
            return _undo(connection, fires) is not None
