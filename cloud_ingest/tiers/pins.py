"""Which clips a label set or a dataset version holds: they stay hot; an erasure flags the set."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest import audit
from cloud_ingest.database import to_time
from cloud_ingest.problems import AbsentError
from cloud_ingest.schema import clip_identity
from cloud_ingest.steps_schema import clip_pins, erasure_flags
from contracts.clock import Clock
from contracts.errors import InputError
from contracts.storage import Pin, PinKind, PinPage


class Pins:
    """The pins of all sets. Sets are content-addressed: a name never comes to mean other clips,
    so that pinning adds, and only unpinning takes away.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def pin(self, kind: PinKind, name: str, clip_ids: tuple[str, ...], actor: str) -> Pin:
        """Raises `InputError` for a clip that the store does not know, or that was erased."""
        wanted = sorted(set(clip_ids))
        known = sa.select(clip_identity.c.clip_id).where(
            clip_identity.c.clip_id.in_(wanted), clip_identity.c.erased_utc.is_(None)
        )
        now_ns = self._clock.utc_ns()
        now = to_time(now_ns)
        async with self._engine.begin() as connection:
            # Shared with the erasure, so that no pin slips in behind it.
            found = set((await connection.execute(known.with_for_update(read=True))).scalars())
            missing = [clip_id for clip_id in wanted if clip_id not in found]
            if missing:
                raise InputError(f"there is no such clip ({len(missing)} in all)", missing[0])
            if wanted:
                await connection.execute(
                    insert(clip_pins).on_conflict_do_nothing(),
                    [
                        {"kind": kind, "name": name, "clip_id": clip_id, "pinned_utc": now}
                        for clip_id in wanted
                    ],
                )
            why = f"{len(wanted)} clips"
            await audit.record(connection, now_ns, actor, "pin", f"{kind} {name}", why)
            return await _pin(connection, kind, name)

    async def unpin(self, kind: PinKind, name: str, actor: str) -> Pin:
        """Let go of a set; as it was. What it lost by erasures stays told. Raises `AbsentError`."""
        async with self._engine.begin() as connection:
            pin = await _pin(connection, kind, name)
            if not pin.clips:
                raise AbsentError("there is no such pin", name)
            await connection.execute(
                sa.delete(clip_pins).where(clip_pins.c.kind == kind, clip_pins.c.name == name)
            )
            now_ns = self._clock.utc_ns()
            await audit.record(connection, now_ns, actor, "unpin", f"{kind} {name}")
        return pin

    async def page(self) -> PinPage:
        """All sets, by kind and name."""
        kept = sa.select(clip_pins.c.kind, clip_pins.c.name, sa.literal(1).label("kept"))
        lost = sa.select(erasure_flags.c.kind, erasure_flags.c.name, sa.literal(0))
        both = sa.union_all(kept, lost).subquery()
        query = (
            sa.select(
                both.c.kind,
                both.c.name,
                sa.func.sum(both.c.kept).label("clips"),
                sa.func.sum(1 - both.c.kept).label("erased"),
            )
            .group_by(both.c.kind, both.c.name)
            .order_by(both.c.kind, both.c.name)
        )
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return PinPage(
            pins=tuple(
                Pin(kind=row.kind, name=row.name, clips=row.clips, erased_clips=row.erased)
                for row in rows
            )
        )


async def _pin(connection: AsyncConnection, kind: PinKind, name: str) -> Pin:
    counts = []
    for table in (clip_pins, erasure_flags):
        query = sa.select(sa.func.count()).where(table.c.kind == kind, table.c.name == name)
        counts.append((await connection.execute(query)).scalar_one())
    return Pin(kind=kind, name=name, clips=counts[0], erased_clips=counts[1])
