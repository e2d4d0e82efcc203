"""Signed metadata in the database: every version of what people sign, the newest of the rest.

All functions work on the caller's connection, so on its transaction. Who changes a repository
holds its advisory lock until the end of the transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import to_time
from cloud_ingest.fleet_schema import ota_metadata, ota_waiting
from cloud_ingest.ota.key_folder import Repository

IMAGE_LOCK = 0x4C4F5441
DIRECTOR_LOCK = IMAGE_LOCK + 1
WAITING_DIRECTOR_ROOT = "director/root"

_metadata = ota_metadata.c


@dataclass(frozen=True, slots=True)
class Kept:
    """One version of a role's metadata, exact bytes."""

    version: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """Metadata that too few have signed so far, and who sent it."""

    content: bytes
    actor: str


async def lock(connection: AsyncConnection, number: int, *, shared: bool = False) -> None:
    """Hold a repository's lock until the transaction ends."""
    take = sa.func.pg_advisory_xact_lock_shared if shared else sa.func.pg_advisory_xact_lock
    await connection.execute(sa.select(take(number)))


async def newest(
    connection: AsyncConnection, repository: Repository, roles: Sequence[str]
) -> dict[str, Kept]:
    """The newest version of each role that has one."""
    query = (
        sa.select(_metadata.role, _metadata.version, _metadata.content)
        .where(_metadata.repository == repository, _metadata.role.in_(roles))
        .ext(distinct_on(_metadata.role))
        .order_by(_metadata.role, _metadata.version.desc())
    )
    rows = await connection.execute(query)
    return {row.role: Kept(row.version, bytes(row.content)) for row in rows}


async def exact(
    connection: AsyncConnection, repository: Repository, role: str, version: int
) -> bytes | None:
    query = sa.select(_metadata.content).where(
        _metadata.repository == repository, _metadata.role == role, _metadata.version == version
    )
    found = (await connection.execute(query)).scalar_one_or_none()
    return None if found is None else bytes(found)


async def newest_version(
    connection: AsyncConnection, repository: Repository, role: str
) -> int | None:
    query = sa.select(sa.func.max(_metadata.version)).where(
        _metadata.repository == repository, _metadata.role == role
    )
    version: int | None = (await connection.execute(query)).scalar_one()
    return version


async def add(
    connection: AsyncConnection,
    repository: Repository,
    role: str,
    version: int,
    content: bytes,
    now_utc_ns: int,
) -> None:
    row = {
        "repository": repository,
        "role": role,
        "version": version,
        "content": content,
        "created_utc": to_time(now_utc_ns),
    }
    await connection.execute(sa.insert(ota_metadata).values(row))


async def forget_before(
    connection: AsyncConnection, role: str, version: int, created_before: dt.datetime
) -> None:
    """Drop old versions of what the service itself signs for the image repository."""
    await connection.execute(
        sa.delete(ota_metadata).where(
            _metadata.repository == "image", _metadata.role == role,
            _metadata.version < version, _metadata.created_utc <= created_before,
        )
    )  # fmt: skip


async def waiting(connection: AsyncConnection, role: str) -> Waiting | None:
    query = sa.select(ota_waiting).where(ota_waiting.c.role == role)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Waiting(bytes(row.content), row.actor)


async def put_waiting(
    connection: AsyncConnection, role: str, found: Waiting, now_utc_ns: int
) -> None:
    await drop_waiting(connection, role)
    row = {"role": role, "content": found.content, "actor": found.actor}
    await connection.execute(
        sa.insert(ota_waiting).values(row | {"created_utc": to_time(now_utc_ns)})
    )


async def drop_waiting(connection: AsyncConnection, role: str) -> None:
    await connection.execute(sa.delete(ota_waiting).where(ota_waiting.c.role == role))
