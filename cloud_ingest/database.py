"""Connections and migrations.

Migrations run at every start under an advisory lock, so that replicas that start together
migrate once, and a service never meets tables of another version.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from contracts.clock import NS_PER_S
from contracts.errors import InputError, TransientError

_MIGRATION_LOCK = 0x4C4F4E47  # any number that nobody else uses
_CLOSE_TRIES, _CLOSE_WAIT_S = 100, 0.02
_SINGLES = "longtail_singles"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def sqlalchemy_url(url: str) -> str:
    """`postgres://` and `postgresql://` with the driver that is installed."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise InputError("must start with postgresql://", "DATABASE_URL")
    return f"postgresql+psycopg://{rest}"


def open_engine(url: str) -> AsyncEngine:
    """A pool for one event loop. Dispose of it in the same loop.

    Connections are not probed before use, which would double the round trips of a PATCH: the
    first one to meet a restarted database fails as transient, and the pool is made anew.
    """
    # Single reads are by far the most, so connections lie in the pool as these want them.
    singles = create_async_engine(
        sqlalchemy_url(url), pool_size=10, max_overflow=10, pool_timeout=30,
        isolation_level="AUTOCOMMIT",
    )  # fmt: skip
    options: dict[str, Any] = {"isolation_level": "READ COMMITTED", _SINGLES: singles}
    return singles.execution_options(**options)


async def close_engine(engine: AsyncEngine) -> None:
    """Close the pool once its connections are back.

    A task that is cancelled just as it gives its connection back leaves that to a task of its own,
    which nobody waits for.
    """
    pool = engine.pool
    for _ in range(_CLOSE_TRIES):
        if not isinstance(pool, sa.QueuePool) or not pool.checkedout():
            break
        await asyncio.sleep(_CLOSE_WAIT_S)
    await engine.dispose()


def for_single_reads(engine: AsyncEngine) -> AsyncEngine:
    """The same pool for single SELECTs: no BEGIN and ROLLBACK around each."""
    singles: AsyncEngine = engine.get_execution_options()[_SINGLES]
    return singles


def among(column: sa.ColumnElement[str], texts: Iterable[str]) -> sa.ColumnElement[bool]:
    """Whether a column is one of these, of which there may be any number.

    They are one array: `IN` has a parameter for each, and PostgreSQL takes 65,535.
    """
    return column == sa.any_(sa.literal(list(texts), ARRAY(sa.Text)))


def migrate(url: str) -> None:
    """Bring the tables to this version. Raises `TransientError` when the database is away."""
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=sa.NullPool)
    try:
        with engine.connect() as lock:
            lock.execute(sa.select(sa.func.pg_advisory_lock(_MIGRATION_LOCK)))
            lock.commit()  # the lock is the session's; an open transaction would only be in the way
            with engine.connect() as connection:
                config = Config()
                config.set_main_option(
                    "script_location", str(Path(__file__).with_name("migrations"))
                )
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except sa.exc.OperationalError as error:
        raise TransientError(f"the database does not answer: {error.orig}") from error
    except CommandError as error:
        raise InputError(f"the database is of another version: {error}") from error
    finally:
        engine.dispose()


def to_time(utc_ns: int) -> dt.datetime:
    """Nanoseconds since 1970 as a timestamp in UTC, to the microsecond below.

    Raises `InputError` for a time that no calendar has.
    """
    try:
        return _EPOCH + dt.timedelta(microseconds=utc_ns // 1000)
    except OverflowError as error:
        raise InputError(f"{utc_ns} ns is out of the calendar", "utc_ns") from error


def to_ns(time: dt.datetime) -> int:
    """A timestamp as nanoseconds since 1970."""
    delta = time - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1000
