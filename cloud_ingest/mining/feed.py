"""What has changed in a space since a snapshot: each vector told once, whoever wrote it.

Each row of `embeddings` and `mining_deletions` carries the transaction that wrote it. The
reader's cursor is the snapshot (`pg_current_snapshot`) of its last look: new is what is visible
now and was not then. A counter would lose rows here: a transaction that began earlier may
commit later. The migration's triggers mark updates and deletions, so that no writer can forget.

Rows of a restored dump carry transactions of another cluster: a first reading takes them all,
later ones leave out those that this cluster has not come to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.mining.ports import Int64s
from cloud_ingest.mining.vector_file import ID_BYTES, Arrived
from cloud_ingest.mining_schema import mining_deletions
from cloud_ingest.schema import embeddings
from contracts.errors import TransientError

_SAMPLE = 1000
_BLOCK = 8192
_HEADER_BYTES = 19  # of COPY BINARY: signature, flags, length of the extension


@dataclass(frozen=True, slots=True)
class Pending:
    """What a look has found. `added` counts up to the bound that was asked for."""

    snapshot: str
    added: int
    has_deletions: bool


async def database_name(connection: AsyncConnection) -> str:
    """Names the cluster, its timeline and the database: another one has other transactions."""
    statement = sa.text(
        "SELECT system_identifier || '.' || timeline_id || '.' || current_database()"
        " FROM pg_control_system(), pg_control_checkpoint()"
    )
    return str((await connection.execute(statement)).scalar_one())


async def dimensions_of(connection: AsyncConnection, space: str) -> int | None:
    """The length that most vectors of a space have; None when it has none."""
    sample = (
        sa.select(sa.func.vector_dims(embeddings.c.vector).label("length"))
        .where(embeddings.c.model_digest == space).limit(_SAMPLE).subquery()
    )  # fmt: skip
    lengths = (
        sa.select(sample.c.length).group_by(sample.c.length)
        .order_by(sa.func.count().desc(), sample.c.length).limit(1)
    )  # fmt: skip
    found: int | None = (await connection.execute(lengths)).scalar_one_or_none()
    return found


async def look(
    connection: AsyncConnection, space: str, cursor: str | None, at_most: int
) -> Pending:
    """What is new in a space behind `cursor`, counted up to `at_most` vectors."""
    fresh = (
        sa.select(sa.literal(1))
        .where(embeddings.c.model_digest == space, *_is_new(embeddings.c.changed_xid, cursor))
        .limit(at_most).subquery()
    )  # fmt: skip
    gone = sa.exists().where(
        sa.or_(mining_deletions.c.model_digest == space, mining_deletions.c.model_digest.is_(None)),
        *_is_new(mining_deletions.c.changed_xid, cursor),
    )
    statement = sa.select(
        sa.cast(sa.func.pg_current_snapshot(), sa.Text),
        sa.select(sa.func.count()).select_from(fresh).scalar_subquery(),
        sa.false() if cursor is None else gone,
    )
    row = (await connection.execute(statement)).one()
    return Pending(row[0], row[1], row[2])


async def deletions(connection: AsyncConnection, space: str, cursor: str) -> Int64s:
    """Rows of which the space has lost its vector since `cursor`."""
    statement = sa.select(mining_deletions.c.mining_row).where(
        sa.or_(mining_deletions.c.model_digest == space, mining_deletions.c.model_digest.is_(None)),
        *_is_new(mining_deletions.c.changed_xid, cursor),
    )
    return np.array((await connection.execute(statement)).scalars().all(), np.int64)


async def vectors(
    connection: AsyncConnection, space: str, dimensions: int, cursor: str | None
) -> AsyncIterator[Arrived]:
    """Vectors of clips in state `ready` that are new behind `cursor`.

    Scaled to length 1; those without direction or of another length are left out. Raises
    `TransientError` when the database fails in the middle.
    """
    import psycopg
    from psycopg import sql

    since: sql.Composable = sql.SQL("")
    if cursor is not None:
        since = sql.SQL(
            " AND e.changed_xid >= {least} AND e.changed_xid < {most}"
            " AND NOT pg_visible_in_snapshot(e.changed_xid::text::xid8, {cursor}::pg_snapshot)"
        ).format(
            least=sql.Literal(_least(cursor)),
            most=sql.SQL("pg_snapshot_xmax(pg_current_snapshot())::text::bigint"),
            cursor=sql.Literal(cursor),
        )
    statement = sql.SQL(
        "COPY (SELECT c.mining_row, decode(c.clip_id, 'hex'), e.vector"
        " FROM embeddings e JOIN clips c USING (clip_id)"
        " WHERE c.state = 'ready' AND e.model_digest = {space}"
        " AND vector_dims(e.vector) = {dimensions}{since})"
        " TO STDOUT (FORMAT BINARY)"
    ).format(space=sql.Literal(space), dimensions=sql.Literal(dimensions), since=since)
    row = np.dtype(
        [("fields", ">i2"), ("row_bytes", ">i4"), ("row", ">i8"), ("id_bytes", ">i4"),
         ("id", "u1", (ID_BYTES,)), ("vector_bytes", ">i4"),
         ("dimensions", ">i2"), ("unused", ">i2"), ("values", ">f4", (dimensions,))]
    )  # fmt: skip
    raw: Any = (await connection.get_raw_connection()).driver_connection
    waiting = bytearray()
    is_first = True
    try:
        async with raw.cursor() as cursor_, cursor_.copy(statement) as copy:
            async for piece in copy:
                waiting += piece
                if is_first and len(waiting) >= _HEADER_BYTES:
                    del waiting[:_HEADER_BYTES]
                    is_first = False
                if len(waiting) >= _BLOCK * row.itemsize:
                    yield _block(waiting, row)
    except psycopg.Error as error:  # nobody translates what goes past SQLAlchemy
        reason = f"the database does not answer: {type(error).__name__}"
        raise TransientError(reason, retry_after_s=2) from error
    yield _block(waiting, row)


def _block(waiting: bytearray, row: np.dtype[np.void]) -> Arrived:
    """Cut all whole rows off; the end's mark is shorter than a row and stays."""
    count = len(waiting) // row.itemsize
    found = np.frombuffer(bytes(waiting[: count * row.itemsize]), row)
    del waiting[: count * row.itemsize]
    values = found["values"].astype(np.float32)
    with np.errstate(over="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    good = (lengths > 0) & np.isfinite(lengths)
    unit = values[good] / lengths[good, None]
    return Arrived(found["row"][good].astype(np.int64), found["id"][good], unit.astype(np.float32))


def _is_new(column: sa.Column[Any], cursor: str | None) -> list[sa.ColumnElement[bool]]:
    """The row's transaction was not visible at `cursor`; visible it is, or we would not see it."""
    if cursor is None:
        return []
    xmax = sa.func.pg_snapshot_xmax(sa.func.pg_current_snapshot())
    xid8 = sa.text(f"{column.table.name}.{column.name}::text::xid8")
    visible = sa.func.pg_visible_in_snapshot(
        xid8, sa.text("CAST(:cursor AS pg_snapshot)").bindparams(cursor=cursor)
    )
    return [
        column >= _least(cursor),
        column < sa.cast(sa.cast(xmax, sa.Text), sa.BigInteger),
        sa.not_(visible),
    ]


def _least(cursor: str) -> int:
    """The oldest transaction that was under way at a snapshot."""
    return int(cursor.partition(":")[0])
