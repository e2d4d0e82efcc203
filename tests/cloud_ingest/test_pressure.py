"""Near its limits the service slows the fleet, turns the least valuable away, loses nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.ports import Chunks, Piece, Place
from cloud_ingest.schema import clips
from cloud_ingest.steps_schema import step_runs
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from contracts.clip import ClipManifest
from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES
from contracts.upload import ADVISED_RATE_HEADER
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import (
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    declaration,
    make_clip,
    make_manifest,
)
from tests.cloud_ingest.test_commit import enrolled
from tests.cloud_ingest.test_vehicle_uploads import commit, drain
from tests.edge_agent.upload_rig import rig

MIB = 2**20
KINDS = {
    "ordinary": {},
    "random": {"stream": "random"},
    "safety": {"safety": True},
}


def some_clip(
    number: int, size: int = 1000, vehicle_id: str = "car-1"
) -> tuple[bytes, ClipManifest]:
    manifest = make_manifest(vehicle_id, number * 20 * NS_PER_S)
    return make_clip(manifest, size, number), manifest


def declare(vehicle: Vehicle, content: bytes, manifest: ClipManifest, kind: str) -> httpx.Response:
    body = declaration(content, manifest) | KINDS[kind]
    return vehicle.http.post("/v1/uploads", json=body, headers=vehicle.bearer)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def set_unfinished(tables: sa.Engine, count: int) -> None:
    """So many clips whose steps are not done."""
    now = sa.func.now()
    rows = [
        {"clip_id": f"{number:064x}", "state": "open", "due_utc": now, "changed_utc": now}
        for number in range(count)
    ]
    with tables.begin() as connection:
        connection.execute(sa.delete(step_runs))
        for row in rows:
            connection.execute(sa.insert(step_runs).values(row))


def test_the_least_valuable_wait_first(
    start_cloud: StartCloud, tables: sa.Engine, clock: VirtualClock
) -> None:
    server = start_cloud({"clock": clock}, unfinished_clips=20)
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        under_way = declare(vehicle, *some_clip(99), "ordinary").json()["upload_url"]
        steps = [(0, set()), (14, {"ordinary"}), (17, {"ordinary", "random"}), (20, set(KINDS))]
        content, _ = some_clip(99)
        vehicle.upload(*some_clip(98, 40_000_000))
        rates: list[float | None] = []
        for depth, waiting in steps:
            set_unfinished(tables, depth)
            clock.set_mono_ns(clock.mono_ns() + 6 * NS_PER_S)
            for number, kind in enumerate(KINDS):
                told = declare(vehicle, *some_clip(10 * depth + number), kind).json()
                assert (told["answer"] == "wait") == (kind in waiting), (depth, kind)
                if kind in waiting:
                    assert told["retry_after_s"] >= 2
                assert (told["advised_bytes_per_s"] is not None) == (depth >= 10)
                rates.append(told["advised_bytes_per_s"])
            sent = vehicle.patch(under_way, 0, b"")
            assert sent.status_code == (503 if "ordinary" in waiting else 204)
            if "ordinary" in waiting:
                assert (sent.status_code, sent.json()["error"]) == (503, "pressure")
                assert sent.json()["scope"] == "clip"
                assert float(sent.headers["Retry-After"]) >= 2
        advised = [rate for rate in rates if rate is not None]
        assert advised == sorted(advised, reverse=True)
        assert advised[0] > 2 * advised[-1]
        set_unfinished(tables, 0)
        clock.set_mono_ns(clock.mono_ns() + 6 * NS_PER_S)
        assert vehicle.patch(under_way, 0, content).status_code == 204
        assert vehicle.status(clip_id_of_bytes(content))["state"] == "committed"


class SlowStore(LocalParts):
    """A part store that stands still until it is opened."""

    gate = threading.Event()
    waiting: threading.Semaphore

    def put_part(
        self, place: Place, start_bytes: int, chunks: Chunks, sha256: bytes, tail: list[Piece]
    ) -> str:
        self.waiting.release()
        assert self.gate.wait(60)
        return super().put_part(place, start_bytes, chunks, sha256, tail)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowStore]:
    objects = LocalObjects(tmp_path / "cloud" / "objects")
    parts = SlowStore(tmp_path / "cloud" / "parts", objects)
    parts.gate, parts.waiting = threading.Event(), threading.Semaphore(0)
    yield parts
    parts.gate.set()


def test_a_store_that_stands_still_fills_no_memory(
    start_cloud: StartCloud, slow: SlowStore, tables: sa.Engine
) -> None:
    """64 MiB for bodies: five ordinary parts of 8 MiB get in, and room is left for safety."""
    server = start_cloud({"parts": slow}, body_memory_bytes=64 * MIB)
    pressure = server.app.state.service.receiver.pressure
    sent = [some_clip(number, PART_BYTES + 10) for number in range(9)]
    kinds = ["ordinary"] * 8 + ["safety"]
    with (
        httpx.Client(base_url=server.url, timeout=90) as http,
        ThreadPoolExecutor(16) as pool,
    ):
        vehicle = enrolled(http)
        # Advice comes from what the store has taken before.
        slow.gate.set()
        vehicle.upload(*some_clip(60))
        assert slow.waiting.acquire(timeout=60)
        slow.gate.clear()
        urls = [
            declare(vehicle, *clip, kind).json()["upload_url"]
            for clip, kind in zip(sent, kinds, strict=True)
        ]

        def first_part(number: int) -> httpx.Response:
            body = sent[number][0][:PART_BYTES]
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            return vehicle.patch(urls[number], 0, body, **{"Upload-Checksum": f"sha256 {digest}"})

        inside = [pool.submit(first_part, number) for number in range(5)]
        for _ in inside:
            assert slow.waiting.acquire(timeout=60)
        assert pressure.held_bytes == 5 * PART_BYTES
        refused = [first_part(number) for number in (5, 6, 7)]
        assert [answer.status_code for answer in refused] == [503] * 3
        assert {answer.json()["scope"] for answer in refused} == {"clip"}
        safety = pool.submit(first_part, 8)
        assert slow.waiting.acquire(timeout=60)
        # What is on its way is slowed down before it is turned away.
        advised = declare(vehicle, *some_clip(50), "safety").json()["advised_bytes_per_s"]
        assert advised is not None
        slow.gate.set()
        answers = [one.result() for one in (*inside, safety)]
        assert [answer.status_code for answer in answers] == [204] * 6
        assert pressure.most_held_bytes == 6 * PART_BYTES
        assert pressure.held_bytes == 0
        # All recovers, and nothing is lost.
        for (content, _), url in zip(sent, urls, strict=True):
            offset = vehicle.offset(url)
            assert vehicle.patch(url, offset, content[offset:]).status_code == 204
        assert declare(vehicle, *some_clip(51), "ordinary").json()["advised_bytes_per_s"] is None
    with tables.connect() as connection:
        found = {row.clip_id for row in connection.execute(sa.select(clips.c.clip_id))}
    assert found == {clip_id_of_bytes(content) for content, _ in [some_clip(60), *sent]}


def test_a_full_buffer_turns_away_at_the_declaration(
    start_cloud: StartCloud, clock: VirtualClock
) -> None:
    server = start_cloud({"clock": clock}, buffer_bytes=10_000)
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        content, manifest = some_clip(1, 20_000)
        url = vehicle.declare(content, manifest).json()["upload_url"]
        vehicle.patch(url, 0, content[:8000])
        clock.set_mono_ns(6 * NS_PER_S)
        assert declare(vehicle, *some_clip(2), "ordinary").json()["answer"] == "wait"
        assert declare(vehicle, *some_clip(3), "random").json()["answer"] == "upload"


def test_a_vehicle_has_its_day(start_cloud: StartCloud, clock: VirtualClock) -> None:
    server = start_cloud({"clock": clock}, vehicle_bytes_per_day=25_000)
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        vehicle.upload(*some_clip(1, 10_000))
        begun = declare(vehicle, *some_clip(2, 10_000), "ordinary").json()
        assert begun["answer"] == "upload"
        told = declare(vehicle, *some_clip(3, 10_000), "ordinary").json()
        assert told["answer"] == "wait"
        day_s = NS_PER_DAY // NS_PER_S
        assert told["retry_after_s"] == day_s - clock.utc_ns() // NS_PER_S % day_s
        # Matters of safety, what was begun, and another vehicle go on.
        assert declare(vehicle, *some_clip(4, 10_000), "safety").json()["answer"] == "upload"
        assert declare(vehicle, *some_clip(2, 10_000), "ordinary").json() == begun
        other = enrolled(http, "car-2")
        mine = some_clip(5, 10_000, "car-2")
        assert declare(other, *mine, "ordinary").json()["answer"] == "upload"


def test_the_advised_rate_is_obeyed(start_cloud: StartCloud, tmp_path: Path) -> None:
    """The vehicle's own client, on virtual time."""
    server: RunningServer = start_cloud(vehicle_bytes_per_s=100_000)
    content, manifest = some_clip(1, 500_000)

    async def go() -> int:
        vehicle = rig(tmp_path / "vehicle", server.url)
        await vehicle.receiver.enrol(None)
        commit(vehicle, content, manifest)
        begin_ns = vehicle.clock.mono_ns()
        report = await drain(vehicle)
        took_ns = vehicle.clock.mono_ns() - begin_ns
        assert len(report.uploaded) == 1
        await vehicle.close()
        return took_ns

    assert asyncio.run(go()) >= 4 * NS_PER_S
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http, "car-2")
        content, manifest = some_clip(2, 1000, "car-2")
        url = vehicle.declare(content, manifest).json()["upload_url"]
        assert vehicle.patch(url, 0, content).headers[ADVISED_RATE_HEADER] == "100000"
