"""An object whose replica was killed before its row, and whose upload is ended then, goes too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.schema import clips, ended_clips, uploads
from contracts.errors import TransientError
from tests.cloud_ingest.after.test_erasure import bytes_of, erase
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import (
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)
from tests.cloud_ingest.test_commit import enrolled, rows

MANIFEST = make_manifest()
CLIP = make_clip(MANIFEST, 1000)
CLIP_ID = clip_id_of_bytes(CLIP)


@pytest.fixture
def server(start_cloud: StartCloud) -> RunningServer:
    return start_cloud()


@pytest.fixture
def vehicle(server: RunningServer) -> Iterator[Vehicle]:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield enrolled(http)


@pytest.fixture
def left(
    server: RunningServer, vehicle: Vehicle, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Sends the clip to a replica that dies between the object and its row; the upload's URL."""

    async def die(*_: object) -> None:
        raise TransientError("as if it had been killed here")

    def send(*, declared: bool = True) -> str:
        if declared:
            url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
        else:
            url = vehicle.create(len(CLIP)).headers["Location"]
        with monkeypatch.context() as during:
            during.setattr(server.app.state.service.committer, "commit", die)
            assert vehicle.patch(url, 0, CLIP).status_code == 503
        return str(url)

    return send


def swept(server: RunningServer, tables: sa.Engine, *, an_hour_later: bool = True) -> None:
    if an_hour_later:
        with tables.begin() as connection:
            earlier = ended_clips.c.ended_utc - sa.text("interval '1 hour'")
            connection.execute(sa.update(ended_clips).values(ended_utc=earlier))
    server.run(server.app.state.collector._round())


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("how", ["erased", "deleted", "expired"])
def test_what_a_killed_replica_left_goes(
    server: RunningServer, vehicle: Vehicle, left: Callable[..., str], tables: sa.Engine,
    tmp_path: Path, how: str, declared: bool,
) -> None:  # fmt: skip
    url, objects = left(declared=declared), tmp_path / "cloud" / "objects"
    if how == "erased":
        erase(vehicle.http, "vehicle", "car-1")
        server.run(server.app.state.service.after.erasures.go_on())
    elif how == "deleted":
        headers = {"Tus-Resumable": "1.0.0"} | vehicle.bearer
        assert vehicle.http.delete(url, headers=headers).status_code == 204
    else:
        with tables.begin() as connection:
            connection.execute(sa.update(uploads).values(expires_utc=sa.func.now()))
        server.run(server.app.state.collector.collect_expired())
    assert rows(tables, uploads) == rows(tables, clips) == []
    swept(server, tables, an_hour_later=False)  # Another replica may still be at it.
    assert bytes_of(objects, CLIP_ID) != []
    swept(server, tables)
    assert bytes_of(objects, CLIP_ID) == [] and rows(tables, ended_clips) == []
    # The clip itself may come: it is not barred.
    if how != "erased":
        assert vehicle.upload(CLIP, MANIFEST) == CLIP_ID
        assert vehicle.http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP


def test_an_object_that_became_a_clip_stays(
    server: RunningServer, vehicle: Vehicle, left: Callable[..., str], tables: sa.Engine
) -> None:
    url = left(declared=False)
    headers = {"Tus-Resumable": "1.0.0"} | vehicle.bearer
    assert vehicle.http.delete(url, headers=headers).status_code == 204
    assert vehicle.upload(CLIP, MANIFEST) == CLIP_ID
    swept(server, tables)
    assert rows(tables, ended_clips) == []
    assert vehicle.http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP


@pytest.mark.parametrize("erased", ["barred", "erased"])
def test_what_was_published_after_an_erasure_goes_once_the_store_lets_it(
    server: RunningServer, vehicle: Vehicle, left: Callable[..., str], tables: sa.Engine,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, erased: str,
) -> None:  # fmt: skip
    url, objects = left(), tmp_path / "cloud" / "objects"
    (path,) = bytes_of(objects, CLIP_ID)
    service = server.app.state.service
    erase(vehicle.http, "clip", CLIP_ID)

    async def refuse(clip_id: str) -> None:
        raise TransientError("the store is away")

    with monkeypatch.context() as during:
        during.setattr(service.committer._objects, "remove", refuse)
        if erased == "barred":  # The commit finds it so, and cannot take its object back.
            assert vehicle.head(url).status_code in (410, 503)
        else:  # All is erased, and then a replica that was slow publishes, and is killed.
            during.undo()
            server.run(service.after.erasures.go_on())
            assert bytes_of(objects, CLIP_ID) == []
            Path(path).write_bytes(CLIP)
            during.setattr(service.committer._objects, "remove", refuse)
        swept(server, tables)
        assert len(rows(tables, ended_clips)) == 1
    assert bytes_of(objects, CLIP_ID) == [path]
    swept(server, tables)
    assert bytes_of(objects, CLIP_ID) == [] and rows(tables, ended_clips) == []


def test_nothing_is_published_of_an_upload_that_was_ended(
    server: RunningServer, vehicle: Vehicle, tables: sa.Engine, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It ends after its last byte, and before it is known which clip it is."""
    book = server.app.state.service.receiver._book
    identify = book.identify

    async def ended(upload_id: str, clip_id: str) -> bool:
        with tables.begin() as connection:
            connection.execute(sa.delete(uploads).where(uploads.c.upload_id == upload_id))
        return bool(await identify(upload_id, clip_id))

    monkeypatch.setattr(book, "identify", ended)
    url = vehicle.create(len(CLIP)).headers["Location"]
    assert vehicle.patch(url, 0, CLIP).status_code == 410
    assert bytes_of(tmp_path / "cloud" / "objects", CLIP_ID) == []
