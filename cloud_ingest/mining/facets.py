"""How many clips have each value of a column, under a condition."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import for_single_reads
from cloud_ingest.query.columns import COLUMNS, kind_of
from cloud_ingest.query.compile import compile_where
from cloud_ingest.query.parser import parse_query
from cloud_ingest.query.tree import ColumnRef
from cloud_ingest.schema import READY, clips
from contracts.errors import InputError
from contracts.mining import Facet, FacetPage, FacetValue

USUAL = ("weather", "tod", "road_type", "cause_kinds", "detected_objects")
MAX_COLUMNS = 20
_COUNTED = ("text", "boolean", "texts")


class Facets:
    """Counts over the catalog."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = for_single_reads(engine)

    async def count(self, columns: Sequence[str], where: str, most: int) -> FacetPage:
        """The `most` frequent values of each column among the clips that `where` lets through.

        Raises `InputError` for a column that has no values to count, or a wrong condition.
        """
        query = parse_query(where)
        if query.order is not None or query.limit is not None:
            raise InputError("counts take a condition, without an order or a limit", "where")
        for name in columns:
            if kind_of(ColumnRef(name, 1)) not in _COUNTED:
                raise InputError(f"{name} is measured, not counted: give a condition", "column")
        condition = clips.c.state == READY
        if query.where is not None:
            condition = sa.and_(condition, compile_where(query.where))
        async with self._engine.connect() as connection:
            total = (
                await connection.execute(
                    sa.select(sa.func.count(clips.c.mining_row)).where(condition)
                )
            ).scalar_one()
            facets = [await _facet(connection, name, condition, most) for name in columns]
        return FacetPage(clips=total, facets=tuple(facets))


async def _facet(
    connection: AsyncConnection, name: str, condition: sa.ColumnElement[bool], most: int
) -> Facet:
    column: sa.ColumnElement[object] = clips.c[name]
    if COLUMNS[name] == "texts":
        column = sa.func.unnest(clips.c[name])
    values = sa.select(column.label("value")).where(condition).subquery()
    counted = (
        sa.select(values.c.value, sa.func.count().label("clips"))
        .group_by(values.c.value)
        .subquery()
    )
    ordered = sa.select(
        counted, sa.func.count().over().label("kinds"),
        sa.func.sum(counted.c.clips).over().label("sum"),
    ).order_by(counted.c.clips.desc(), counted.c.value).limit(most)  # fmt: skip
    rows = (await connection.execute(ordered)).all()
    if not rows:
        return Facet(column=name, values=())
    shown = sum(row.clips for row in rows)
    return Facet(
        column=name,
        values=tuple(FacetValue(value=row.value, clips=row.clips) for row in rows),
        other_values=rows[0].kinds - len(rows),
        other_clips=int(rows[0].sum) - shown,
    )
