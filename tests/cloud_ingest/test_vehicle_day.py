"""A vehicle's day is one, however it sends: declared, by plain tus, in parts, as signal logs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cloud_ingest.vehicle_day import NO_DAY
from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.ids import digest_file
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import Vehicle, declaration, make_clip, make_manifest
from tests.cloud_ingest.test_commit import enrolled
from tests.cloud_ingest.test_signal_logs import write_log

QUOTA = 25_000
PARTIAL = {"Upload-Concat": "partial"}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def limited(start_cloud: StartCloud, clock: VirtualClock) -> Iterator[Vehicle]:
    """A vehicle of a service that takes `QUOTA` bytes a day of each."""
    server = start_cloud({"clock": clock}, vehicle_bytes_per_day=QUOTA)
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield enrolled(http)


def put_log(vehicle: Vehicle, path: Path, *, chunked: bool = False) -> httpx.Response:
    content = iter([path.read_bytes()]) if chunked else path.read_bytes()
    log_id = digest_file(path).clip_id()
    return vehicle.http.put(f"/v1/signal-logs/{log_id}", content=content, headers=vehicle.bearer)


@pytest.mark.parametrize("headers", [{}, PARTIAL])
def test_a_plain_creation_is_of_the_vehicles_day(
    limited: Vehicle, clock: VirtualClock, headers: dict[str, str]
) -> None:
    assert limited.create(QUOTA - 5000, **headers).status_code == 201
    told = limited.create(5001, **headers)
    assert (told.status_code, told.json()["error"]) == (429, "busy")
    assert told.json()["message"] == NO_DAY
    left_s = (NS_PER_DAY - clock.utc_ns() % NS_PER_DAY) / NS_PER_S
    assert float(told.headers["Retry-After"]) == pytest.approx(left_s, abs=1)
    assert told.headers["Tus-Resumable"] == "1.0.0"
    assert limited.create(5000, **headers).status_code == 201


@pytest.mark.parametrize("headers", [{}, PARTIAL])
def test_creations_at_the_same_moment_share_the_day(
    limited: Vehicle, headers: dict[str, str]
) -> None:
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda _: limited.create(5000, **headers), range(32)))
    codes = [each.status_code for each in told]
    assert codes.count(201) == QUOTA // 5000 and codes.count(429) == 32 - QUOTA // 5000
    assert {each.json()["message"] for each in told if each.status_code == 429} == {NO_DAY}


def test_declarations_at_the_same_moment_share_the_day(limited: Vehicle) -> None:
    manifests = [make_manifest(start_mono_ns=number * NS_PER_S) for number in range(12)]
    clips = [make_clip(each, 5000) for each in manifests]
    asked = list(zip(clips, manifests, strict=True))
    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(lambda each: limited.declare(*each), asked))
    begun = [each for each in told if each.status_code == 200 and each.json()["answer"] == "upload"]
    room = QUOTA // len(clips[0])
    assert len(begun) == room > 1
    # Asked again, those that began are still those that may, and a matter of safety always may.
    again = [limited.declare(*each).json()["answer"] for each in asked]
    assert again.count("upload") == room and again.count("wait") == len(asked) - room
    urgent = make_manifest(start_mono_ns=99 * NS_PER_S)
    body = declaration(make_clip(urgent, 5000), urgent) | {"safety": True}
    answer = limited.http.post("/v1/uploads", json=body, headers=limited.bearer).json()["answer"]
    assert answer == "upload"


def test_a_declared_upload_is_found_by_tus_when_the_day_is_over(limited: Vehicle) -> None:
    manifest = make_manifest()
    clip = make_clip(manifest, 10_000)
    begun = limited.declare(clip, manifest).json()
    assert limited.create(QUOTA - 13_000).status_code == 201
    assert limited.create(5000).status_code == 429  # the day is over
    assert limited.upload(clip, manifest) == begun["clip_id"]


@pytest.mark.parametrize("chunked", [False, True])
def test_signal_logs_are_of_the_vehicles_day(
    limited: Vehicle, tmp_path: Path, chunked: bool
) -> None:
    first, second = (write_log(tmp_path, name, "car-1") for name in ("first", "second"))
    assert put_log(limited, first).status_code == 200
    # The day is over, so far as what it has sent and begun leaves room for nothing more.
    assert limited.create(QUOTA - first.stat().st_size).status_code == 201
    told = put_log(limited, second, chunked=chunked)
    assert (told.status_code, told.json()["message"]) == (429, NO_DAY)
    assert put_log(limited, first, chunked=chunked).status_code == 200  # it is here already
    assert limited.create(1).status_code == 429


def test_a_log_has_to_have_room(start_cloud: StartCloud, tmp_path: Path) -> None:
    server = start_cloud(free_bytes_kept=2**60)
    with httpx.Client(base_url=server.url) as http:
        told = put_log(enrolled(http), write_log(tmp_path, "first", "car-1"))
    assert told.status_code == 507
