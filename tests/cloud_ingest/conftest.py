"""One embedded PostgreSQL for the whole run; empty tables and a fresh folder for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.app import create_app
from cloud_ingest.database import migrate
from cloud_ingest.fleet_schema import metadata
from cloud_ingest.postgres import EmbeddedPostgres
from cloud_ingest.settings import Settings
from tests.cloud_ingest.support import RunningServer, Vehicle, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="lt-pg-"))
    server = EmbeddedPostgres(folder / "pg")
    try:
        server.start()
        _skip_disk_syncs(server.url)
        migrate(server.url)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _skip_disk_syncs(url: str) -> None:
    """Tests of power loss and kills run servers of their own."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("ALTER SYSTEM SET fsync = off"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    engine.dispose()


@pytest.fixture(scope="session")
def tables(postgres: EmbeddedPostgres) -> Iterator[sa.Engine]:
    """A synchronous way into the database, for looking and for emptying."""
    engine = sa.create_engine(postgres.url)
    yield engine
    engine.dispose()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, tables: sa.Engine) -> str:
    """A migrated database with empty tables."""
    names = ", ".join(metadata.tables)
    with tables.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY"))
    return postgres.url


StartCloud = Callable[..., RunningServer]


@pytest.fixture
def start_cloud(database_url: str, tmp_path: Path) -> Iterator[StartCloud]:
    """Start a service over the test's database and folder; again for a replica or a restart."""
    with ExitStack() as stack:

        def start(adapters: dict[str, Any] | None = None, **changes: Any) -> RunningServer:
            values: dict[str, Any] = {"folder": tmp_path / "cloud", "free_bytes_kept": 0}
            values["steps_workers"] = 0  # tests of the steps run them themselves
            settings = Settings(**(values | changes))
            app = create_app(settings, database_url, **(adapters or {}))
            return stack.enter_context(running(app))

        yield start


@pytest.fixture
def cloud(start_cloud: StartCloud) -> RunningServer:
    """A service in laptop mode."""
    return start_cloud()


@pytest.fixture
def http(cloud: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.url, timeout=30) as client:
        yield client


@pytest.fixture
def vehicle(http: httpx.Client) -> Vehicle:
    """`car-1`, enrolled and with a token."""
    found = Vehicle(http)
    assert found.enrol().status_code == 200
    assert found.authenticate().status_code == 200
    return found


@pytest.fixture
def other_vehicle(http: httpx.Client) -> Vehicle:
    found = Vehicle(http, "car-2")
    assert found.enrol().status_code == 200
    assert found.authenticate().status_code == 200
    return found
