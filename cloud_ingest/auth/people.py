"""People's tokens: made by an admin, told once, kept as digests, refused at once when revoked."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest import audit
from cloud_ingest.database import to_ns, to_time
from cloud_ingest.people_schema import people
from cloud_ingest.problems import AbsentError
from contracts.clock import NS_PER_S, Clock
from contracts.fleet import Order
from contracts.people import ROLES, PersonRequest, PersonRow, PersonToken, Role

PREFIX = "ltp_"
"""Of every person's token: one that leaks is recognised, and no vehicle's is looked up."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `name` is None for the service's own token and in laptop mode."""

    name: str | None
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this role has all rights of that one."""
        return ROLES.index(self.role) >= ROLES.index(role)


class People:
    """All people with a token."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def caller(self, token: str) -> Caller | None:
        """Whose token it is; None for one that is unknown, expired or revoked."""
        if not token.startswith(PREFIX):
            return None
        query = sa.select(people.c.name, people.c.role).where(
            people.c.token_sha256 == _digest(token),
            people.c.revoked_utc.is_(None),
            people.c.expires_utc > to_time(self._clock.utc_ns()),
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Caller(row.name, cast(Role, row.role))

    async def add(self, request: PersonRequest) -> PersonToken:
        """Let somebody in; a token that they had holds no longer."""
        now_ns = self._clock.utc_ns()
        token = PREFIX + secrets.token_urlsafe(32)
        row: dict[str, Any] = {
            "name": request.name, "role": request.role, "token_sha256": _digest(token),
            "created_utc": to_time(now_ns),
            "expires_utc": to_time(now_ns + request.valid_s * NS_PER_S), "revoked_utc": None,
        }  # fmt: skip
        statement = insert(people).values(row)
        async with self._engine.begin() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=[people.c.name], set_=row)
            )
            subject = f"{request.name} as {request.role}"
            await audit.record(
                connection, now_ns, request.actor, "add person", subject, request.reason
            )
        return PersonToken(
            name=request.name, role=request.role, token=token, created_utc_ns=now_ns,
            expires_utc_ns=now_ns + request.valid_s * NS_PER_S,
        )  # fmt: skip

    async def revoke(self, name: str, order: Order) -> PersonRow:
        """Refuse somebody from now on. Raises `AbsentError`."""
        now_ns = self._clock.utc_ns()
        statement = (
            sa.update(people).where(people.c.name == name)
            .values(revoked_utc=sa.func.coalesce(people.c.revoked_utc, to_time(now_ns)))
            .returning(*_SHOWN)
        )  # fmt: skip
        async with self._engine.begin() as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
            if row is None:
                raise AbsentError("there is nobody of this name", "name")
            await audit.record(connection, now_ns, order.actor, "revoke person", name, order.reason)
        return _person(row)

    async def all(self) -> tuple[PersonRow, ...]:
        """Everybody who was let in, in the order of names."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(*_SHOWN).order_by(people.c.name))
            return tuple(_person(row) for row in rows.mappings())


_SHOWN = (
    people.c.name, people.c.role, people.c.created_utc, people.c.expires_utc, people.c.revoked_utc,
)  # fmt: skip


def _person(row: sa.RowMapping) -> PersonRow:
    revoked = row["revoked_utc"]
    return PersonRow(
        name=row["name"], role=row["role"], created_utc_ns=to_ns(row["created_utc"]),
        expires_utc_ns=to_ns(row["expires_utc"]),
        revoked_utc_ns=None if revoked is None else to_ns(revoked),
    )  # fmt: skip


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
