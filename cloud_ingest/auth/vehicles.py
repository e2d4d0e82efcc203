"""Enrolled vehicles and one-time enrolment tokens, in the database.

A token is stored as its digest and used once. The same vehicle with the same key may present
it again (its answer was lost on the way). A key is replaced only by a token that the operator
tied to that vehicle.
"""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest import audit
from cloud_ingest.database import for_single_reads, to_time
from cloud_ingest.fleet_schema import check_ins, counter_readings
from cloud_ingest.problems import AbsentError
from cloud_ingest.schema import enrolment_tokens, vehicles
from contracts.clock import NS_PER_S, Clock
from contracts.errors import ConflictError, RefusedError
from contracts.upload import EnrolmentToken, EnrolmentTokenRequest

# Made once: each request of a vehicle asks.
_KEY = sa.select(vehicles.c.public_key).where(
    vehicles.c.vehicle_id == sa.bindparam("vehicle"), vehicles.c.revoked_utc.is_(None)
)


class Vehicles:
    """Who is enrolled, and how a vehicle becomes so."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._reads = for_single_reads(engine)
        self._clock = clock

    async def public_key(self, vehicle_id: str) -> bytes | None:
        """The vehicle's key; None when it is not enrolled or revoked."""
        async with self._reads.connect() as connection:
            found = (await connection.execute(_KEY, {"vehicle": vehicle_id})).scalar_one_or_none()
        return None if found is None else bytes(found)

    async def revoke(self, connection: AsyncConnection, vehicle_id: str, now_ns: int) -> bool:
        """Refuse the vehicle from the transaction's end on, with all tokens that it holds.

        False when it was revoked before. Raises `AbsentError` for an unknown one.
        """
        row = vehicles.c
        query = sa.select(row.revoked_utc).where(row.vehicle_id == vehicle_id).with_for_update()
        present = (await connection.execute(query)).one_or_none()
        if present is None:
            raise AbsentError("no such vehicle", "vehicle_id")
        if present.revoked_utc is not None:
            return False
        await connection.execute(
            sa.update(vehicles)
            .where(row.vehicle_id == vehicle_id)
            .values(revoked_utc=to_time(now_ns))
        )
        return True

    async def make_token(self, request: EnrolmentTokenRequest, actor: str) -> EnrolmentToken:
        """A fresh one-time token; only its digest is kept."""
        token = secrets.token_urlsafe(32)
        expires_utc_ns = self._clock.utc_ns() + request.valid_s * NS_PER_S
        row = {
            "token_sha256": _digest(token),
            "vehicle_id": request.vehicle_id,
            "expires_utc": to_time(expires_utc_ns),
        }
        async with self._engine.begin() as connection:
            await connection.execute(sa.insert(enrolment_tokens).values(row))
            subject = request.vehicle_id or "any vehicle"
            now_ns = self._clock.utc_ns()
            await audit.record(connection, now_ns, actor, "make enrolment token", subject)
        return EnrolmentToken(
            token=token, vehicle_id=request.vehicle_id, expires_utc_ns=expires_utc_ns
        )

    async def enrol(self, vehicle_id: str, public_key: bytes, token: str | None) -> None:
        """Enrol with a one-time token; `token` None where policy allows it.

        Raises `RefusedError` for a token that does not hold and for a revoked vehicle,
        `ConflictError` when the vehicle is enrolled with another key.
        """
        async with self._engine.begin() as connection:
            may_replace = False
            if token is not None:
                may_replace = await self._use_token(connection, token, vehicle_id, public_key)
            row = {
                "vehicle_id": vehicle_id,
                "public_key": public_key,
                "enrolled_utc": to_time(self._clock.utc_ns()),
            }
            await connection.execute(insert(vehicles).values(row).on_conflict_do_nothing())
            present = (
                await connection.execute(
                    sa.select(vehicles).where(vehicles.c.vehicle_id == vehicle_id).with_for_update()
                )
            ).one()
            if present.revoked_utc is not None:
                raise RefusedError("this vehicle was revoked", "vehicle_id")
            if bytes(present.public_key) == public_key:
                return
            if not may_replace:
                raise ConflictError(
                    "this vehicle is enrolled with another key; an operator can replace it "
                    "with an enrolment token tied to this vehicle",
                    "public_key",
                )
            await connection.execute(
                sa.update(vehicles)
                .where(vehicles.c.vehicle_id == vehicle_id)
                .values(public_key=public_key)
            )
            await _forget_check_ins(connection, vehicle_id)

    async def _use_token(
        self, connection: AsyncConnection, token: str, vehicle_id: str, public_key: bytes
    ) -> bool:
        """Spend the token. True when it was tied to this vehicle."""
        kept = enrolment_tokens.c
        row = (
            await connection.execute(
                sa.select(enrolment_tokens)
                .where(kept.token_sha256 == _digest(token))
                .with_for_update()
            )
        ).one_or_none()
        if row is None or (row.vehicle_id is not None and row.vehicle_id != vehicle_id):
            raise RefusedError("no such enrolment token for this vehicle", "token")
        if row.used_by is not None:
            if row.used_by == vehicle_id and bytes(row.used_key) == public_key:
                return False
            raise RefusedError("this enrolment token was used before", "token")
        if row.expires_utc <= to_time(self._clock.utc_ns()):
            raise RefusedError("this enrolment token has expired", "token")
        await connection.execute(
            sa.update(enrolment_tokens)
            .where(kept.token_sha256 == row.token_sha256)
            .values(used_by=vehicle_id, used_key=public_key)
        )
        return row.vehicle_id is not None


async def _forget_check_ins(connection: AsyncConnection, vehicle_id: str) -> None:
    """A vehicle with another key has lost its state: sequence and counters begin anew."""
    for table in (check_ins, counter_readings):
        await connection.execute(sa.delete(table).where(table.c.vehicle_id == vehicle_id))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
