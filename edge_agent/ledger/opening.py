"""Opening a ledger that may be damaged: set aside, never deleted, and on the safe side after.

Guarantees: a vehicle that nobody can reach comes up again. The damaged files stay beside the new
one under `damaged-<n>`, with the reason; event records that still match their digest, tombstones
and counts that still read as such are carried over. Metered bytes are carried over when their seal
holds; otherwise the month counts as spent, since a cap that was forgotten would be exceeded.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import structlog
from pydantic import ValidationError

from contracts.clock import Clock
from contracts.errors import CorruptError
from contracts.ids import sha256_hex
from contracts.upload import EventRecord
from edge_agent.ledger.cellular import SEAL, seal_of
from edge_agent.ledger.ledger import Ledger
from edge_agent.ledger.records import Tombstone

_SUFFIXES = ("", "-wal", "-shm")
_MAX_ROWS = 200_000
"""Bounds what a damaged file can make of itself in memory."""

log = structlog.get_logger(__name__)


def open_ledger(path: Path, clock: Clock, boot_id: str) -> Ledger:
    """The ledger at `path`, made anew when it is damaged. Raises as `Ledger`, save that."""
    try:
        return Ledger(path, clock, boot_id)
    except CorruptError as error:
        aside = set_aside(path, error.message, clock)
        log.error("ledger was damaged", reason=error.message, aside=aside.name)
    ledger = Ledger(path, clock, boot_id)
    _carry_over(aside, ledger)
    return ledger


def set_aside(path: Path, reason: str, clock: Clock) -> Path:
    """Rename a database and what belongs to it; where it is now."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    told = {"reason": reason, "utc_ns": clock.utc_ns()}
    aside.with_name(aside.name + ".reason.json").write_text(json.dumps(told) + "\n")
    # The log first: without it the file is older, with another's it would be neither.
    for suffix in reversed(_SUFFIXES):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def _carry_over(aside: Path, ledger: Ledger) -> None:
    kept: dict[str, int] = {}
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{aside}?mode=ro", uri=True)) as old,
    ):
        kept["events"] = sum(ledger.outbox.put(record) for record in _events(old))
        kept["tombstones"] = sum(ledger.tombstones.add(stone) for stone in _tombstones(old))
        metered = _metered(old)
        if metered is not None:
            ledger.cellular.take_over(metered)
            kept["metered_days"] = len(metered)
    if "metered_days" not in kept:
        ledger.cellular.spend_month()
        log.error("metered bytes are unknown: this month's count as spent")
    log.warning("carried over from the damaged ledger", **kept)


def _rows(old: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    """What can be read of a query, up to where the file is damaged."""
    with suppress(sqlite3.Error, OverflowError, UnicodeError):
        yield from old.execute(f"{query} LIMIT {_MAX_ROWS}")


def _events(old: sqlite3.Connection) -> Iterator[EventRecord]:
    for key, body in _rows(old, "SELECT key, body FROM outbox WHERE refused IS NULL ORDER BY id"):
        if isinstance(body, str) and sha256_hex(body.encode(errors="replace")) == key:
            with suppress(ValidationError):
                yield EventRecord.model_validate_json(body)


def _tombstones(old: sqlite3.Connection) -> Iterator[Tombstone]:
    for (body,) in _rows(old, "SELECT body FROM tombstone ORDER BY id"):
        if isinstance(body, str):
            with suppress(ValidationError):
                yield Tombstone.model_validate_json(body)


def _metered(old: sqlite3.Connection) -> list[tuple[int, int]] | None:
    """Days and their metered bytes; None when they are not as they were written."""
    found: Iterable[tuple[object, ...]] = list(_rows(old, "SELECT day, bytes FROM cellular"))
    seal = list(_rows(old, f"SELECT value FROM meta WHERE key = '{SEAL}'"))
    days = [(d, b) for d, b in found if isinstance(d, int) and isinstance(b, int)]
    return days if seal and seal[0][0] == seal_of(days) else None
