"""The ledger's SQLite file: transactions, and time that a wall clock cannot bend.

Guarantees: a transaction that returned is on disk (WAL, `synchronous=FULL`); budget time
never goes back, not over restarts, reboots or wrong clocks.

Budget time: within one boot it is `utc at its first open + monotonic time since`, so a jump
of the wall clock neither starts a new day nor repeats one, and a restart of the process on
the same boot goes on from the same anchor. On another boot the anchor is
`max(utc now, floor)`, and the floor is raised by every transaction. A wall clock that was
once far ahead therefore holds budgets back (days then pass only while the vehicle runs):
the error is always on the side of spending less.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import structlog

from contracts.clock import NS_PER_DAY, Clock
from contracts.errors import (
    CorruptError,
    ExhaustedError,
    InputError,
    RefusedError,
    TransientError,
)

SCHEMA_VERSION = 2
_VERSION_1 = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE spent(
    day INTEGER, scope TEXT, clips INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY(day, scope)) WITHOUT ROWID;
CREATE TABLE reservation(
    trigger_id TEXT, fired_mono_ns INTEGER, day INTEGER NOT NULL, pool TEXT NOT NULL,
    bytes INTEGER NOT NULL, PRIMARY KEY(trigger_id, fired_mono_ns)) WITHOUT ROWID;
CREATE TABLE settled(event TEXT PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE trigger_state(
    trigger_id TEXT PRIMARY KEY, boot_id TEXT, fired_mono_ns INTEGER,
    clip_bytes INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE suppressed(
    day INTEGER, trigger_id TEXT, reason TEXT, fires INTEGER NOT NULL,
    PRIMARY KEY(day, trigger_id, reason)) WITHOUT ROWID;
CREATE TABLE cellular(day INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
CREATE TABLE cellular_debit(
    id INTEGER PRIMARY KEY AUTOINCREMENT, day INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE tombstone(
    id INTEGER PRIMARY KEY AUTOINCREMENT, clip_id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE outbox(
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, trigger_id TEXT NOT NULL,
    safety INTEGER NOT NULL, body TEXT NOT NULL, refused TEXT);
"""
_VERSION_2 = """
CREATE TABLE total(name TEXT PRIMARY KEY, amount NOT NULL) WITHOUT ROWID;
"""
MIGRATIONS = (_VERSION_1, _VERSION_2)
"""What makes version n from n - 1; nothing is ever taken away."""

_log = structlog.get_logger(__name__)

_FULL = frozenset({sqlite3.SQLITE_FULL})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_DENIED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors of the block into this project's."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        place = str(path)
        if code in _FULL:
            raise ExhaustedError("the disk is full", place) from error
        if code in _BUSY:
            raise TransientError("another process holds the file", place) from error
        if code in _CORRUPT:
            raise CorruptError(f"not a sound database: {error}", place) from error
        if code in _DENIED:
            raise RefusedError(f"cannot be opened or written: {error}", place) from error
        raise TransientError(f"database error: {error}", place) from error
    except UnicodeDecodeError as error:
        # SQLite's own words quote the damaged schema, and Python cannot read them.
        raise CorruptError("not a sound database: its schema is no text", str(path)) from error


