"""Object and row appear together and once, whatever the clip and whenever the crash."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.ports import Chunks, Completion
from cloud_ingest.schema import clips, deliveries, embeddings, outbox, uploads
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from contracts.clip import ClipEmbedding, ClipSummary
from contracts.errors import TransientError
from contracts.ids import PART_BYTES
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import (
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)

MANIFEST = make_manifest()
CLIP = make_clip(MANIFEST, 1000)


def rows(tables: sa.Engine, table: sa.Table) -> list[Any]:
    with tables.connect() as connection:
        return list(connection.execute(sa.select(table)))


def enrolled(http: httpx.Client, name: str = "car-1") -> Vehicle:
    vehicle = Vehicle(http, name)
    assert vehicle.enrol().status_code == 200
    assert vehicle.authenticate().status_code == 200
    return vehicle


def test_a_clip_is_catalogued_with_outbox_and_embedding(
    vehicle: Vehicle, tables: sa.Engine
) -> None:
    manifest = make_manifest(
        embedding=ClipEmbedding(model_digest="a" * 64, vector=(0.6, 0.8)), scene_hash="s1"
    )
    clip_id = vehicle.upload(make_clip(manifest), manifest)
    (row,) = rows(tables, clips)
    assert (row.clip_id, row.state, row.causes, row.scene_hash) == (
        clip_id, "ready", ["brake"], "s1",
    )  # fmt: skip
    assert row.safety is True
    assert row.manifest == manifest.model_dump(mode="json")
    (vector,) = rows(tables, embeddings)
    assert list(vector.vector) == pytest.approx([0.6, 0.8])
    (entry,) = rows(tables, outbox)
    assert (entry.topic, entry.clip_id) == ("clip.committed", clip_id)
    # The same clip once more changes nothing.
    vehicle.upload(make_clip(manifest), manifest)
    assert len(rows(tables, outbox)) == 1


def search(http: httpx.Client, **query: str) -> list[dict[str, Any]]:
    answer = http.get("/v1/clips", params=query)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["clips"]
    return found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"this is no MCAP file at all, but it arrived whole", "cannot be read"),
        (CLIP[: len(CLIP) // 2], "cannot be read"),
        (make_clip(make_manifest("car-9")), "of vehicle car-9"),
        (make_clip(make_manifest(summary=ClipSummary(lat_deg=900, lon_deg=0))), "no place"),
        (make_clip(make_manifest(utc_minus_mono_ns=10**30)), "out of the calendar"),
        (make_clip(make_manifest(summary=ClipSummary(weather="a\0b"))), "NUL"),
        (make_clip(make_manifest(summary=ClipSummary(image_frames=10**30))), "out of range"),
    ],
)
def test_what_cannot_be_catalogued_is_kept_aside(
    http: httpx.Client, vehicle: Vehicle, content: bytes, words: str
) -> None:
    clip_id = vehicle.upload(content, MANIFEST)
    assert vehicle.status(clip_id)["state"] == "committed"
    assert search(http) == []
    (found,) = search(http, include_quarantined="true")
    assert (found["clip_id"], found["state"]) == (clip_id, "quarantined")
    assert words in found["state_reason"]
    assert http.get(f"/clips/{clip_id}.mcap").content == content


def test_a_second_clip_of_one_event_is_kept_aside(http: httpx.Client, vehicle: Vehicle) -> None:
    first = vehicle.upload(CLIP, MANIFEST)
    second = vehicle.upload(make_clip(MANIFEST, 1000, seed=9), MANIFEST)
    assert vehicle.status(second)["state"] == "committed"
    assert [clip["clip_id"] for clip in search(http)] == [first]
    aside = search(http, where=f"clip_id = '{second}'", include_quarantined="true")
    assert first in aside[0]["state_reason"]


def test_a_stolen_clip_becomes_its_owners(
    http: httpx.Client, vehicle: Vehicle, other_vehicle: Vehicle, tables: sa.Engine
) -> None:
    """`car-2` sends what `car-1` has recorded, before `car-1` does."""
    clip_id = other_vehicle.upload(CLIP, MANIFEST.model_copy(update={
        "event": MANIFEST.event.model_copy(update={"vehicle_id": "car-2"})
    }))  # fmt: skip
    assert search(http) == []
    assert vehicle.status(clip_id)["state"] == "absent"
    vehicle.upload(CLIP, MANIFEST)
    (found,) = search(http)
    assert (found["vehicle_id"], found["state_reason"]) == ("car-1", None)
    assert {row.vehicle_id for row in rows(tables, deliveries)} == {"car-1", "car-2"}
    # And sent by the other once more, it stays the owner's.
    vehicle.upload(CLIP, MANIFEST)
    assert [row.vehicle_id for row in rows(tables, clips)] == ["car-1"]


def test_racing_completions_make_one_row(vehicle: Vehicle, tables: sa.Engine) -> None:
    urls = [vehicle.create(len(CLIP)).headers["Location"] for _ in range(6)]
    for url in urls:
        vehicle.patch(url, 0, CLIP[:-1])
    answers: list[int] = []

    def finish(url: str) -> None:
        answers.append(vehicle.patch(url, len(CLIP) - 1, CLIP[-1:]).status_code)

    threads = [threading.Thread(target=finish, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [204] * 6
    assert (
        len(rows(tables, clips)) == len(rows(tables, outbox)) == len(rows(tables, deliveries)) == 1
    )


class DiesAfterPublishing:
    """An object store whose process dies right after the object appeared, `times` times."""

    def __init__(self, inner: LocalObjects, times: int) -> None:
        self._inner = inner
        self._times = times

    async def size_bytes(self, clip_id: str) -> int | None:
        return await self._inner.size_bytes(clip_id)

    async def publish(self, clip_id: str, source: Path) -> Completion:
        completion = await self._inner.publish(clip_id, source)
        if self._times:
            self._times -= 1
            raise TransientError("died between object and row")
        return completion

    def read(self, clip_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        return self._inner.read(clip_id, start, length)

    def open(self, clip_id: str) -> IO[bytes]:
        return self._inner.open(clip_id)


@pytest.mark.parametrize("healer", ["head", "patch", "status", "declare", "restart"])
def test_a_crash_between_object_and_row_is_healed(
    start_cloud: StartCloud, tables: sa.Engine, tmp_path: Path, healer: str
) -> None:
    objects = DiesAfterPublishing(LocalObjects(tmp_path / "cloud" / "objects"), times=1)
    server = start_cloud({"objects": objects})
    clip_id = clip_id_of_bytes(CLIP)
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
        assert vehicle.patch(url, 0, CLIP).status_code == 503
        assert rows(tables, clips) == []
        match healer:
            case "head":
                assert vehicle.offset(url) == len(CLIP)
            case "patch":
                assert vehicle.patch(url, len(CLIP), b"").status_code == 204
            case "status":
                assert vehicle.status(clip_id)["state"] == "committed"
            case "declare":
                assert vehicle.declare(CLIP, MANIFEST).json()["answer"] == "have_it"
            case _:
                server.run(server.app.state.collector.sweep())
        assert [row.clip_id for row in rows(tables, clips)] == [clip_id]
        assert vehicle.status(clip_id)["state"] == "committed"
        assert http.get(f"/clips/{clip_id}.mcap").content == CLIP
    assert list((tmp_path / "cloud" / "parts").iterdir()) == []


def test_another_replica_goes_on_and_verifies_what_it_did_not(
    start_cloud: StartCloud, tmp_path: Path, tables: sa.Engine
) -> None:
    content = make_clip(MANIFEST, PART_BYTES + 10_000)
    first, second = start_cloud(), start_cloud()
    with httpx.Client(base_url=first.url) as http, httpx.Client(base_url=second.url) as other:
        vehicle = enrolled(http)
        url = vehicle.declare(content, MANIFEST).json()["upload_url"]
        assert vehicle.patch(url, 0, content[: PART_BYTES + 100]).status_code == 204
        # The disk lies about a part that the first replica had verified.
        (stored,) = (tmp_path / "cloud" / "parts").glob("*/*")
        with stored.open("r+b") as file:
            file.write(b"?")
        there = Vehicle(other, key=vehicle.key, token=vehicle.token)
        moved = url.replace(first.url, second.url)
        answer = there.patch(moved, PART_BYTES + 100, content[PART_BYTES + 100 :])
        assert (answer.status_code, answer.json()["place"]) == (460, "part 0")
        assert there.offset(moved) == 0
        assert there.patch(moved, 0, content).status_code == 204
    assert [row.state for row in rows(tables, clips)] == ["ready"]


class FullDisk(LocalParts):
    """A part store whose disk takes `room` more bytes, and then says so as Linux does."""

    room = 0

    def _write(self, file: int, at_bytes: int, chunks: Chunks) -> None:
        for chunk in chunks:
            written = os.pwrite(file, chunk[: self.room], at_bytes)
            self.room -= written
            at_bytes += written
            if written < len(chunk):
                raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_loses_nothing(start_cloud: StartCloud, tmp_path: Path) -> None:
    parts = FullDisk(tmp_path / "cloud" / "parts", LocalObjects(tmp_path / "cloud" / "objects"))
    server = start_cloud({"parts": parts})
    content = make_clip(MANIFEST, 2 * PART_BYTES)
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = enrolled(http)
        url = vehicle.declare(content, MANIFEST).json()["upload_url"]
        parts.room = PART_BYTES + 1000
        assert vehicle.patch(url, 0, content).status_code == 507
        assert vehicle.offset(url) == PART_BYTES
        assert http.get("/healthz").status_code == 200
        assert vehicle.patch(url, PART_BYTES, content[PART_BYTES:]).status_code == 507
        assert vehicle.offset(url) == PART_BYTES
        parts.room = 2**40
        assert vehicle.patch(url, PART_BYTES, content[PART_BYTES:]).status_code == 204
        assert vehicle.status(clip_id_of_bytes(content))["state"] == "committed"


def test_a_nearly_full_disk_asks_to_wait(start_cloud: StartCloud) -> None:
    server = start_cloud(free_bytes_kept=2**60)
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        answer = vehicle.declare(CLIP, MANIFEST).json()
        assert (answer["answer"], answer["retry_after_s"]) == ("wait", 60)
        told = vehicle.create(len(CLIP))
        assert (told.status_code, told.json()["message"]) == (507, "the store is nearly full")


def test_bytes_of_ended_uploads_are_swept(cloud: RunningServer, vehicle: Vehicle) -> None:
    parts = cloud.app.state.service.settings.folder / "parts"
    url = vehicle.create(len(CLIP)).headers["Location"]
    vehicle.patch(url, 0, CLIP[:10])
    (parts / ("0123abcd" * 4)).mkdir()
    (parts / ("0123abcd" * 4) / "image").write_bytes(b"left behind")
    cloud.run(cloud.app.state.collector.sweep())
    assert [path.name for path in parts.iterdir()] == [url.rsplit("/", 1)[1]]


def test_a_hostile_file_cannot_stop_the_commit(start_cloud: StartCloud, tables: sa.Engine) -> None:
    def fails(source: object) -> Any:
        raise RecursionError("deep")

    server = start_cloud({"reader": fails})
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        vehicle.upload(CLIP, MANIFEST)
    (row,) = rows(tables, clips)
    assert (row.state, row.state_reason) == ("quarantined", "cannot be read: RecursionError")
    assert [upload.state for upload in rows(tables, uploads)] == ["committed"]
