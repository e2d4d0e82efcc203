"""Collects expired uploads, and finishes what a crash has left.

Replicas may all run it: each expired upload is claimed with a row lock that the others skip. An
upload whose bytes a store does not let go keeps its row, and is tried again in the next round; it
keeps no other from being collected.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.completion import LOOP, Completer
from cloud_ingest.database import among, to_time
from cloud_ingest.ended import EndedClips, end_uploads
from cloud_ingest.ports import PartStore, Place
from cloud_ingest.schema import SPAN, uploads
from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError

PERIOD_S = 300
_BATCH = 100
_GRACE_S = 5.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The place of the last upload that was claimed, and how many went."""

    last: tuple[dt.datetime, str]
    collected: int


class Collector:
    """Sweeps at the start and then every five minutes."""

    def __init__(
        self,
        engine: AsyncEngine,
        parts: PartStore,
        completer: Completer,
        ended: EndedClips,
        clock: Clock,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._parts = parts
        self._completer = completer
        self._ended = ended
        self._clock = clock
        self._failed = failed

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
        for name, step in (
            ("sweep", self.sweep), ("expiry", self.collect_expired), ("ended", self._ended.sweep),
        ):  # fmt: skip
            try:
                await step()
            except (LongtailError, SQLAlchemyError) as error:
                _log.warning("not collected", step=name, error=str(error))
                self._failed(LOOP)
            except Exception:  # noqa: BLE001 - a collector that ended would let bytes pile up
                _log.exception("not collected", step=name)
                self._failed(LOOP)

    async def sweep(self) -> None:
        """Complete what is full, forget bytes of uploads that are over."""
        await self._completer.sweep()

    async def collect_expired(self) -> int:
        """Forget uploads whose time is over, bytes first; returns how many."""
        collected = 0
        claimed = await self._collect_batch(None)
        while claimed is not None:
            collected += claimed.collected
            claimed = await self._collect_batch(claimed)
        return collected

    async def _collect_batch(self, before: _Batch | None) -> _Batch | None:
        """Those behind the last one of `before`; None when there is none left."""
        place = sa.tuple_(uploads.c.expires_utc, uploads.c.upload_id)
        claim = (
            sa.select(
                uploads.c.upload_id, uploads.c.expires_utc, uploads.c.place, uploads.c.kind
            )
            .where(uploads.c.expires_utc <= to_time(self._clock.utc_ns()))
            .order_by(uploads.c.expires_utc, uploads.c.upload_id)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        )  # fmt: skip
        if before is not None:
            claim = claim.where(place > sa.tuple_(*map(sa.literal, before.last)))
        async with self._engine.begin() as connection:
            claimed = (await connection.execute(claim)).all()
            if not claimed:
                return None
            gone = [row.upload_id for row in claimed if await self._forget(row)]
            ended = among(uploads.c.upload_id, gone)
            await end_uploads(connection, ended, self._clock.utc_ns())
        return _Batch((claimed[-1].expires_utc, claimed[-1].upload_id), len(gone))

    async def _forget(self, row: Any) -> bool:
        """Give an upload's bytes up; whether they are gone."""
        if row.place is None or row.kind == SPAN:
            return True
        try:
            await asyncio.to_thread(self._parts.abort, Place(row.upload_id, row.place))
        except LongtailError as error:
            _log.warning("could not collect", upload_id=row.upload_id, error=str(error))
            return False
        return True
