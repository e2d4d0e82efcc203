"""The service on S3: any replica takes any bytes, and nothing of a clip lies in a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.schema import clips, deliveries, uploads
from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.s3_fake import FakeS3
from tests.cloud_ingest.s3_support import clip, cloud_on, enrolled, on, s3
from tests.cloud_ingest.support import (
    TUS,
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)
from tests.cloud_ingest.test_tus_concat import join, send_split

__all__ = ["s3"]
MANIFEST = make_manifest()
CLIP = make_clip(MANIFEST, PART_BYTES + 3_000_000)
CLIP_ID = clip_id_of_bytes(CLIP)
KEY = f"clips/fleet/raw/{CLIP_ID[:2]}/{CLIP_ID}.mcap"
ORPHAN = "0123456789abcdef" * 2
Pair = tuple[Vehicle, Vehicle]


@pytest.fixture(params=[pytest.param("one bucket", marks=pytest.mark.soak), "with a buffer"])
def replicas(
    request: pytest.FixtureRequest, start_cloud: StartCloud, s3: FakeS3, tmp_path: Path
) -> Iterator[Pair]:
    """One vehicle at two replicas with folders of their own."""
    changes: dict[str, object] = {}
    if request.param == "with a buffer":
        changes = {"buffer_url": "s3://near/region-1", "buffer_endpoint": s3.url}
    urls = [cloud_on(start_cloud, s3, folder=tmp_path / name, **changes).url for name in "ab"]
    with httpx.Client(base_url=urls[0]) as first, httpx.Client(base_url=urls[1]) as second:
        vehicle = enrolled(first)
        yield vehicle, on(vehicle, second)


def there(url: str, vehicle: Vehicle) -> str:
    """The same upload at the replica that this vehicle talks to."""
    return f"{vehicle.http.base_url.copy_with(path='')}/v1/tus/{url.rsplit('/', 1)[1]}"


def assert_only_the_clip(s3: FakeS3, vehicle: Vehicle, tmp_path: Path) -> None:
    assert s3.names() == [KEY]
    assert s3.multiparts == {}
    assert clip(vehicle.http, CLIP_ID) == CLIP
    assert vehicle.status(CLIP_ID)["state"] == "committed"
    held = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 100]
    assert [path for path in held if "parts" in path.parts or "objects" in path.parts] == []


@pytest.mark.parametrize(("is_declared", "chunk"), [(True, 1_000_001), (False, 3 * 2**20)])
def test_each_request_meets_another_replica(
    replicas: Pair, s3: FakeS3, tmp_path: Path, is_declared: bool, chunk: int
) -> None:
    first, second = replicas
    if is_declared:
        url = first.declare(CLIP, MANIFEST).json()["upload_url"]
    else:
        url = first.create(len(CLIP)).headers["Location"]
    for turn, at in enumerate(range(0, len(CLIP), chunk)):
        vehicle = replicas[turn % 2]
        assert vehicle.offset(there(url, vehicle)) == at
        sent = vehicle.patch(there(url, vehicle), at, CLIP[at : at + chunk])
        assert sent.status_code == 204, sent.text
    assert_only_the_clip(s3, second, tmp_path)


def test_partial_uploads_of_two_replicas_are_joined(
    replicas: Pair, s3: FakeS3, tmp_path: Path
) -> None:
    first, second = replicas
    urls = [*send_split(first, CLIP[:4_000_000], [17]), *send_split(second, CLIP[4_000_000:], [])]
    final = join(second, urls)
    assert final.status_code == 201, final.text
    assert_only_the_clip(s3, first, tmp_path)


def test_a_store_that_lost_an_upload_gets_it_again(
    replicas: Pair, s3: FakeS3, tmp_path: Path
) -> None:
    vehicle, other = replicas
    url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
    vehicle.patch(url, 0, CLIP[: PART_BYTES + 1000])
    s3.multiparts.clear()
    more = CLIP[PART_BYTES + 1000 : PART_BYTES + 2000]
    assert other.patch(there(url, other), PART_BYTES + 1000, more).status_code == 204
    rest = vehicle.patch(url, PART_BYTES + 2000, CLIP[PART_BYTES + 2000 :])
    assert rest.status_code == 409
    assert vehicle.offset(url) == 0
    assert vehicle.patch(url, 0, CLIP).status_code == 204
    assert clip(vehicle.http, CLIP_ID) == CLIP


def test_head_tells_what_the_store_holds(replicas: Pair, s3: FakeS3) -> None:
    vehicle, _ = replicas
    url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
    vehicle.patch(url, 0, CLIP[: PART_BYTES + 1000])
    (tail,) = [key for key in s3.names() if "/parts/" in key]
    del s3.objects[tail]
    assert vehicle.offset(url) == PART_BYTES
    (multipart,) = s3.multiparts.values()
    multipart.parts.clear()
    assert vehicle.offset(url) == 0


@pytest.mark.parametrize("faults", [["inside"] * 3, ["gone"]])
def test_a_completion_that_fails_is_made_up_for(
    replicas: Pair, s3: FakeS3, tmp_path: Path, faults: list[str]
) -> None:
    vehicle, other = replicas
    url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
    s3.faults["CompleteMultipartUpload"] = list(faults)
    vehicle.patch(url, 0, CLIP)
    offset = other.offset(there(url, other))
    if offset < len(CLIP):
        assert other.patch(there(url, other), offset, CLIP[offset:]).status_code == 204
    assert_only_the_clip(s3, vehicle, tmp_path)


def test_only_the_store_makes_a_receipt(
    start_cloud: StartCloud, s3: FakeS3, tables: sa.Engine
) -> None:
    """With a buffer: bytes that have come to the region are no delivery yet."""
    server = cloud_on(start_cloud, s3, buffer_url="s3://near", buffer_endpoint=s3.url)

    def store_is_down(operation: str, key: str) -> None:
        if operation == "CreateMultipartUpload" and key.startswith("fleet/raw/"):
            s3.faults[operation] = ["down"]

    s3.before = store_is_down
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
        assert vehicle.patch(url, 0, CLIP).status_code == 503
        assert [key for key in s3.names() if key.startswith("near/")] != []
        answer = vehicle.http.get(f"/v1/uploads/{CLIP_ID}", headers=vehicle.bearer)
        assert answer.status_code == 503
        with tables.connect() as connection:
            assert connection.execute(sa.select(clips)).all() == []
            assert connection.execute(sa.select(deliveries)).all() == []
        s3.before = lambda operation, key: None
        s3.faults.clear()
        server.run(server.app.state.collector.sweep())
        assert vehicle.status(CLIP_ID)["state"] == "committed"
        assert s3.names() == [KEY]


def test_two_requests_for_the_same_bytes_move_it_once(replicas: Pair, s3: FakeS3) -> None:
    """Both replicas have stored the part before either says so."""
    meeting = threading.Barrier(2, timeout=20)

    def meet(operation: str, key: str) -> None:
        if operation == "UploadPart":
            meeting.wait()

    url = replicas[0].declare(CLIP, MANIFEST).json()["upload_url"]
    replicas[0].patch(url, 0, CLIP[:5])
    s3.before = meet
    answers: list[int] = []

    def send(vehicle: Vehicle) -> None:
        body = CLIP[5:PART_BYTES]
        answers.append(vehicle.patch(there(url, vehicle), 5, body).status_code)

    threads = [threading.Thread(target=send, args=(vehicle,)) for vehicle in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    s3.before = lambda operation, key: None
    assert sorted(answers) == [204, 409]
    assert replicas[0].patch(url, PART_BYTES, CLIP[PART_BYTES:]).status_code == 204
    assert s3.names() == [KEY]
    assert s3.objects[KEY].content == CLIP


def test_both_replicas_begin_and_one_place_stays(replicas: Pair, s3: FakeS3) -> None:
    meeting = threading.Barrier(2, timeout=20)

    def meet(operation: str, key: str) -> None:
        if operation == "CreateMultipartUpload":
            meeting.wait()

    url = replicas[0].declare(CLIP, MANIFEST).json()["upload_url"]
    s3.before = meet
    threads = [
        threading.Thread(target=vehicle.patch, args=(there(url, vehicle), 0, CLIP[:PART_BYTES]))
        for vehicle in replicas
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    s3.before = lambda operation, key: None
    assert len(s3.multiparts) == 1
    assert replicas[0].offset(url) == PART_BYTES


def test_two_vehicles_deliver_one_clip(replicas: Pair, s3: FakeS3, tmp_path: Path) -> None:
    first, second = replicas
    stranger = enrolled(second.http, "car-2")
    urls = [vehicle.create(len(CLIP)).headers["Location"] for vehicle in (first, stranger)]
    assert stranger.patch(urls[1], 0, CLIP[:-1]).status_code == 204
    assert first.patch(urls[0], 0, CLIP).status_code == 204
    assert stranger.patch(urls[1], len(CLIP) - 1, CLIP[-1:]).status_code == 204
    assert stranger.status(CLIP_ID)["state"] == "committed"
    assert_only_the_clip(s3, first, tmp_path)


def leave_half(vehicle: Vehicle, server: RunningServer, s3: FakeS3) -> None:
    """Declared, undeclared and partial uploads that nobody finishes; and what crashes leave."""
    half = PART_BYTES + 1000
    vehicle.patch(vehicle.declare(CLIP, MANIFEST).json()["upload_url"], 0, CLIP[:half])
    vehicle.patch(vehicle.create(len(CLIP)).headers["Location"], 0, CLIP[:half])
    send_split(vehicle, CLIP, [5_000_000])
    vehicle.create(10)
    # A replica died between the store and the row: these are named nowhere.
    s3.create(f"clips/fleet/parts/{ORPHAN}/whole")
    s3.create(KEY)
    s3.put(f"clips/fleet/parts/{ORPHAN}/000-x", b"tail", {})


def test_nothing_is_left_after_expiry(
    start_cloud: StartCloud, s3: FakeS3, tables: sa.Engine, tmp_path: Path
) -> None:
    clock = VirtualClock()
    server = cloud_on(start_cloud, s3, folder=tmp_path / "a")
    other = start_cloud(
        {"clock": clock}, folder=tmp_path / "b", upload_expiry_s=1000,
        object_store_url="s3://clips/fleet", object_store_endpoint=s3.url,
        operator_token="operator-token-0123456789",
    )  # fmt: skip
    with httpx.Client(base_url=other.url) as http:
        vehicle = enrolled(http)
        leave_half(vehicle, server, s3)
        # Bytes of uploads that are open stay, whoever sweeps.
        server.run(server.app.state.collector.sweep())
        assert len(s3.multiparts) == 5
        assert f"clips/fleet/parts/{ORPHAN}/000-x" not in s3.names()
        clock.jump_utc_ns(1001 * NS_PER_S)
        assert other.run(other.app.state.collector.collect_expired()) == 5
        server.run(server.app.state.collector.sweep())
    assert s3.names() == []
    assert s3.multiparts == {}
    with tables.connect() as connection:
        assert connection.execute(sa.select(uploads)).all() == []


def test_termination_leaves_nothing(replicas: Pair, s3: FakeS3) -> None:
    vehicle, _ = replicas
    for url in (
        vehicle.declare(CLIP, MANIFEST).json()["upload_url"],
        vehicle.create(len(CLIP)).headers["Location"],
    ):
        vehicle.patch(url, 0, CLIP[: PART_BYTES + 10])
        assert vehicle.http.delete(url, headers=TUS | vehicle.bearer).status_code == 204
    assert s3.names() == []
    assert s3.multiparts == {}


def test_a_store_that_is_away_is_no_ones_fault(replicas: Pair, s3: FakeS3) -> None:
    vehicle, _ = replicas
    url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
    s3.faults["UploadPart"] = ["down"] * 3
    answer = vehicle.patch(url, 0, CLIP[:PART_BYTES])
    assert (answer.status_code, answer.json()["error"]) == (503, "transient")
    assert float(answer.headers["Retry-After"]) >= 1
    assert vehicle.offset(url) == 0
    assert vehicle.patch(url, 0, CLIP).status_code == 204
