"""The service as a process: ready file, lock, orderly end, and its embedded PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from cloud_ingest.database import migrate, sqlalchemy_url, to_ns, to_time
from cloud_ingest.postgres import EmbeddedPostgres, PostgresError
from cloud_ingest.schema import metadata
from cloud_ingest.serve import serve
from cloud_ingest.settings import Settings
from contracts.errors import ConflictError, InputError
from tests.cloud_ingest.server_process import ServerProcess


@pytest.fixture
def short_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lt-srv-"))
    yield folder
    shutil.rmtree(folder)


def databases_of(folder: Path) -> list[int]:
    """Pids of PostgreSQL servers on `folder`."""
    found: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if b"-D" in command and os.fsencode(folder / "postgres" / "cluster") in command:
                found[int(entry.name)] = int((entry / "stat").read_text().split()[3])
    # A backend that was forked just now still looks as its postmaster does.
    return [pid for pid, parent in found.items() if parent not in found]


def test_start_stop_kill_and_start_again(short_folder: Path) -> None:
    server = ServerProcess(short_folder / "cloud")
    server.start()
    assert httpx.get(f"{server.url}/healthz").json()["status"] == "ok"
    assert len(databases_of(server.folder)) == 1
    with pytest.raises(ConflictError, match="another service"):
        serve(Settings(folder=server.folder, port=0))
    with pytest.raises(InputError, match="cannot listen"):
        serve(Settings(folder=short_folder / "other", port=int(server.url.rsplit(":", 1)[1])))
    assert server.stop() == 0
    assert databases_of(server.folder) == []
    assert "ready" in server.log()
    server.start()
    server.kill()
    assert len(databases_of(server.folder)) == 1, "nobody was there to stop it"
    server.start()
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert server.end(signal.SIGINT) == 0, "Ctrl-C ends as orderly as SIGTERM"
    assert databases_of(server.folder) == []


def test_a_database_survives_kills_and_strangers_pids(short_folder: Path) -> None:
    # So deep that the socket must lie elsewhere.
    postgres = EmbeddedPostgres(short_folder / ("deep" * 20) / "pg")
    postgres.start()
    try:
        engine = sa.create_engine(postgres.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE kept (a int)"))
        postgres.kill()
        postgres.start()
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT a FROM kept"))
        postgres.stop()
        pid_file = short_folder / ("deep" * 20) / "pg" / "cluster" / "postmaster.pid"
        pid_file.write_text(f"{os.getpid()}\n" + "x\n" * 7)
        postgres.start()
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT a FROM kept"))
    finally:
        postgres.stop()


def test_what_the_database_says_is_passed_on(short_folder: Path) -> None:
    folder = short_folder / "a name with spaces"
    postgres = EmbeddedPostgres(folder)
    postgres.start()
    postgres.stop()
    (folder / "cluster" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(PostgresError, match="no_such_setting"):
        postgres.start()


def test_the_migrations_make_the_schema(tables: sa.Engine, postgres: EmbeddedPostgres) -> None:
    migrate(postgres.url)  # again is as good as once
    with tables.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_of_a_later_version_is_refused(postgres: EmbeddedPostgres) -> None:
    admin = sa.create_engine(
        postgres.database_url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    later = sa.create_engine(postgres.database_url("later"), poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE later"))
    migrate(postgres.database_url("later"))
    with later.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match="another version"):
        migrate(postgres.database_url("later"))


@pytest.mark.parametrize("url", ["mysql://x/y", "db.sqlite", ""])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        sqlalchemy_url(url)
    assert sqlalchemy_url("postgres://h/d") == "postgresql+psycopg://h/d"


def test_times_keep_their_microsecond() -> None:
    for utc_ns in (0, 1_700_000_000_123_456_000, -1_000):
        assert to_ns(to_time(utc_ns)) == utc_ns
    with pytest.raises(InputError):
        to_time(10**30)


def test_a_service_ends_with_an_error_when_its_database_has_ended(short_folder: Path) -> None:
    server = ServerProcess(short_folder / "cloud")
    server.start()
    (pid, *_) = databases_of(server.folder)
    os.kill(pid, signal.SIGKILL)
    assert server.wait() != 0
    assert "the embedded database ended by itself" in server.log()
    server.start()
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert server.stop() == 0


def test_laptop_mode_does_not_speak_to_old_proxies(short_folder: Path) -> None:
    server = ServerProcess(short_folder / "cloud")
    server.start()
    host, port = server.url.removeprefix("http://").split(":")
    for version, status in ((b"1.1", b"200"), (b"1.0", b"403")):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(
                b"GET /v1/clips HTTP/" + version + b"\r\nHost: 127.0.0.1\r\n"
                b"Connection: close\r\n\r\n"
            )
            assert connection.recv(4096).split(b" ")[1] == status
    assert server.stop() == 0
