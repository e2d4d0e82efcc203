"""A vehicle's day is one, however it sends: declared, by plain tus, in parts, as signal logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cloud_ingest.receiver import NO_DAY
from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.ids import digest_file
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import Vehicle, make_clip, make_manifest
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
