"""Collects expired uploads, and finishes what a crash has left.

Replicas may all run it: each expired upload is claimed with a row lock that the others skip.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.completion import Completer
from cloud_ingest.database import to_time
from cloud_ingest.ports import PartStore, Place
from cloud_ingest.schema import SPAN, uploads
from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError

PERIOD_S = 300
_BATCH = 100
_GRACE_S = 5.0
_log = structlog.get_logger(__name__)


class Collector:
    """Sweeps at the start and then every five minutes."""

    def __init__(
        self, engine: AsyncEngine, parts: PartStore, completer: Completer, clock: Clock
    ) -> None:
        self._engine = engine
        self._parts = parts
        self._completer = completer
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. A failure is logged, and tried again in the next round."""
        while True:
            at_work = asyncio.create_task(self._round())
            try:
                await asyncio.shield(at_work)
            except asyncio.CancelledError:
                # A connection that is cut while it is being made would stay open: a round ends
                # by itself, unless a store keeps it waiting.
                await asyncio.wait({at_work}, timeout=_GRACE_S)
                at_work.cancel()
                await asyncio.wait({at_work})
                raise
            await self._clock.sleep_ns(PERIOD_S * NS_PER_S)

    async def _round(self) -> None:
        try:
            await self.sweep()
            await self.collect_expired()
        except (LongtailError, SQLAlchemyError) as error:
            _log.warning("the sweep failed", error=str(error))

    async def sweep(self) -> None:
        """Complete what is full, forget bytes of uploads that are over."""
        await self._completer.sweep()

    async def collect_expired(self) -> int:
        """Forget uploads whose time is over, bytes first; returns how many."""
        collected = 0
        while batch := await self._collect_batch():
            collected += batch
        return collected

    async def _collect_batch(self) -> int:
        claim = (
            sa.select(uploads.c.upload_id, uploads.c.place, uploads.c.kind)
            .where(uploads.c.expires_utc <= to_time(self._clock.utc_ns()))
            .order_by(uploads.c.expires_utc)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        )
        async with self._engine.begin() as connection:
            claimed = (await connection.execute(claim)).all()
            for row in claimed:
                if row.place is not None and row.kind != SPAN:
                    place = Place(row.upload_id, row.place)
                    await asyncio.to_thread(self._parts.abort, place)
            ids = [row.upload_id for row in claimed]
            await connection.execute(sa.delete(uploads).where(uploads.c.upload_id.in_(ids)))
        return len(claimed)
