"""The registry of spaces: which there are, what makes their vectors, which one searches use.

A space is named by the digest of all that its vectors depend on, so that vectors of two
encoders, or of two wordings of captions, are never mixed. Of each kind one is the default.
"""

from __future__ import annotations

from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import to_ns, to_time
from cloud_ingest.mining import captions
from cloud_ingest.mining.text_ports import TextEncoder
from cloud_ingest.mining_schema import CAPTION, embedding_jobs, embedding_spaces
from cloud_ingest.problems import AbsentError
from cloud_ingest.schema import clips, embeddings
from contracts.clock import Clock
from contracts.errors import InputError
from contracts.mining import Reembedding, SpacePage, SpaceRow


def caption_space(encoder: TextEncoder) -> str:
    """The space of captions in today's wording, encoded so."""
    return sha256(f"caption {captions.VERSION} {encoder.space}".encode()).hexdigest()


class Spaces:
    """The registry. `captions` are the text models of this process, by their caption space."""

    def __init__(self, engine: AsyncEngine, clock: Clock, encoders: dict[str, TextEncoder]) -> None:
        self._engine, self._clock = engine, clock
        self.encoders = encoders

    async def register_all(self) -> None:
        """Make this process's spaces of captions known.

        The first of all becomes the default at once, and clips that have captions get vectors.
        """
        for space, encoder in self.encoders.items():
            async with self._engine.begin() as connection:
                is_first = await self.register(connection, space, CAPTION, encoder.name)
                if is_first:
                    await self._start(connection, space, makes_default=True)

    async def register(
        self, connection: AsyncConnection, space: str, kind: str, encoder: str
    ) -> bool:
        """Add a space; True when it is new and the first of its kind, and so the default."""
        # Two replicas that start together must not both find that there is no default.
        await connection.execute(
            sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("embedding_spaces")))
        )
        default = sa.select(embedding_spaces.c.space).where(
            embedding_spaces.c.kind == kind, embedding_spaces.c.is_default
        )
        is_first = (await connection.execute(default)).first() is None
        row = {
            "space": space, "kind": kind, "encoder": encoder, "is_default": is_first,
            "created_utc": to_time(self._clock.utc_ns()),
        }  # fmt: skip
        statement = insert(embedding_spaces).values(row).on_conflict_do_nothing()
        added = await connection.execute(statement.returning(embedding_spaces.c.space))
        return added.first() is not None and is_first

    async def list(self) -> SpacePage:
        """All spaces with their vectors counted; those of vehicles' models, too."""
        counts = (
            sa.select(embeddings.c.model_digest.label("space"), sa.func.count().label("vectors"))
            .group_by(embeddings.c.model_digest).subquery()
        )  # fmt: skip
        joined = embedding_spaces.join(
            counts, counts.c.space == embedding_spaces.c.space, full=True
        ).outerjoin(embedding_jobs, embedding_jobs.c.space == embedding_spaces.c.space)
        statement = sa.select(
            sa.func.coalesce(embedding_spaces.c.space, counts.c.space).label("name"),
            counts.c.vectors, embedding_spaces.c.kind, embedding_spaces.c.encoder,
            embedding_spaces.c.is_default, embedding_jobs,
        ).select_from(joined).order_by("name")  # fmt: skip
        async with self._engine.connect() as connection:
            rows = (await connection.execute(statement)).all()
        return SpacePage(spaces=tuple(self._row(row) for row in rows))

    async def reembed(self, space: str, makes_default: bool) -> SpaceRow:
        """Start to make all vectors of a space of captions; one that is under way goes on.

        `space` may be its beginning. Raises `AbsentError`, or `InputError` when this service has
        not got its encoder.
        """
        page = await self.list()
        fits = [row for row in page.spaces if row.space.startswith(space)]
        if len(fits) != 1:
            raise AbsentError("there is no such space" if not fits else "several begin so", space)
        name = fits[0].space
        if name not in self.encoders:
            raise InputError("this service has no encoder of captions for this space", space)
        async with self._engine.begin() as connection:
            await self._start(connection, name, makes_default)
        return next(row for row in (await self.list()).spaces if row.space == name)

    async def _start(self, connection: AsyncConnection, space: str, makes_default: bool) -> None:
        last = sa.select(sa.func.coalesce(sa.func.max(clips.c.mining_row), 0)).scalar_subquery()
        fresh = {
            "last_row": last, "done_row": 0, "embedded": 0, "makes_default": makes_default,
            "started_utc": to_time(self._clock.utc_ns()), "finished_utc": None,
        }  # fmt: skip
        statement = insert(embedding_jobs).values(fresh | {"space": space})
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=[embedding_jobs.c.space], set_=fresh,
                where=embedding_jobs.c.finished_utc.is_not(None),
            )
        )  # fmt: skip

    def _row(self, row: sa.Row[tuple[object, ...]]) -> SpaceRow:
        job = None
        if row.started_utc is not None:
            finished = None if row.finished_utc is None else to_ns(row.finished_utc)
            job = Reembedding(
                done=row.done_row, total=row.last_row, embedded=row.embedded,
                started_utc_ns=to_ns(row.started_utc), finished_utc_ns=finished,
            )  # fmt: skip
        return SpaceRow(
            space=row.name, kind=row.kind or "model", encoder=row.encoder or "vehicle or student",
            vectors=row.vectors or 0, is_default=bool(row.is_default),
            can_embed=row.name in self.encoders, reembedding=job,
        )  # fmt: skip
