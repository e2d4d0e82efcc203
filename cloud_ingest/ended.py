"""Clips whose upload was ended when its bytes could be an object already: their objects go.

An upload's row ends (by its vehicle, by its time, by an erasure) while some replica may be between
publishing the object and writing the clip's row. That replica takes its object back (`commit`);
one that was killed there does not, and nobody would know of the object. So whoever ends a full
upload writes the clip down here, in the same transaction, and once every replica that may be at it
is long done, the object goes, unless it has become a clip by another upload.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import to_time
from cloud_ingest.ports import ObjectStore
from cloud_ingest.schema import (
    FINAL,
    OPEN,
    PARTIAL,
    SPAN,
    clip_identity,
    clips,
    ended_clips,
    uploads,
)
from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError

SETTLED_S = 3600.0
"""Longer than any replica takes from publishing an object to its row."""
_BATCH = 100
_log = structlog.get_logger(__name__)


async def end_uploads(
    connection: AsyncConnection, which: sa.ColumnElement[bool], now_ns: int
) -> None:
    """Delete these uploads' rows; what may be an object is written down."""
    await note_uploads(connection, which, now_ns)
    await connection.execute(sa.delete(uploads).where(which))


async def note_uploads(
    connection: AsyncConnection, which: sa.ColumnElement[bool], now_ns: int
) -> None:
    """Write down what of these uploads may be an object; whoever calls deletes them."""
    full = sa.or_(uploads.c.stored_bytes == uploads.c.length_bytes, uploads.c.kind == FINAL)
    may_be = (
        sa.select(uploads.c.clip_id, sa.literal(to_time(now_ns), sa.DateTime(timezone=True)))
        .where(which, uploads.c.clip_id.is_not(None), uploads.c.state == OPEN, full)
        .where(uploads.c.kind.not_in((PARTIAL, SPAN)))
        .distinct()
    )
    made = insert(ended_clips).from_select(["clip_id", "ended_utc"], may_be)
    await connection.execute(_again(made))


async def note_ended(connection: AsyncConnection, clip_id: str, now_ns: int) -> None:
    """Write down an object that is to go."""
    made = insert(ended_clips).values(clip_id=clip_id, ended_utc=to_time(now_ns))
    await connection.execute(_again(made))


def _again(made: Any) -> sa.Executable:
    later = {"ended_utc": made.excluded.ended_utc}
    found: sa.Executable = made.on_conflict_do_update(
        index_elements=[ended_clips.c.clip_id], set_=later
    )
    return found


class EndedClips:
    """Takes back what a killed replica has left. Any number of replicas may do it."""

    def __init__(self, engine: AsyncEngine, objects: ObjectStore, clock: Clock) -> None:
        self._engine, self._objects, self._clock = engine, objects, clock

    async def sweep(self) -> int:
        """Returns how many objects were let go. One that a store does not let go is told, tried
        again in the next round, and keeps no other.
        """
        query = (
            sa.select(ended_clips.c.clip_id)
            .where(ended_clips.c.ended_utc <= self._settled())
            .order_by(ended_clips.c.clip_id)
            .limit(_BATCH)
        )
        gone, last = 0, ""
        while True:
            async with self._engine.connect() as connection:
                after = query.where(ended_clips.c.clip_id > last)
                clip_ids = list((await connection.execute(after)).scalars())
            if not clip_ids:
                return gone
            for clip_id in clip_ids:
                try:
                    gone += await self._forget(clip_id)
                except (LongtailError, OSError) as error:
                    _log.warning("could not take back", clip_id=clip_id, error=str(error))
            last = clip_ids[-1]

    async def _forget(self, clip_id: str) -> bool:
        """Racing commits of the clip wait at its identity, and look whether it is there still."""
        claim = (
            sa.select(ended_clips.c.clip_id)
            .where(ended_clips.c.clip_id == clip_id, ended_clips.c.ended_utc <= self._settled())
            .with_for_update(skip_locked=True)
        )
        identity = {
            "clip_id": clip_id, "size_bytes": 0, "received_utc": to_time(self._clock.utc_ns()),
        }  # fmt: skip
        async with self._engine.begin() as connection:
            if (await connection.execute(claim)).first() is None:
                return False
            made = insert(clip_identity).values(identity).on_conflict_do_nothing()
            await connection.execute(made)
            held = sa.select(clip_identity.c.clip_id).where(clip_identity.c.clip_id == clip_id)
            await connection.execute(held.with_for_update())
            is_clip = sa.select(sa.exists().where(clips.c.clip_id == clip_id))
            stays = bool((await connection.execute(is_clip)).scalar_one())
            if not stays:
                await self._objects.remove(clip_id)
            await connection.execute(sa.delete(ended_clips).where(ended_clips.c.clip_id == clip_id))
        return not stays

    def _settled(self) -> Any:
        return to_time(self._clock.utc_ns() - round(SETTLED_S * NS_PER_S))
