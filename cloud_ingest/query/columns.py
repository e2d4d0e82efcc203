"""The columns that a search may name, with their kinds.

From the catalog's table, so that a new column is searchable at once; what people should not
search by (the manifest as a whole) is not a column of these kinds.
"""

from __future__ import annotations

import difflib
from typing import Literal

import sqlalchemy as sa

from cloud_ingest.query.lexer import fail
from cloud_ingest.query.tree import ColumnRef
from cloud_ingest.schema import clips

ColumnKind = Literal["text", "number", "boolean", "time", "texts"]


def _kind(column: sa.Column[object]) -> ColumnKind | None:
    match column.type:
        case sa.Text():
            return "text"
        case sa.Double() | sa.BigInteger():
            return "number"
        case sa.Boolean():
            return "boolean"
        case sa.DateTime():
            return "time"
        case sa.ARRAY():
            return "texts"
    return None


_INTERNAL = {"mining_row"}

COLUMNS: dict[str, ColumnKind] = {
    column.name: kind
    for column in clips.columns
    if column.name not in _INTERNAL and (kind := _kind(column)) is not None
}


def kind_of(column: ColumnRef) -> ColumnKind:
    """The column's kind. Raises `InputError` with the nearest name for an unknown one."""
    kind = COLUMNS.get(column.name)
    if kind is None:
        near = difflib.get_close_matches(column.name, COLUMNS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise fail(f"there is no column {column.name[:80]!r}{hint}", column.position)
    return kind
