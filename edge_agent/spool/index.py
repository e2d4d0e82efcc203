"""The spool's index: a SQLite cache of the sidecars, for queries without reading a folder.

Guarantees: it holds nothing that the folder does not; it is filled from the folder each time
the spool opens, and an index that is damaged or deleted is made anew.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from contracts.errors import TransientError
from edge_agent.spool.entry import Entry, State

INDEX_NAME = "index.sqlite"
_COLUMNS = (
    "clip_id, size_bytes, priority, cellular, value, sequence, utc_ns, state, safety, stream, note"
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS clip({_COLUMNS}, PRIMARY KEY(clip_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS clip_state ON clip(state);
"""


def _entry(row: tuple[Any, ...]) -> Entry:
    found = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return Entry(**{**found, "safety": bool(found["safety"])})


class Index:
    """Entries by clip id. Safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / INDEX_NAME
        self._lock = threading.RLock()
        try:
            self._connection = self._connect()
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(INDEX_NAME + suffix).unlink(missing_ok=True)
            self._connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=10.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            # A cache: what a power cut takes from it is read from the folder again.
            connection.execute("PRAGMA synchronous=OFF")
            connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise TransientError(
                    f"the spool's index failed: {error}", str(self._path)
                ) from error

    def refill(self, entries: Iterable[Entry]) -> None:
        """Replace all of it."""
        with self._use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM clip")
            connection.executemany(
                f"INSERT INTO clip VALUES({','.join('?' * 11)})", map(astuple, entries)
            )
            connection.execute("COMMIT")

    def put(self, entry: Entry) -> None:
        with self._use() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO clip VALUES({','.join('?' * 11)})", astuple(entry)
            )

    def drop(self, clip_id: str) -> None:
        with self._use() as connection:
            connection.execute("DELETE FROM clip WHERE clip_id = ?", (clip_id,))

    def get(self, clip_id: str) -> Entry | None:
        with self._use() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM clip WHERE clip_id = ?",
                (clip_id,),
            ).fetchone()
        return None if row is None else _entry(row)

    def entries(self, state: State | None = None) -> tuple[Entry, ...]:
        """All entries of a state, or all, in the order of commit."""
        with self._use() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM clip WHERE ? IS NULL OR state = ? ORDER BY sequence",
                (state, state),
            ).fetchall()
        return tuple(_entry(row) for row in rows)

    def close(self) -> None:
        self._connection.close()
