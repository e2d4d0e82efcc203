"""Pages by key: each goes on behind the last row of the one before, whatever came since.

The order is the column's, absent values last, then `clip_id`. A cursor is opaque to clients;
it names the search that it belongs to, and a strange one is an `InputError`.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cloud_ingest.query.columns import COLUMNS
from cloud_ingest.query.compile import column_of
from cloud_ingest.query.typing_rules import parse_time
from cloud_ingest.schema import clips
from contracts.errors import InputError

Value = str | float | bool | None
SIMILARITY = "similarity"
"""What a search by likeness is ordered by, in a cursor."""


@dataclass(frozen=True, slots=True)
class Key:
    """The order, and the row behind which the next page starts."""

    column: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Cursor:
    """`left` is what remains of the search's LIMIT."""

    search: str
    value: Value
    clip_id: str
    left: int | None

    def text(self) -> str:
        fields = [self.search, self.value, self.clip_id, self.left]
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


def search_digest(where: str, include_quarantined: bool) -> str:
    return hashlib.sha256(f"{include_quarantined}\n{where}".encode()).hexdigest()[:16]


def parse_cursor(text: str, search: str, column: str) -> Cursor:
    """A cursor of this search. Raises `InputError`."""
    try:
        fields = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        found, value, clip_id, left = fields
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise InputError("not a cursor of this service", "cursor") from error
    fits = value is None or {
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "text": isinstance(value, str),
        "time": isinstance(value, str) and parse_time(value) is not None,
    }.get("number" if column == SIMILARITY else COLUMNS[column], False)
    if not (isinstance(clip_id, str) and (left is None or type(left) is int) and fits):
        raise InputError("not a cursor of this service", "cursor")
    if found != search:
        raise InputError("this cursor belongs to another search", "cursor")
    return Cursor(search, value, clip_id, left)


def order_by(key: Key) -> tuple[sa.ColumnElement[Any], ...]:
    column = column_of(key.column)
    ordered = column.desc() if key.descending else column.asc()
    return ordered.nulls_last(), column_of("clip_id").asc()


def behind(key: Key, cursor: Cursor) -> sa.ColumnElement[bool]:
    """Rows that come after the cursor's in `order_by(key)`."""
    absent = clips.c[key.column].is_(None)
    later = column_of("clip_id") > sa.literal(cursor.clip_id, sa.Text)
    if cursor.value is None:
        return sa.and_(absent, later)
    column = column_of(key.column)
    value = _bound(key.column, cursor.value)
    beyond = column < value if key.descending else column > value
    return sa.or_(beyond, sa.and_(column == value, later), absent)


def value_of(value: object) -> Value:
    """A row's value as a cursor holds it."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    return value if isinstance(value, (str, float, bool, int)) else None


def _bound(column: str, value: Value) -> sa.ColumnElement[Any]:
    match COLUMNS[column]:
        case "time":
            return sa.literal(parse_time(str(value)), sa.DateTime(timezone=True))
        case "number":
            return sa.literal(value, sa.Double)
        case "boolean":
            return sa.literal(value, sa.Boolean)
        case _:
            return sa.literal(value, sa.Text)
