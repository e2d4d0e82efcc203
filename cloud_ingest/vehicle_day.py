"""How many bytes a vehicle may send in a day of UTC: what it has delivered counts, signal logs too,
and what it has begun.

Guarantees, over all replicas: uploads that begin at the same moment do not pass the day together,
since the transaction that begins one counts alone until it ends. A signal log counts once it is
here, so logs that arrive at the same moment may pass the day together.
"""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import for_single_reads, to_time
from cloud_ingest.fleet_schema import signal_logs
from cloud_ingest.problems import BusyError
from cloud_ingest.schema import OPEN, SPAN, clip_identity, deliveries, uploads
from contracts.clock import NS_PER_DAY, NS_PER_S, Clock

NO_DAY = "this vehicle has sent as much today as it may"


class VehicleDay:
    """Each vehicle's day. `bytes_per_day` None: as much as it likes."""

    def __init__(self, engine: AsyncEngine, clock: Clock, bytes_per_day: int | None) -> None:
        self._reads = for_single_reads(engine)
        self._clock = clock
        self._quota = bytes_per_day

    async def wait_s(self, vehicle_id: str, length_bytes: int) -> float | None:
        """How long until this vehicle's day has room for so much; None when it has now."""
        if self._quota is None:
            return None
        async with self._reads.connect() as connection:
            return await self._wait_s(connection, vehicle_id, length_bytes, self._quota)

    async def count_alone(self, connection: AsyncConnection, vehicle_id: str) -> None:
        """Until this transaction ends, nobody else begins an upload of this vehicle."""
        if self._quota is not None:
            key = sa.func.pg_advisory_xact_lock(_key(vehicle_id))
            await connection.execute(sa.select(key))

    async def check(self, connection: AsyncConnection, vehicle_id: str) -> None:
        """Whether the day holds all that has begun, by what this transaction sees.

        Raises `BusyError` when it does not.
        """
        if self._quota is None:
            return
        wait_s = await self._wait_s(connection, vehicle_id, 0, self._quota)
        if wait_s is not None:
            raise BusyError(NO_DAY, retry_after_s=wait_s)

    async def _wait_s(
        self, connection: AsyncConnection, vehicle_id: str, length_bytes: int, quota: int
    ) -> float | None:
        now_ns = self._clock.utc_ns()
        day_ns = now_ns - now_ns % NS_PER_DAY
        delivered = (
            sa.select(sa.func.coalesce(sa.func.sum(clip_identity.c.size_bytes), 0))
            .join(deliveries, deliveries.c.clip_id == clip_identity.c.clip_id)
            .where(
                deliveries.c.vehicle_id == vehicle_id,
                deliveries.c.received_utc >= to_time(day_ns),
            )
        )
        begun = sa.select(sa.func.coalesce(sa.func.sum(uploads.c.length_bytes), 0)).where(
            uploads.c.vehicle_id == vehicle_id, uploads.c.state == OPEN, uploads.c.kind != SPAN
        )
        logs = sa.select(sa.func.coalesce(sa.func.sum(signal_logs.c.size_bytes), 0)).where(
            signal_logs.c.vehicle_id == vehicle_id, signal_logs.c.received_utc >= to_time(day_ns)
        )
        sums = [await connection.execute(query) for query in (delivered, begun, logs)]
        used = sum(int(each.scalar_one()) for each in sums)
        if used + length_bytes <= quota:
            return None
        return (day_ns + NS_PER_DAY - now_ns) / NS_PER_S


def _key(vehicle_id: str) -> int:
    digest = hashlib.blake2b(f"day of {vehicle_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
