"""An upload that is ended just while it is being completed becomes no clip."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.app import clip_manifest_reader
from cloud_ingest.schema import clips, deliveries, uploads
from contracts.clip import ClipManifest
from contracts.ids import PART_BYTES
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


class Gate:
    """A reader that stands still, between the object and its row, for as long as it is shut."""

    def __init__(self) -> None:
        self.reading = threading.Semaphore(0)
        self.opened = threading.Event()
        self._real = clip_manifest_reader()

    def __call__(self, source: Path | IO[bytes]) -> ClipManifest:
        self.reading.release()
        assert self.opened.wait(60)
        return self._real(source)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def server(start_cloud: StartCloud, gate: Gate) -> RunningServer:
    return start_cloud({"reader": gate})


def other_client(vehicle: Vehicle) -> Vehicle:
    http = httpx.Client(base_url=vehicle.http.base_url, timeout=60)
    return Vehicle(http, vehicle.vehicle_id, vehicle.key, vehicle.token)


@pytest.mark.parametrize("how", ["erased", "deleted"])
@pytest.mark.parametrize("kind", ["declared", "plain", "joined"])
def test_what_is_ended_in_between_is_no_clip(
    server: RunningServer, gate: Gate, tables: sa.Engine, tmp_path: Path, how: str, kind: str
) -> None:
    with (
        httpx.Client(base_url=server.url, timeout=60) as http,
        ThreadPoolExecutor(1) as beside,
    ):
        vehicle = enrolled(http)
        sender = other_client(vehicle)
        if kind == "joined":
            url = vehicle.create(len(CLIP), **{"Upload-Concat": "partial"}).headers["Location"]
            assert vehicle.patch(url, 0, CLIP).status_code == 204
            joins = {"Tus-Resumable": "1.0.0", "Upload-Concat": f"final;{url}"}
            sent = beside.submit(sender.http.post, "/v1/tus", headers=joins | vehicle.bearer)
        else:
            if kind == "declared":
                url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
            else:
                url = vehicle.create(len(CLIP)).headers["Location"]
            sent = beside.submit(sender.patch, url, 0, CLIP)
        assert gate.reading.acquire(timeout=30)
        if how == "erased":
            assert erase(http, "vehicle", "car-1")["clips"] == 0
            server.run(server.app.state.service.after.erasures.go_on())
        else:
            headers = {"Tus-Resumable": "1.0.0"} | vehicle.bearer
            (own,) = [row for row in rows(tables, uploads) if row.kind != "partial"]
            ended = http.delete(f"/v1/tus/{own.upload_id}", headers=headers)
            assert ended.status_code == 204
        gate.opened.set()
        assert sent.result(60).status_code in (404, 409, 410)
        assert rows(tables, clips) == rows(tables, deliveries) == []
        assert bytes_of(tmp_path / "cloud" / "objects", CLIP_ID) == []
        if how == "deleted":  # it is not barred
            assert vehicle.upload(CLIP, MANIFEST) == CLIP_ID
            assert [row.state for row in rows(tables, clips)] == ["ready"]
            assert http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP
        sender.http.close()


def test_an_object_that_two_uploads_share_stays_with_the_other(
    server: RunningServer, gate: Gate, tables: sa.Engine
) -> None:
    """One is deleted, the other completed, in either order of their ends."""
    with (
        httpx.Client(base_url=server.url, timeout=60) as http,
        ThreadPoolExecutor(2) as beside,
    ):
        vehicle = enrolled(http)
        senders = [other_client(vehicle), other_client(vehicle)]
        urls = [vehicle.create(len(CLIP)).headers["Location"] for _ in senders]
        sent = [
            beside.submit(sender.patch, url, 0, CLIP)
            for sender, url in zip(senders, urls, strict=True)
        ]
        for _ in senders:
            assert gate.reading.acquire(timeout=30)
        headers = {"Tus-Resumable": "1.0.0"} | vehicle.bearer
        assert http.delete(urls[0], headers=headers).status_code == 204
        gate.opened.set()
        assert sent[0].result(60).status_code == 410
        # Its object may have gone with the first one: then it is made again.
        assert sent[1].result(60).status_code in (204, 503)
        assert vehicle.offset(urls[1]) == len(CLIP)
        assert [row.state for row in rows(tables, clips)] == ["ready"]
        assert http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP
        for sender in senders:
            sender.http.close()


def test_a_lost_object_is_made_again(server: RunningServer, gate: Gate, tables: sa.Engine) -> None:
    """The first upload's end takes the object after the second has found it there."""
    committer = server.app.state.service.committer
    with (
        httpx.Client(base_url=server.url, timeout=60) as http,
        ThreadPoolExecutor(1) as beside,
    ):
        vehicle = enrolled(http)
        sender = other_client(vehicle)
        url = vehicle.create(len(CLIP)).headers["Location"]
        sent = beside.submit(sender.patch, url, 0, CLIP)
        assert gate.reading.acquire(timeout=30)
        now = sa.func.now()
        row = {"clip_id": CLIP_ID, "size_bytes": len(CLIP), "received_utc": now}
        server.run(committer._forget_object(row))
        gate.opened.set()
        assert sent.result(60).status_code == 503
        assert rows(tables, clips) == []
        assert vehicle.offset(url) == len(CLIP)
        assert [each.state for each in rows(tables, clips)] == ["ready"]
        assert http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP
        sender.http.close()


def test_erasures_and_completions_at_once_do_not_lock_up(
    start_cloud: StartCloud, tables: sa.Engine, tmp_path: Path
) -> None:
    """Spans, joined and plain uploads of one vehicle, erased while they end."""
    server = start_cloud()
    with httpx.Client(base_url=server.url, timeout=60) as http, ThreadPoolExecutor(9) as beside:
        vehicle = enrolled(http)
        finals = []
        for number in range(4):
            manifest = make_manifest(start_mono_ns=(10 + 20 * number) * 10**9)
            clip = make_clip(manifest, PART_BYTES + 1000 if number == 0 else 1000, number)
            halves = [clip[: len(clip) // 2], clip[len(clip) // 2 :]]
            urls = []
            for half in halves:
                made = vehicle.create(len(half), **{"Upload-Concat": "partial"})
                urls.append(made.headers["Location"])
                assert vehicle.patch(urls[-1], 0, half).status_code == 204
            # The same partial ones in two orders: two final uploads that want the same rows.
            finals += [f"final;{urls[0]} {urls[1]}", f"final;{urls[1]} {urls[0]}"]
        clients = [other_client(vehicle) for _ in finals]

        def join(client: Vehicle, concat: str) -> int:
            headers = {"Tus-Resumable": "1.0.0", "Upload-Concat": concat} | vehicle.bearer
            return client.http.post("/v1/tus", headers=headers).status_code

        joined = [beside.submit(join, *each) for each in zip(clients, finals, strict=True)]
        erase(http, "vehicle", "car-1")
        assert {each.result(60) for each in joined} <= {201, 400, 404, 409, 410, 460}
        server.run(server.app.state.service.after.erasures.go_on())
        left = {row.clip_id for row in rows(tables, clips)}
        barred = {row.clip_id for row in rows(tables, deliveries)}
        assert left == barred == set()
        assert bytes_of(tmp_path / "cloud" / "objects", "mcap") == []
        for client in clients:
            client.http.close()
