"""Which rows derive from a clip: all tables with a column `clip_id`, and what hangs on their rows.

A table that is added later is found by itself, so that nobody can forget it; what has to outlive an
erasure is named here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.ended import note_uploads
from cloud_ingest.schema import clips, events, uploads
from cloud_ingest.steps_schema import metadata, scene_clips, scenes

KEPT = frozenset({"clip_identity", "erasure_clips", "erasure_flags", "ended_clips"})
"""The bar against the id's return, the account of the erasure, and objects that are still to go."""


async def delete_rows(connection: AsyncConnection, clip_ids: Sequence[str], now_ns: int) -> None:
    """Delete all that derives from these clips."""
    ids = sa.literal(list(clip_ids), ARRAY(sa.Text))
    await note_uploads(connection, uploads.c.clip_id == sa.any_(ids), now_ns)
    await _delete_events(connection, ids)
    seen_in = sa.select(scene_clips.c.scene_id).where(scene_clips.c.clip_id == sa.any_(ids))
    scene_ids = list((await connection.execute(seen_in)).scalars())
    for table in reversed(metadata.sorted_tables):
        if "clip_id" in table.c and table.name not in KEPT:
            for statement in _deletions(table, table.c.clip_id == sa.any_(ids)):
                await connection.execute(statement)
    # What only they showed is theirs, too.
    left = sa.exists().where(scene_clips.c.scene_id == scenes.c.scene_id)
    await connection.execute(
        sa.delete(scenes).where(scenes.c.scene_id.in_(scene_ids), sa.not_(left))
    )


def _deletions(table: sa.Table, condition: sa.ColumnElement[bool]) -> Iterator[sa.Delete]:
    """Rows of a table that meet a condition; before them those that refer to them."""
    for other in metadata.sorted_tables:
        for constraint in other.foreign_key_constraints:
            if constraint.referred_table is table and other is not table:
                pairs = [(key.parent, key.column) for key in constraint.elements]
                (column, referred), *_ = pairs
                yield from _deletions(other, column.in_(sa.select(referred).where(condition)))
    yield sa.delete(table).where(condition)


async def _delete_events(connection: AsyncConnection, ids: Any) -> None:
    """Event records that name a clip, or are of its event."""
    named = events.c.record["clip_id"].astext == sa.any_(ids)
    key = sa.tuple_(events.c.vehicle_id, events.c.event_key)
    same = key.in_(
        sa.select(clips.c.vehicle_id, clips.c.event_key).where(
            clips.c.clip_id == sa.any_(ids), clips.c.event_key.is_not(None)
        )
    )
    await connection.execute(sa.delete(events).where(sa.or_(named, same)))
