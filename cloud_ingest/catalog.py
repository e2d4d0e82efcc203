"""Reads the catalog: search by the query language, and one clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import to_ns
from cloud_ingest.problems import AbsentError
from cloud_ingest.query.compile import compile_where
from cloud_ingest.query.pages import (
    Cursor,
    Key,
    behind,
    order_by,
    parse_cursor,
    search_digest,
    value_of,
)
from cloud_ingest.query.parser import parse_query
from cloud_ingest.query.tree import Similarity
from cloud_ingest.schema import READY, clips
from contracts.clip import ClipManifest
from contracts.clip_search import ClipPage, ClipRow

_INTERNAL = {"manifest", "mining_row"}
SHOWN = [column for column in clips.columns if column.name not in _INTERNAL]
_NEWEST_FIRST = Key("start_utc", descending=True)


class Catalog:
    """The clips of all vehicles, as operators see them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def search(
        self, where: str, limit: int, cursor_text: str | None, include_quarantined: bool
    ) -> ClipPage:
        """One page of at most `limit` clips. Raises `InputError` with the place in `where`."""
        query = parse_query(where)
        key = _NEWEST_FIRST
        if isinstance(query.order, Similarity):
            raise TypeError("a search by likeness is the mining index's")
        if query.order is not None:
            key = Key(query.order.column.name, query.order.descending)
        digest = search_digest(where, include_quarantined)
        left, statement = query.limit, sa.select(*SHOWN).order_by(*order_by(key))
        if query.where is not None:
            statement = statement.where(compile_where(query.where))
        if not include_quarantined:
            statement = statement.where(clips.c.state == READY)
        if cursor_text is not None:
            cursor = parse_cursor(cursor_text, digest, key.column)
            left, statement = cursor.left, statement.where(behind(key, cursor))
        take = limit if left is None else min(limit, left)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(statement.limit(take + 1))).mappings().all()
        page, left = rows[:take], None if left is None else left - take
        more = len(rows) > take and bool(page) and left != 0
        following = None
        if more:
            last = page[-1]
            following = Cursor(digest, value_of(last[key.column]), last["clip_id"], left).text()
        return ClipPage(clips=tuple(map(shown_row, page)), cursor=following)

    async def show(self, clip_id: str) -> tuple[ClipRow, ClipManifest | None]:
        """A clip and its manifest, the quarantined too. Raises `AbsentError`."""
        statement = sa.select(clips).where(clips.c.clip_id == clip_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        if row is None:
            raise AbsentError("there is no such clip", clip_id)
        manifest = row["manifest"]
        return shown_row(row), None if manifest is None else ClipManifest.model_validate(manifest)


async def shown_clips(engine: AsyncEngine, clip_ids: Sequence[str]) -> dict[str, ClipRow]:
    """Some clips by id; one that is not there is left out."""
    statement = sa.select(*SHOWN).where(clips.c.clip_id.in_(clip_ids))
    async with engine.connect() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return {row["clip_id"]: shown_row(row) for row in rows}


def shown_row(row: sa.RowMapping | Mapping[str, Any]) -> ClipRow:
    """A row of `SHOWN` as search tells it."""
    values: dict[str, Any] = {
        name: value
        for name, value in row.items()
        if not name.endswith("_utc") and name not in _INTERNAL
    }
    for name in ("start_utc", "received_utc"):
        values[f"{name}_ns"] = None if row[name] is None else to_ns(row[name])
    return ClipRow(**values)
