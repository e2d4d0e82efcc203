"""The clips nearest to a vector under a condition: exact, whatever the condition and the road.

Guarantees: every clip that the condition lets through and that has a vector in the space is
compared, and no other is told; all that was committed before the search began counts. Cosines
count to six decimals, ties are in the order of ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress, islice
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import for_single_reads
from cloud_ingest.mining.estimates import Estimates
from cloud_ingest.mining.exact import DECIMALS
from cloud_ingest.mining.planner import choose
from cloud_ingest.mining.ports import Int64s, MiningIndex, Nearest
from cloud_ingest.query.compile import compile_where
from cloud_ingest.query.tree import Expression
from cloud_ingest.schema import READY, clips, embeddings
from contracts.samples import Float32s

_ARRAY_HEADER_BYTES = 20
_NUMBER = np.dtype([("bytes", ">i4"), ("row", ">i8")])
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """What clips are compared with: a vector float32 [d] of a space.

    `own_row` is the clip that it belongs to, which is left out; None when it belongs to none.
    """

    space: str
    vector: Float32s
    own_row: int | None = None


class Match(NamedTuple):
    """A clip and the cosine of its vector and the target's, to six decimals."""

    clip_id: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Matches:
    """The nearest first. `compared` is how many were compared with, those on the road taken."""

    clips: tuple[Match, ...]
    compared: int
    road: str


class SimilarClips:
    """Searches by likeness over the catalog and an index."""

    def __init__(self, engine: AsyncEngine, index: MiningIndex) -> None:
        self._engine = for_single_reads(engine)
        self._index = index
        self._estimates = Estimates()

    async def nearest(
        self,
        target: Target,
        k: int,
        where: Expression | None = None,
        *,
        behind: Match | None = None,
        counts: bool = False,
    ) -> Matches:
        """The `k` clips nearest to a target.

        Args:
            behind: only what comes after this one, as told before.
            counts: `compared` must be how many clips the condition lets through.
        """
        condition = None if where is None else compile_where(where)
        vectors = await self._index.catch_up(target.space)
        if vectors is None:
            return await self._by_database(target, k, condition, behind)
        if condition is None:
            return await self._by_index(target, k, behind, None)
        async with self._engine.connect() as connection:
            estimate = await self._estimates.of(connection, condition, vectors)
            plan = choose(vectors, target.vector.size, k, estimate)
            if plan.road == "check" and not counts:
                found = await self._by_check(
                    connection, target, k, condition, behind, plan.candidates
                )
                if found is not None:
                    return found
            rows = await matching_rows(connection, condition, target.own_row)
        return await self._by_index(target, k, behind, rows)

    async def _by_check(
        self, connection: AsyncConnection, target: Target, k: int,
        condition: sa.ColumnElement[bool], behind: Match | None, candidates: int,
    ) -> Matches | None:  # fmt: skip
        """The best `candidates` of all, checked by the database; None when too few pass."""
        near = await self._index.nearest(
            target.space, target.vector, candidates, None, _below(behind)
        )
        passed = await _passing(connection, near, condition)
        page = _page(near, target, behind, k, passed)
        if len(page) < k:
            _log.info("more were expected to match", candidates=candidates, passed=len(page))
            return None
        return Matches(page, near.compared, "check")

    async def _by_index(
        self, target: Target, k: int, behind: Match | None, rows: Int64s | None
    ) -> Matches:
        """The nearest of `rows`, of all when None."""
        wanted = k + (target.own_row is not None) + (behind is not None)
        while True:
            near = await self._index.nearest(
                target.space, target.vector, wanted, rows, _below(behind)
            )
            page = _page(near, target, behind, k)
            if len(page) == k or len(near.clip_ids) < wanted:
                break
            wanted *= 2  # the last page ended among many that tie
        compared = near.compared
        if rows is None and target.own_row is not None and compared:
            compared -= 1
        return Matches(page, compared, "scan" if rows is None else "rows")

    async def _by_database(
        self, target: Target, k: int, condition: sa.ColumnElement[bool] | None,
        behind: Match | None,
    ) -> Matches:  # fmt: skip
        """pgvector compares every vector."""
        near = _distances(target)
        if condition is not None:
            near = near.where(condition)
        measured = near.subquery()
        # The distance to a vector without direction is no number, which sorts above all.
        told = (
            sa.select(
                measured.c.clip_id,
                sa.cast(
                    sa.func.round(sa.cast(1 - measured.c.distance, sa.Numeric), DECIMALS),
                    sa.Double,
                ).label("cosine"),
                sa.func.count().over().label("compared"),
            )
            .where(measured.c.distance <= 2)
            .subquery()
        )
        statement = sa.select(told).order_by(told.c.cosine.desc(), told.c.clip_id).limit(k)
        if behind is not None:
            later = sa.and_(told.c.cosine == behind.cosine, told.c.clip_id > behind.clip_id)
            statement = statement.where(sa.or_(told.c.cosine < behind.cosine, later))
        async with self._engine.connect() as connection:
            rows = (await connection.execute(statement)).all()
        page = tuple(Match(row.clip_id, row.cosine) for row in rows)
        return Matches(page, rows[0].compared if rows else 0, "database")


