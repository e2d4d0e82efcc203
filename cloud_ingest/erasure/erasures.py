"""Erasure of a clip, or of a vehicle's clips, events and signal logs: for good, and accounted for.

Order: one transaction ends a vehicle's uploads, lists the clips, bars their ids, takes them out of
search and writes the audit line. Then, clip by clip in small batches: rows go (label sets and
dataset versions that held the clip are flagged), then bytes in every tier and views, then rows once
more, for what was written in between; then the clip is ticked off. A kill at any moment leaves a
list that is gone on with, by any replica. What another replica is just publishing of an upload that
was ended goes too; where that one is killed, within the hour (`cloud_ingest.ended`).

A barred id does not come back: a declaration of it is answered *not wanted*, and a commit, which
meets the bar at the same row, is refused.

Not erased here: exports and datasets that lie elsewhere (they are flagged), backups, the vehicle's
enrolment and its check-ins, and the audit log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest import audit
from cloud_ingest.commit import hold_uploads
from cloud_ingest.database import to_ns, to_time
from cloud_ingest.ended import end_uploads
from cloud_ingest.erasure.rows import delete_rows
from cloud_ingest.fleet_schema import signal_logs
from cloud_ingest.ports import ObjectStore
from cloud_ingest.problems import AbsentError
from cloud_ingest.schema import QUARANTINED, clip_identity, clips, events, uploads
from cloud_ingest.steps.announce import announce
from cloud_ingest.steps.ports import ViewStore
from cloud_ingest.steps_schema import clip_pins, erasure_clips, erasure_flags, erasures
from contracts.clock import Clock
from contracts.errors import ConflictError, LongtailError
from contracts.ids import parse_name, parse_sha256_hex
from contracts.storage import Erasure, ErasureFlag, ErasurePage, ErasureRequest

BATCH = 50
_log = structlog.get_logger(__name__)


class Erasures:
    """The erasures of all replicas.

    Args:
        objects: clips of every tier.
        logs: signal logs.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        objects: ObjectStore,
        logs: ObjectStore,
        views: ViewStore,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._objects = objects
        self._logs = logs
        self._views = views

    async def is_barred(self, clip_id: str) -> bool:
        """Whether this clip was erased."""
        query = sa.select(clip_identity.c.erased_utc).where(clip_identity.c.clip_id == clip_id)
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none() is not None

    async def ask(self, request: ErasureRequest) -> Erasure:
        """Begin an erasure. Raises `ConflictError` when this id asked for something else."""
        if request.kind == "clip":
            parse_sha256_hex(request.subject, "subject")
        else:
            parse_name(request.subject, "subject")
        now_ns = self._clock.utc_ns()
        row = request.model_dump(include={"request_id", "kind", "subject", "actor", "reason"})
        async with self._engine.begin() as connection:
            made = await connection.execute(
                insert(erasures)
                .values(row | {"created_utc": to_time(now_ns)})
                .on_conflict_do_nothing()
                .returning(erasures.c.request_id)
            )
            if made.first() is None:
                present = await self._told(connection, request.request_id)
                if (present.kind, present.subject) != (request.kind, request.subject):
                    raise ConflictError("this request id asked for another erasure", "request_id")
                return present
            if request.kind == "vehicle":
                # Before the clips are listed: an upload that is just being completed is a clip by
                # then, or finds that it was ended.
                of_vehicle = uploads.c.vehicle_id == request.subject
                await hold_uploads(connection, of_vehicle)
                await end_uploads(connection, of_vehicle, now_ns)
            clip_ids = await self._clips_of(connection, request)
            await self._bar(connection, request.request_id, clip_ids, now_ns)
            if request.kind == "vehicle":
                await connection.execute(
                    sa.delete(events).where(events.c.vehicle_id == request.subject)
                )
            await audit.record(
                connection, now_ns, request.actor, "erase",
                f"{request.kind} {request.subject}", request.reason,
            )  # fmt: skip
            return await self._told(connection, request.request_id)

    async def show(self, request_id: str) -> Erasure:
        """Raises `AbsentError`."""
        async with self._engine.connect() as connection:
            return await self._told(connection, request_id)

    async def page(self) -> ErasurePage:
        """The newest hundred."""
        query = sa.select(erasures.c.request_id).order_by(erasures.c.created_utc.desc()).limit(100)
        async with self._engine.connect() as connection:
            found = list((await connection.execute(query)).scalars())
            told = [await self._told(connection, request_id) for request_id in found]
        return ErasurePage(erasures=tuple(told))

    async def go_on(self) -> int:
        """Work on all erasures that are not at their end; returns how many clips went. One whose
        bytes a store does not let go is told, tried again, and holds up no other.
        """
        query = (
            sa.select(erasures.c.request_id, erasures.c.kind, erasures.c.subject)
            .where(erasures.c.ended_utc.is_(None))
            .order_by(erasures.c.created_utc)
        )
        async with self._engine.connect() as connection:
            waiting = (await connection.execute(query)).all()
        gone = 0
        for row in waiting:
            try:
                while batch := await self._erase_batch(row.request_id):
                    gone += batch
                if row.kind == "vehicle":
                    await self._erase_logs(row.subject)
                await self._end(row.request_id)
            except (LongtailError, OSError) as error:
                _log.error("erasure not gone on with", request=row.request_id, error=str(error))
        return gone

    # Inside ----------------------------------------------------------------------------------

    async def _clips_of(self, connection: AsyncConnection, request: ErasureRequest) -> list[str]:
        if request.kind == "clip":
            return [request.subject]
        told_by = clips.c.manifest["event"]["vehicle_id"].astext
        query = sa.select(clips.c.clip_id).where(
            sa.or_(clips.c.vehicle_id == request.subject, told_by == request.subject)
        )
        return sorted((await connection.execute(query)).scalars())

    async def _bar(
        self, connection: AsyncConnection, request_id: str, clip_ids: Sequence[str], now_ns: int
    ) -> None:
        """From here on the clips are not found, and cannot come again."""
        now = to_time(now_ns)
        for start in range(0, len(clip_ids), 1000):
            some = clip_ids[start : start + 1000]
            await connection.execute(
                insert(clip_identity)
                .values(
                    [
                        {
                            "clip_id": clip_id,
                            "size_bytes": 0,
                            "received_utc": now,
                            "erased_utc": now,
                        }
                        for clip_id in some
                    ]
                )
                .on_conflict_do_update(
                    index_elements=[clip_identity.c.clip_id], set_={"erased_utc": now}
                )
            )
            listed = insert(erasure_clips).values(
                [{"clip_id": clip_id, "request_id": request_id} for clip_id in some]
            )
            await connection.execute(listed.on_conflict_do_nothing())
            await connection.execute(
                sa.update(clips)
                .where(clips.c.clip_id.in_(some))
                .values(state=QUARANTINED, state_reason="is being erased")
            )

    async def _erase_batch(self, request_id: str) -> int:
        query = (
            sa.select(erasure_clips.c.clip_id)
            .where(erasure_clips.c.request_id == request_id, ~erasure_clips.c.bytes_gone)
            .order_by(erasure_clips.c.clip_id)
            .limit(BATCH)
        )
        async with self._engine.begin() as connection:
            clip_ids = list((await connection.execute(query)).scalars())
            if not clip_ids:
                return 0
            await self._flag(connection, request_id, clip_ids)
            await delete_rows(connection, clip_ids, self._clock.utc_ns())
        for clip_id in clip_ids:
            await self._objects.remove(clip_id)
            await asyncio.to_thread(self._views.remove_all, clip_id)
        async with self._engine.begin() as connection:
            await delete_rows(connection, clip_ids, self._clock.utc_ns())
            ticked = await connection.execute(
                sa.update(erasure_clips)
                .where(erasure_clips.c.clip_id.in_(clip_ids), ~erasure_clips.c.bytes_gone)
                .values(bytes_gone=True)
                .returning(erasure_clips.c.clip_id)
            )
            for clip_id in sorted(ticked.scalars()):
                await announce(connection, "clip.erased", clip_id, {}, self._clock)
        return len(clip_ids)

    async def _flag(
        self, connection: AsyncConnection, request_id: str, clip_ids: Sequence[str]
    ) -> None:
        held = sa.select(
            clip_pins.c.kind, clip_pins.c.name, clip_pins.c.clip_id, sa.literal(request_id)
        ).where(clip_pins.c.clip_id.in_(clip_ids))
        statement = insert(erasure_flags).from_select(
            ["kind", "name", "clip_id", "request_id"], held
        )
        await connection.execute(statement.on_conflict_do_nothing())

    async def _erase_logs(self, vehicle_id: str) -> None:
        query = sa.select(signal_logs.c.log_id).where(signal_logs.c.vehicle_id == vehicle_id)
        async with self._engine.connect() as connection:
            log_ids = list((await connection.execute(query)).scalars())
        for log_id in log_ids:
            # Bytes first: the row is how they are found.
            await self._logs.remove(log_id)
            async with self._engine.begin() as connection:
                await connection.execute(
                    sa.delete(signal_logs).where(signal_logs.c.log_id == log_id)
                )

    async def _end(self, request_id: str) -> None:
        now_ns = self._clock.utc_ns()
        async with self._engine.begin() as connection:
            ended = await connection.execute(
                sa.update(erasures)
                .where(erasures.c.request_id == request_id, erasures.c.ended_utc.is_(None))
                .values(ended_utc=to_time(now_ns))
                .returning(erasures.c.actor, erasures.c.kind, erasures.c.subject)
            )
            row = ended.one_or_none()
            if row is None:
                return  # another replica was first
            told = await self._told(connection, request_id)
            await audit.record(
                connection, now_ns, row.actor, "erased", f"{row.kind} {row.subject}",
                f"{told.clips} clips; {len(told.flags)} sets flagged",
            )  # fmt: skip
        _log.info("erased", request_id=request_id, clips=told.clips)

    async def _told(self, connection: AsyncConnection, request_id: str) -> Erasure:
        query = sa.select(erasures).where(erasures.c.request_id == request_id)
        row: Any = (await connection.execute(query)).one_or_none()
        if row is None:
            raise AbsentError("there is no such erasure", request_id)
        counts = sa.select(
            sa.func.count(), sa.func.count().filter(~erasure_clips.c.bytes_gone)
        ).where(erasure_clips.c.request_id == request_id)
        every, left = (await connection.execute(counts)).one()
        flags = (
            sa.select(erasure_flags.c.kind, erasure_flags.c.name, sa.func.count())
            .where(erasure_flags.c.request_id == request_id)
            .group_by(erasure_flags.c.kind, erasure_flags.c.name)
            .order_by(erasure_flags.c.kind, erasure_flags.c.name)
        )
        return Erasure(
            request_id=row.request_id, kind=row.kind, subject=row.subject, actor=row.actor,
            reason=row.reason, clips=every, left=left, created_utc_ns=to_ns(row.created_utc),
            ended_utc_ns=None if row.ended_utc is None else to_ns(row.ended_utc),
            flags=tuple(
                ErasureFlag(kind=kind, name=name, clips=count)
                for kind, name, count in (await connection.execute(flags)).all()
            ),
        )  # fmt: skip