def _schema_of(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
    return found.fetchall()


@cache
def _expected_schema() -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("".join(MIGRATIONS))
        return _schema_of(connection)


class Rider(Protocol):
    """Holds small writes back, to go with the next transaction instead of one each."""

    def write(self, connection: sqlite3.Connection) -> None:
        """Write what is held; `ended` tells whether it is on disk."""
        ...

    def ended(self, committed: bool) -> None: ...


class LedgerStore:
    """One connection to the ledger, safe to share between threads.

    Args:
        path: the file; created with its tables when absent. Its folder must exist.
        clock: read once for each decision.
        boot_id: names this boot of the machine; the anchor of budget time is kept per boot.
        connection: the class of the connection: the port through which tests fail.

    Raises:
        CorruptError: the file is damaged. It is left as it is: starting afresh would forget
            what was spent, so that choice is the operator's.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        boot_id: str,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        self.path = path
        self.boot_id = boot_id
        self._clock = clock
        self._lock = threading.RLock()
        self._riders: list[Rider] = []
        with sqlite_errors(path):
            self._connection = sqlite3.connect(
                path, timeout=10.0, isolation_level=None, check_same_thread=False,
                factory=connection,
            )  # fmt: skip
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")
                self._check()
                self._create_tables()
                self._check_schema()
                self._anchor_mono_ns, self._anchor_utc_ns = self._load_anchor()
            except BaseException:
                self._connection.close()
                raise

    def _create_tables(self) -> None:
        version = self._version()
        if version == SCHEMA_VERSION:
            return  # nothing to write: a full disk must not keep a vehicle from coming up
        if version > SCHEMA_VERSION:
            raise InputError(
                f"ledger has schema {version}, this software knows {SCHEMA_VERSION}",
                str(self.path),
            )
        self._connection.execute("BEGIN IMMEDIATE")
        for migration in MIGRATIONS[self._version() :]:
            for statement in filter(str.strip, migration.split(";")):
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _check(self) -> None:
        """Look at every page: damage is found now, not when a decision rests on it."""
        (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise CorruptError(f"not a sound database: {found}", str(self.path))

    def _check_schema(self) -> None:
        """A name in which a bit has flipped is sound to SQLite, and to no query."""
        if _schema_of(self._connection) != _expected_schema():
            raise CorruptError("its tables are not those that were made", str(self.path))

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _load_anchor(self) -> tuple[int, int]:
        mono_ns, utc_ns = self._clock.mono_ns(), self._clock.utc_ns()
        kept = dict(self._connection.execute("SELECT key, value FROM meta").fetchall())
        anchor = (int(kept.get("anchor_mono_ns", 0)), int(kept.get("anchor_utc_ns", 0)))
        if kept.get("boot_id") == self.boot_id and anchor[0] <= mono_ns:
            return anchor
        anchor = (mono_ns, max(utc_ns, int(kept.get("floor_utc_ns", 0))))
        try:
            self._put_meta(
                boot_id=self.boot_id, anchor_mono_ns=anchor[0], anchor_utc_ns=anchor[1],
                floor_utc_ns=anchor[1],
            )  # fmt: skip
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _FULL:
                raise
            # A full disk: nothing can be spent, but what is here can still be told and sent.
            _log.error("ledger cannot be written", reason=str(error))
        return anchor

    def _put_meta(self, **values: str | int) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES(?, ?)", list(values.items())
            )
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def mono_ns(self) -> int:
        return self._clock.mono_ns()

    def budget_utc_ns(self) -> int:
        """Now, on the time that budgets run on; never goes back."""
        elapsed_ns = max(0, self._clock.mono_ns() - self._anchor_mono_ns)
        return self._anchor_utc_ns + elapsed_ns

    def budget_day(self) -> int:
        """Days since 1970-01-01 (UTC) of budget time."""
        return self.budget_utc_ns() // NS_PER_DAY

    def add_rider(self, rider: Rider) -> None:
        """Have `rider` add what it holds back to every transaction."""
        self._riders.append(rider)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing; on disk when the block has returned."""
        with self._lock, sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                for rider in self._riders:
                    rider.write(self._connection)
                self._connection.execute(
                    "UPDATE meta SET value = max(value, ?) WHERE key = 'floor_utc_ns'",
                    (self.budget_utc_ns(),),
                )
                self._connection.execute("COMMIT")
            except BaseException:
                try:
                    self._roll_back()
                finally:
                    for rider in self._riders:
                        rider.ended(committed=False)
                raise
            for rider in self._riders:
                rider.ended(committed=True)

    def rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        """What a SELECT finds, all of it."""
        with self._lock, sqlite_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def abandon(self) -> None:
        """Close without writing."""
        self._connection.close()

    def close(self) -> None:
        """Write what was held back and close. A ledger that was not closed loses only that."""
        with self.transaction():
            pass
        self._connection.close()
