"""Signal logs of the fleet: received whole, kept by content address, found by vehicle and time.

Guarantees: a log is listed only when its bytes are stored durably and match their id; the
vehicle in its header is the one that sent it; the same log sent again changes nothing. It is
never parsed beyond its header here: whoever replays it reads what is whole.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import for_single_reads, to_ns, to_time
from cloud_ingest.fleet_schema import signal_logs
from cloud_ingest.incoming import write_body
from cloud_ingest.ports import ObjectStore
from cloud_ingest.problems import AbsentError
from cloud_ingest.stores.files import disk_errors
from contracts.clock import Clock
from contracts.errors import CorruptError, InputError, RefusedError
from contracts.ids import PartHasher
from contracts.signal_log import MAX_SIGNAL_LOG_BYTES, SignalLogHeader, SignalLogPage, SignalLogRow
from kernels.signal_log import read_header


class SignalLogs:
    """Logs in the object store, their rows in the database.

    Args:
        folder: for bytes on their way in.
    """

    def __init__(
        self, engine: AsyncEngine, objects: ObjectStore, folder: Path, clock: Clock
    ) -> None:
        self._engine = engine
        self._reads = for_single_reads(engine)
        self.objects = objects
        self._folder = folder
        self._clock = clock

    async def receive(
        self, vehicle_id: str, log_id: str, chunks: AsyncIterator[bytes]
    ) -> SignalLogRow:
        """Take a log's bytes.

        Raises `CorruptError` when they are not those of `log_id`, `RefusedError` when the log is
        another vehicle's, `TooLargeError`, `InputError` for what is no log.
        """
        known = await self._row(log_id)
        if known is not None and known.vehicle_id == vehicle_id:
            return known
        folder = await asyncio.to_thread(self._make_folder)
        try:
            path, hasher = folder / "log", PartHasher()
            with path.open("wb") as file:
                size = await write_body(file, chunks, hasher, MAX_SIGNAL_LOG_BYTES, "signal logs")
            if hasher.clip_id() != log_id:
                raise CorruptError("the bytes are not those of this id", log_id)
            header = await asyncio.to_thread(read_header, path)
            if header.vehicle_id != vehicle_id:
                raise RefusedError("this log is another vehicle's", "vehicle_id")
            row = _row_of(log_id, header, size)
            await self.objects.publish(log_id, path)  # it makes the bytes durable
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await self._insert(row)
        return row

    def _make_folder(self) -> Path:
        with disk_errors("signal logs"):
            self._folder.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(dir=self._folder))

    async def _insert(self, row: SignalLogRow) -> None:
        values = row.model_dump(exclude={"start_utc_ns"})
        values["start_utc"] = to_time(row.start_utc_ns)
        values["received_utc"] = to_time(self._clock.utc_ns())
        async with self._engine.begin() as connection:
            await connection.execute(insert(signal_logs).values(values).on_conflict_do_nothing())

    async def _row(self, log_id: str) -> SignalLogRow | None:
        query = sa.select(signal_logs).where(signal_logs.c.log_id == log_id)
        async with self._reads.connect() as connection:
            found = (await connection.execute(query)).one_or_none()
        return None if found is None else _as_row(found)

    async def show(self, log_id: str) -> SignalLogRow:
        """Raises `AbsentError`."""
        row = await self._row(log_id)
        if row is None:
            raise AbsentError("there is no such signal log", log_id)
        return row

    async def page(
        self, vehicle_id: str | None, since_utc_ns: int | None, limit: int, cursor: str | None
    ) -> SignalLogPage:
        """Logs from the newest drive on."""
        columns = signal_logs.c
        query = sa.select(signal_logs).order_by(columns.start_utc.desc(), columns.log_id)
        if vehicle_id is not None:
            query = query.where(columns.vehicle_id == vehicle_id)
        if since_utc_ns is not None:
            query = query.where(columns.start_utc >= to_time(since_utc_ns))
        if cursor is not None:
            start_utc_ns, log_id = _read_cursor(cursor)
            start = to_time(start_utc_ns)
            later = sa.and_(columns.start_utc == start, columns.log_id > log_id)
            query = query.where(sa.or_(columns.start_utc < start, later))
        async with self._reads.connect() as connection:
            found = (await connection.execute(query.limit(limit + 1))).all()
        rows = tuple(_as_row(row) for row in found[:limit])
        more = _cursor_after(rows[-1]) if len(found) > limit else None
        return SignalLogPage(logs=rows, cursor=more)


def _row_of(log_id: str, header: SignalLogHeader, size_bytes: int) -> SignalLogRow:
    return SignalLogRow(
        log_id=log_id,
        vehicle_id=header.vehicle_id,
        boot_id=header.boot_id,
        drive_id=header.drive_id,
        start_utc_ns=header.drive_start_mono_ns + header.utc_minus_mono_ns,
        size_bytes=size_bytes,
    )


def _as_row(row: sa.Row[tuple[object, ...]]) -> SignalLogRow:
    told = row._asdict()
    return SignalLogRow(
        log_id=told["log_id"],
        vehicle_id=told["vehicle_id"],
        boot_id=told["boot_id"],
        drive_id=told["drive_id"],
        start_utc_ns=to_ns(told["start_utc"]),
        size_bytes=told["size_bytes"],
    )


def _cursor_after(row: SignalLogRow) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.start_utc_ns, row.log_id]).encode()).decode()


def _read_cursor(text: str) -> tuple[int, str]:
    try:
        start_utc_ns, log_id = json.loads(base64.urlsafe_b64decode(text.encode()))
        return int(start_utc_ns), str(log_id)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError("not a cursor of this service", "cursor") from error