def _distances(target: Target) -> sa.Select[Any]:
    """All clips with a vector of the space and of the target's length, with their distances."""
    vector = embeddings.c.vector
    same_length = sa.func.vector_dims(vector) == target.vector.size
    # A CASE, because the order in which conditions are looked at is not ours to say.
    distance = sa.case((same_length, vector.cosine_distance(target.vector.tolist())))
    statement = (
        sa.select(clips.c.clip_id, distance.label("distance"))
        .join(embeddings, embeddings.c.clip_id == clips.c.clip_id)
        .where(embeddings.c.model_digest == target.space, clips.c.state == READY)
    )
    return statement.where(clips.c.mining_row != (target.own_row or 0))


async def matching_rows(
    connection: AsyncConnection, condition: sa.ColumnElement[bool], own_row: int | None
) -> Int64s:
    """Row numbers of the clips that a condition lets through, one binary value for all."""
    rows = sa.select(clips.c.mining_row).where(clips.c.state == READY, condition)
    numbers = rows.subquery().c.mining_row
    statement = sa.select(sa.func.array_send(sa.func.array_agg(numbers)))
    sent = (await connection.execute(statement)).scalar_one()
    if sent is None:
        return np.empty(0, np.int64)
    found = _numbers(sent)
    return found if own_row is None else found[found != own_row]


def _numbers(sent: bytes) -> Int64s:
    """The values of a `bigint[]` without NULLs, as `array_send` writes it."""
    return np.frombuffer(sent, _NUMBER, offset=_ARRAY_HEADER_BYTES)["row"].astype(np.int64)


async def _passing(
    connection: AsyncConnection, near: Nearest, condition: sa.ColumnElement[bool]
) -> Int64s:
    """Those of `near` that a condition lets through."""
    wanted = sa.literal(near.rows.tolist(), sa.ARRAY(sa.BigInteger))
    return await matching_rows(
        connection, sa.and_(clips.c.mining_row == sa.func.any(wanted), condition), None
    )


def _page(
    near: Nearest, target: Target, behind: Match | None, k: int, passed: Int64s | None = None
) -> tuple[Match, ...]:
    """The first `k` that come behind a match, without the target itself."""
    kept = near.rows != target.own_row
    if passed is not None:
        kept &= np.isin(near.rows, passed)
    pairs = map(Match, near.clip_ids, near.cosines.tolist())
    found: Iterator[Match] = compress(pairs, kept.tolist())
    if behind is not None:
        last = (-behind.cosine, behind.clip_id)
        found = (match for match in found if (-match.cosine, match.clip_id) > last)
    return tuple(islice(found, k))


def _below(behind: Match | None) -> float | None:
    return None if behind is None else behind.cosine
