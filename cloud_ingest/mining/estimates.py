"""What the database's planner expects of a condition, asked once for the same condition.

An estimate decides which road a search takes, never what it finds, so that an old one does no
harm; it is asked anew when the number of vectors has changed by a tenth.
"""

from __future__ import annotations

from collections import OrderedDict

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.mining.planner import Estimate
from cloud_ingest.schema import READY, clips

_MOST = 1000
_CHANGE = 0.1


class Estimates:
    """The estimates of the last conditions."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[int, Estimate]] = OrderedDict()

    async def of(
        self, connection: AsyncConnection, condition: sa.ColumnElement[bool], vectors: int
    ) -> Estimate:
        """Of clips in state `ready` that a condition lets through, among `vectors`."""
        statement = sa.select(clips.c.mining_row).where(clips.c.state == READY, condition)
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        key = str(compiled), repr(compiled.params)
        then, known = self._known.get(key, (0, None))
        if known is not None and abs(vectors - then) <= _CHANGE * then:
            self._known.move_to_end(key)
            return known
        told = await connection.exec_driver_sql(
            f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params or {}
        )
        plan = told.scalar_one()[0]["Plan"]
        fresh = Estimate(plan["Plan Rows"], plan["Total Cost"])
        self._known[key] = vectors, fresh
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return fresh
