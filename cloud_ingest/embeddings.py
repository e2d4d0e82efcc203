"""Clips by what they show: nearest in a model's embedding space.

Guarantees: exact (see `mining.similar`). Embeddings of different models are never compared, nor
are vectors of different lengths.

An embedding comes with the clip's manifest (`commit`), or is put here by an operator, for
another model; one that is there stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.catalog import shown_clips
from cloud_ingest.mining.similar import SimilarClips, Target
from cloud_ingest.problems import AbsentError
from cloud_ingest.query.parser import parse_query
from cloud_ingest.schema import READY, clips, embeddings
from contracts.clip import ClipEmbedding
from contracts.clip_search import EmbeddingKept, LikePage, LikeRow
from contracts.errors import InputError

MAX_VALUES = 16_000
"""What the database's vectors hold at most."""


class Embeddings:
    """The embeddings of all clips, as operators use them."""

    def __init__(self, engine: AsyncEngine, similar: SimilarClips) -> None:
        self._engine = engine
        self._similar = similar

    async def like(self, clip_id: str, where: str, limit: int, space: str | None) -> LikePage:
        """The clips most like one.

        Args:
            where: a condition of the search language, without an order.
            space: the model's digest or its beginning; None: the vehicle's own model's.

        Raises:
            AbsentError: there is no such clip.
            InputError: the clip has no embedding, none of that model, or several to choose from;
                or `where` is wrong.
        """
        query = parse_query(where)
        if query.order is not None:
            raise InputError("the likest come first: there is no other order", "where")
        target = await self.target(clip_id, space)
        take = limit if query.limit is None else min(limit, query.limit)
        found = await self._similar.nearest(target, take, query.where, counts=True)
        shown = await shown_clips(self._engine, [match.clip_id for match in found.clips])
        return LikePage(
            reference=ClipEmbedding(
                model_digest=target.space, vector=tuple(target.vector.tolist())
            ),
            compared=found.compared,
            clips=tuple(
                LikeRow(clip=shown[match.clip_id], cosine=match.cosine)
                for match in found.clips
                if match.clip_id in shown
            ),
        )

    async def target(self, clip_id: str, space: str | None) -> Target:
        """A clip's vector. Raises as `like` does."""
        columns = (
            clips.c.mining_row,
            embeddings.c.model_digest,
            embeddings.c.vector,
            clips.c.model_digest.label("own"),
        )
        joined = clips.outerjoin(embeddings, clips.c.clip_id == embeddings.c.clip_id)
        statement = (
            sa.select(*columns).select_from(joined).where(clips.c.clip_id == clip_id)
            .order_by(embeddings.c.model_digest)
        )  # fmt: skip
        async with self._engine.connect() as connection:
            rows = (await connection.execute(statement)).all()
        if not rows:
            raise AbsentError("there is no such clip", clip_id)
        known = [row for row in rows if row.model_digest is not None]
        if not known:
            raise InputError("this clip has no embedding: no model has looked at it", clip_id)
        row = _chosen(known, space, clip_id)
        return Target(row.model_digest, np.asarray(row.vector, np.float32), row.mining_row)

    async def put(self, clip_id: str, embedding: ClipEmbedding) -> EmbeddingKept:
        """Keep another model's embedding of a clip.

        Raises:
            AbsentError: there is no such clip, or it is set aside.
            InputError: a vector without direction, or of another length than its model's others.
        """
        vector = embedding.vector
        if not 1 <= len(vector) <= MAX_VALUES or not 0 < math.hypot(*vector) < math.inf:
            raise InputError(f"needs 1 to {MAX_VALUES} values that are not all 0", "vector")
        async with self._engine.begin() as connection:
            state = sa.select(clips.c.state).where(clips.c.clip_id == clip_id)
            if (await connection.execute(state)).scalar_one_or_none() != READY:
                raise AbsentError("there is no such clip", clip_id)
            length = await self._length(connection, embedding.model_digest)
            if length not in (None, len(vector)):
                raise InputError(f"has {len(vector)} values, its model's others {length}", "vector")
            row = {
                "clip_id": clip_id, "model_digest": embedding.model_digest, "vector": list(vector),
            }  # fmt: skip
            statement = insert(embeddings).values(row).on_conflict_do_nothing()
            try:
                kept = await connection.execute(statement.returning(embeddings.c.clip_id))
            except DataError as error:
                raise InputError("holds values beyond single precision", "vector") from error
            is_new = kept.first() is not None
        return EmbeddingKept(clip_id=clip_id, model_digest=embedding.model_digest, is_new=is_new)

    async def _length(self, connection: AsyncConnection, space: str) -> int | None:
        """How many values embeddings of a model have; None when there is none yet."""
        one = (
            sa.select(sa.func.vector_dims(embeddings.c.vector))
            .where(embeddings.c.model_digest == space).limit(1)
        )  # fmt: skip
        found: int | None = (await connection.execute(one)).scalar_one_or_none()
        return found


def _chosen(known: Sequence[Any], space: str | None, clip_id: str) -> Any:
    """The one embedding that is meant."""
    told = ", ".join(row.model_digest[:12] for row in known)
    if space is not None:
        fits = [row for row in known if row.model_digest.startswith(space)]
        if len(fits) != 1:
            raise InputError(f"this clip has embeddings of {told}, not one of {space}", clip_id)
        return fits[0]
    own = [row for row in known if row.model_digest == row.own]
    if len(known) > 1 and not own:
        raise InputError(f"this clip has embeddings of {told}: name one as space", clip_id)
    return (own or known)[0]
