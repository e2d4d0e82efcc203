"""Searches kept under a name: checked when they are saved, changed by their owner only."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import to_ns, to_time
from cloud_ingest.mining_schema import saved_searches
from cloud_ingest.problems import AbsentError
from cloud_ingest.query.parser import parse_query
from contracts.clock import Clock
from contracts.errors import ConflictError
from contracts.mining import SavedSearch, SavedSearchPage, SavedSearchRequest


class SavedSearches:
    """The searches of all owners."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    async def save(self, name: str, request: SavedSearchRequest) -> SavedSearch:
        """Keep a search. `InputError` for a wrong one, `ConflictError` for another owner's name."""
        parse_query(request.where)
        table = saved_searches
        row = {
            "owner": request.owner, "where_text": request.where,
            "description": request.description, "saved_utc": to_time(self._clock.utc_ns()),
        }  # fmt: skip
        statement = insert(table).values(row | {"name": name})
        upsert = statement.on_conflict_do_update(
            index_elements=[table.c.name], set_=row, where=table.c.owner == request.owner
        ).returning(table)
        async with self._engine.begin() as connection:
            kept = (await connection.execute(upsert)).one_or_none()
        if kept is None:
            raise ConflictError("another owner has a search of this name", name)
        return _saved(kept)

    async def list(self, owner: str | None) -> SavedSearchPage:
        """All of one owner, or of all, by name."""
        statement = sa.select(saved_searches).order_by(saved_searches.c.name)
        if owner is not None:
            statement = statement.where(saved_searches.c.owner == owner)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(statement)).all()
        return SavedSearchPage(searches=tuple(map(_saved, rows)))

    async def where(self, name: str) -> str:
        """The search itself. Raises `AbsentError`."""
        statement = sa.select(saved_searches.c.where_text).where(saved_searches.c.name == name)
        async with self._engine.connect() as connection:
            found = (await connection.execute(statement)).scalar_one_or_none()
        if found is None:
            raise AbsentError("there is no saved search of this name", name)
        return str(found)

    async def remove(self, name: str, owner: str) -> None:
        """Forget a search. Raises `AbsentError` when its owner has none of this name."""
        statement = sa.delete(saved_searches).where(
            saved_searches.c.name == name, saved_searches.c.owner == owner
        )
        async with self._engine.begin() as connection:
            gone = (await connection.execute(statement.returning(saved_searches.c.name))).first()
        if gone is None:
            raise AbsentError("this owner has no saved search of this name", name)


def _saved(row: sa.Row[tuple[object, ...]]) -> SavedSearch:
    return SavedSearch(
        name=row.name, owner=row.owner, where=row.where_text, description=row.description,
        saved_utc_ns=to_ns(row.saved_utc),
    )  # fmt: skip
