"""Which kinds may meet in a search. Raises `InputError` with the column of the text."""

from __future__ import annotations

import datetime as dt

from cloud_ingest.query.columns import ColumnKind, kind_of
from cloud_ingest.query.lexer import fail
from cloud_ingest.query.tree import ColumnRef, CompareOp, Constant, Operand

_SAID: dict[ColumnKind, str] = {
    "text": "text ('...')",
    "number": "a number",
    "boolean": "TRUE or FALSE",
    "time": "a time ('2026-01-31T12:00:00Z')",
    "texts": "a list; write 'value' = ANY(column)",
}


def parse_time(text: str) -> dt.datetime | None:
    """An ISO 8601 time, taken as UTC where it names no zone; None for any other text."""
    try:
        time = dt.datetime.fromisoformat(text)
        zoned = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time
        return zoned.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def check_constant(column: ColumnRef, constant: Constant) -> None:
    """`constant` is of the column's kind."""
    kind = kind_of(column)
    value = constant.value
    fits = {
        "text": isinstance(value, str),
        "number": isinstance(value, float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "time": isinstance(value, str) and parse_time(value) is not None,
        "texts": False,
    }[kind]
    if not fits:
        raise fail(f"{column.name} is {_SAID[kind]}, not {value!r:.60}", constant.position)


def check_compare(left: Operand, op: CompareOp, right: Operand, position: int) -> None:
    if isinstance(left, Constant) and isinstance(right, Constant):
        raise fail("one side of a comparison must be a column", position)
    for one, other in ((left, right), (right, left)):
        if isinstance(one, ColumnRef):
            if kind_of(one) == "texts":
                raise fail(f"{one.name} is {_SAID['texts']}", one.position)
            if kind_of(one) == "boolean" and op not in ("=", "<>"):
                raise fail(f"{one.name} is true or false and has no {op}", position)
            if isinstance(other, Constant):
                check_constant(one, other)
            elif kind_of(one) != kind_of(other):
                raise fail(
                    f"{one.name} is {_SAID[kind_of(one)]}, {other.name} {_SAID[kind_of(other)]}",
                    position,
                )


def check_like(column: ColumnRef, pattern: Constant) -> None:
    if kind_of(column) != "text" or not isinstance(pattern.value, str):
        raise fail("LIKE compares a text column with a text", pattern.position)
    trailing = len(pattern.value) - len(pattern.value.rstrip("\\"))
    if trailing % 2:
        raise fail("a pattern must not end with a lone backslash", pattern.position)


def check_truth(column: ColumnRef) -> None:
    if kind_of(column) != "boolean":
        raise fail(f"expected a comparison after {column.name}", column.position)
