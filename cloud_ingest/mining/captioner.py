"""Gives clips their captions and the captions' vectors, once and again.

Two kinds of work, both cut into short transactions that any replica may do and that a crash
undoes or leaves whole:

- *New clips*: those in state `ready` without a caption (a partial index finds them). Their
  vectors go into every space of captions that this process has the encoder of.
- *A space anew* (`embedding_jobs`): every clip from the first row on. Each batch writes its
  vectors and how far it has come in one transaction, so that a killed job goes on where it was.
  Before it ends it looks for clips that have no vector, whatever the reason; then the space
  becomes the default if it shall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import to_time
from cloud_ingest.mining.captions import caption_of
from cloud_ingest.mining.spaces import Spaces
from cloud_ingest.mining.text_ports import TextEncoder
from cloud_ingest.mining_schema import CAPTION, embedding_jobs, embedding_spaces
from cloud_ingest.schema import READY, clips, embeddings
from contracts.clip import ClipManifest
from contracts.clock import Clock

BATCH = 64
_log = structlog.get_logger(__name__)

Row = sa.Row[Any, Any]


class Captioner:
    """Captions and their vectors. `name` as the steps after a commit know it."""

    name = "captions"

    def __init__(self, engine: AsyncEngine, clock: Clock, spaces: Spaces) -> None:
        self._engine, self._clock, self._spaces = engine, clock, spaces

    async def caption(self, clip_id: str, manifest: ClipManifest) -> str:
        """Make and keep a clip's caption and its vectors; again is as good as once."""
        text = caption_of(manifest)
        vectors = await self._vectors([text])
        async with self._engine.begin() as connection:
            await _write(connection, [clip_id], [text], vectors)
        return text

    async def new_clips(self) -> int:
        """Caption some clips that have none; how many."""
        wanted = (
            sa.select(clips.c.clip_id, clips.c.manifest)
            .where(clips.c.state == READY, clips.c.caption.is_(None))
            .order_by(clips.c.mining_row).limit(BATCH)
            .with_for_update(skip_locked=True, of=clips)
        )  # fmt: skip
        async with self._engine.begin() as connection:
            rows = (await connection.execute(wanted)).all()
            texts = await asyncio.to_thread(_texts, rows)
            vectors = await self._vectors(texts)
            await _write(connection, [row.clip_id for row in rows], texts, vectors)
        return len(rows)

    async def job_step(self) -> bool:
        """One batch of a space that is made anew; False when there is nothing to do."""
        claim = (
            sa.select(embedding_jobs)
            .where(
                embedding_jobs.c.finished_utc.is_(None),
                embedding_jobs.c.space.in_(list(self._spaces.encoders)),
            )
            .order_by(embedding_jobs.c.started_utc).limit(1)
            .with_for_update(skip_locked=True)
        )  # fmt: skip
        async with self._engine.begin() as connection:
            job = (await connection.execute(claim)).one_or_none()
            if job is None:
                return False
            rows = (await connection.execute(_next_clips(job))).all()
            done = rows[-1].mining_row if rows else job.last_row
            if not rows:
                rows = (await connection.execute(_left_out(job))).all()
            encoder = self._spaces.encoders[job.space]
            texts = await asyncio.to_thread(_texts, rows)
            vectors = {job.space: await _encoded(encoder, texts)}
            await _write(connection, [row.clip_id for row in rows], texts, vectors)
            progress = {"done_row": done, "embedded": job.embedded + len(rows)}
            await connection.execute(
                sa.update(embedding_jobs).where(embedding_jobs.c.space == job.space)
                .values(progress)
            )  # fmt: skip
            if not rows:
                await self._finish(connection, job)
        return True

    async def _finish(self, connection: AsyncConnection, job: Row) -> None:
        await connection.execute(
            sa.update(embedding_jobs).where(embedding_jobs.c.space == job.space)
            .values(finished_utc=to_time(self._clock.utc_ns()))
        )  # fmt: skip
        if job.makes_default:
            table = embedding_spaces
            of_kind = sa.update(table).where(table.c.kind == CAPTION)
            await connection.execute(of_kind.where(table.c.is_default).values(is_default=False))
            await connection.execute(
                of_kind.where(table.c.space == job.space).values(is_default=True)
            )

    async def _vectors(self, texts: Sequence[str]) -> dict[str, list[list[float]]]:
        return {
            space: await _encoded(encoder, texts)
            for space, encoder in self._spaces.encoders.items()
        }


def _next_clips(job: Row) -> sa.Select[Any]:
    return (
        sa.select(clips.c.clip_id, clips.c.manifest, clips.c.mining_row)
        .where(
            clips.c.mining_row > job.done_row, clips.c.mining_row <= job.last_row,
            clips.c.state == READY, clips.c.manifest.is_not(None),
        )
        .order_by(clips.c.mining_row).limit(BATCH)
    )  # fmt: skip


def _left_out(job: Row) -> sa.Select[Any]:
    """Clips with a caption that have no vector: of writers without this encoder."""
    has_one = sa.exists().where(
        embeddings.c.clip_id == clips.c.clip_id, embeddings.c.model_digest == job.space
    )
    return (
        sa.select(clips.c.clip_id, clips.c.manifest)
        .where(
            clips.c.state == READY, clips.c.caption.is_not(None), clips.c.manifest.is_not(None),
            ~has_one,
        )
        .limit(BATCH)
    )  # fmt: skip


def _texts(rows: Sequence[Row]) -> list[str]:
    """A clip without a manifest says nothing; an empty caption marks it as done."""
    return [_text(row) for row in rows]


def _text(row: Row) -> str:
    if row.manifest is None:
        return ""
    try:
        return caption_of(ClipManifest.model_validate(row.manifest))
    except ValidationError as error:
        # Of another version. It would hold up all clips behind it.
        _log.warning("a clip has no caption", clip_id=row.clip_id, error=str(error)[:300])
        return ""


async def _encoded(encoder: TextEncoder, texts: Sequence[str]) -> list[list[float]]:
    if not texts:
        return []
    vectors: list[list[float]] = (await asyncio.to_thread(encoder.encode, texts)).tolist()
    return vectors


async def _write(
    connection: AsyncConnection, clip_ids: Sequence[str], texts: Sequence[str],
    vectors: dict[str, list[list[float]]],
) -> None:  # fmt: skip
    """Captions and vectors, in the order of ids, so that two writers wait and never lock up."""
    order = sorted(range(len(clip_ids)), key=clip_ids.__getitem__)
    for number in order:
        await connection.execute(
            sa.update(clips)
            .where(clips.c.clip_id == clip_ids[number])
            .where(clips.c.caption.is_distinct_from(texts[number]))
            .values(caption=texts[number])
        )
    rows = [
        {"clip_id": clip_ids[number], "model_digest": space, "vector": of_space[number]}
        for space, of_space in vectors.items()
        for number in order
        if texts[number]
    ]
    if rows:
        statement = insert(embeddings).values(rows)
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=[embeddings.c.clip_id, embeddings.c.model_digest],
                set_={"vector": statement.excluded.vector},
                where=embeddings.c.vector != statement.excluded.vector,
            )
        )
