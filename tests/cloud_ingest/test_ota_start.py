"""What a service does about update keys when it starts, and what forbids a start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloud_ingest.database import open_engine
from cloud_ingest.fleet_schema import ota_metadata
from cloud_ingest.ota.ceremony import Plan, hold_ceremony
from cloud_ingest.ota.key_folder import KeyFolder
from cloud_ingest.ota.start import open_ota
from cloud_ingest.settings import Settings
from contracts.clock import SystemClock
from contracts.errors import LongtailError
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.ota_support import Person, http_of, role_state, write_spec
from tests.cloud_ingest.server_process import ServerProcess

TOKEN = "an operator's secret"
TIMESTAMP = "/v1/ota/image/metadata/timestamp.json"


StartError = Callable[..., str]


@pytest.fixture
def error_of_start(database_url: str, tmp_path: Path) -> StartError:
    """Why a service with these settings does not start."""

    async def refused(settings: Settings) -> str:
        engine = open_engine(database_url)
        try:
            with pytest.raises(LongtailError) as raised:
                await open_ota(engine, settings, SystemClock())
            return str(raised.value)
        finally:
            await engine.dispose()

    def start(**changes: Any) -> str:
        values: dict[str, Any] = {"folder": tmp_path / "cloud"}
        return asyncio.run(refused(Settings(**(values | changes))))

    return start


def test_a_laptop_makes_demo_keys_once_and_keeps_them(
    start_cloud: StartCloud, tmp_path: Path
) -> None:
    first = start_cloud()
    folder = KeyFolder(tmp_path / "cloud" / "ota")
    before = folder.newest("image", "root")
    second = start_cloud()
    assert folder.newest("image", "root") == before
    with http_of(first.url) as one, http_of(second.url) as two:
        assert one.get(TIMESTAMP).content == two.get(TIMESTAMP).content
        assert role_state(one, "root") == role_state(two, "root")


def test_a_restart_changes_nothing(
    start_cloud: StartCloud, tables: sa.Engine, tmp_path: Path
) -> None:
    person = Person(start_cloud().url, tmp_path / "cloud" / "ota" / "offline")
    person.publish(write_spec(tmp_path))
    with tables.connect() as connection:
        before = connection.execute(sa.select(ota_metadata)).all()
    start_cloud()
    with tables.connect() as connection:
        assert connection.execute(sa.select(ota_metadata)).all() == before


def test_demo_keys_are_refused_outside_of_dev_mode(
    start_cloud: StartCloud, error_of_start: StartError, tmp_path: Path, tables: sa.Engine
) -> None:
    hold_ceremony(tmp_path / "keys", Plan(demo=True), SystemClock())
    told = error_of_start(ota=tmp_path / "keys", operator_token=TOKEN)
    assert "made for trying out" in told
    with tables.connect() as connection:
        assert connection.execute(sa.select(ota_metadata)).all() == []
    server = start_cloud(ota=tmp_path / "keys", operator_token=TOKEN, allow_demo_keys=True)
    with http_of(server.url, TOKEN) as http:
        assert http.get(TIMESTAMP).status_code == 200
    assert "made for trying out" in error_of_start(ota=tmp_path / "keys", operator_token=TOKEN)


def test_real_keys_serve_anywhere(start_cloud: StartCloud, tmp_path: Path) -> None:
    hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    server = start_cloud(ota=tmp_path / "keys", operator_token=TOKEN)
    with http_of(server.url, TOKEN) as http:
        assert http.get(TIMESTAMP).status_code == 200


def test_the_folder_of_another_ceremony_is_refused(
    start_cloud: StartCloud, error_of_start: StartError, tmp_path: Path
) -> None:
    start_cloud()
    hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    told = error_of_start(ota=tmp_path / "keys")
    assert "they are of different key ceremonies" in told


def test_a_folder_that_is_gone_leaves_the_rest_working(
    start_cloud: StartCloud, tmp_path: Path
) -> None:
    start_cloud()
    server = start_cloud(folder=tmp_path / "elsewhere")
    with http_of(server.url) as http:
        assert http.get("/v1/clips").status_code == 200
        answer = http.get(TIMESTAMP)
        assert (answer.status_code, "restore their folder" in answer.text) == (404, True)
    assert not (tmp_path / "elsewhere" / "ota").exists(), "no other keys are made over them"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("metadata/image/1.root.json", "more are needed"),
        ("metadata/image/1.triggers.json", "role triggers is not signed"),
        ("metadata/director/1.root.json", "more are needed"),
    ],
)
def test_a_folder_that_does_not_verify_is_refused(
    error_of_start: StartError, tmp_path: Path, file: str, message: str
) -> None:
    hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    path = tmp_path / "keys" / file
    path.write_text(path.read_text().replace('"expires":"20', '"expires":"21'))
    assert message in error_of_start(ota=tmp_path / "keys")


def test_half_a_chain_is_refused(error_of_start: StartError, tmp_path: Path) -> None:
    folder = hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    path = folder.path / "metadata" / "image" / "1.root.json"
    path.rename(path.with_name("2.root.json"))
    assert "not version 1 of the root" in error_of_start(ota=folder.path)


def test_a_missing_online_key_is_said(error_of_start: StartError, tmp_path: Path) -> None:
    folder = hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    (folder.online / "image.pem").unlink()
    told = error_of_start(ota=folder.path)
    assert "does not hold the key of role" in told


def test_the_command_ends_with_the_reason(database_url: str, tmp_path: Path) -> None:
    hold_ceremony(tmp_path / "keys", Plan(demo=True), SystemClock())
    server = ServerProcess(tmp_path / "cloud")
    with pytest.raises(RuntimeError, match="made for trying out"):
        server.start(DATABASE_URL=database_url, LONGTAIL_OTA=str(tmp_path / "keys"))
    assert server.wait() == 1
