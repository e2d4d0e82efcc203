"""Spans of a declared clip: side by side, in any order, joined without a copy."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.receiver_schema import upload_pieces
from cloud_ingest.schema import uploads
from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES
from tests.cloud_ingest import s3_support
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.s3_fake import FakeS3
from tests.cloud_ingest.support import (
    TUS,
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)
from tests.cloud_ingest.test_commit import enrolled
from tests.cloud_ingest.test_tus_concat import join, parts_folder

MANIFEST = make_manifest()
CLIP = make_clip(MANIFEST, 3 * PART_BYTES + 77_777)
CLIP_ID = clip_id_of_bytes(CLIP)
RUNS = [(0, PART_BYTES), (PART_BYTES, 3 * PART_BYTES), (3 * PART_BYTES, len(CLIP))]


def open_span(vehicle: Vehicle, begin: int, end: int, clip_id: str = CLIP_ID) -> httpx.Response:
    pairs = {"clip_id": clip_id, "start_bytes": str(begin)}
    about = ",".join(
        f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in pairs.items()
    )
    return vehicle.create(end - begin, **{"Upload-Concat": "partial", "Upload-Metadata": about})


def declared(vehicle: Vehicle, content: bytes = CLIP) -> str:
    answer = vehicle.declare(content, MANIFEST).json()
    assert answer["answer"] == "upload", answer
    assert answer["max_spans"] == 4
    return str(answer["upload_url"])


def send(vehicle: Vehicle, begin: int, end: int) -> str:
    """A whole span, from wherever it is."""
    made = open_span(vehicle, begin, end)
    assert made.status_code == 201, made.text
    url = str(made.headers["Location"])
    offset = int(made.headers["Upload-Offset"])
    assert vehicle.patch(url, offset, CLIP[begin + offset : end]).status_code == 204
    return url


def held(tables: sa.Engine) -> tuple[int, int]:
    """Rows of uploads that are spans, and of pieces."""
    spans = sa.select(sa.func.count()).where(uploads.c.parent_id.is_not(None))
    pieces = sa.select(sa.func.count()).select_from(upload_pieces)
    with tables.connect() as connection:
        return connection.execute(spans).scalar_one(), connection.execute(pieces).scalar_one()


@pytest.fixture(params=["folder", "s3", "s3 with a buffer"])
def somewhere(
    request: pytest.FixtureRequest, start_cloud: StartCloud
) -> Iterator[tuple[RunningServer, Vehicle]]:
    """A service and a vehicle, on each kind of store."""
    if request.param == "folder":
        server = start_cloud()
    else:
        s3: FakeS3 = request.getfixturevalue("s3")
        near = (
            {}
            if request.param == "s3"
            else {"buffer_url": "s3://near/region-1", "buffer_endpoint": s3.url}
        )
        server = s3_support.cloud_on(start_cloud, s3, **near)
    with httpx.Client(base_url=server.url) as http:
        yield server, enrolled(http) if request.param == "folder" else s3_support.enrolled(http)


s3 = s3_support.s3


def test_spans_in_any_order_become_the_clip(
    somewhere: tuple[RunningServer, Vehicle], tables: sa.Engine
) -> None:
    _, vehicle = somewhere
    whole = declared(vehicle)
    urls = {begin: send(vehicle, begin, end) for begin, end in reversed(RUNS)}
    assert vehicle.head(urls[0]).headers["Upload-Concat"] == "partial"
    assert vehicle.status(CLIP_ID)["state"] == "uploading"
    final = join(vehicle, [urls[begin] for begin, _ in RUNS])
    assert (final.status_code, final.headers["Location"]) == (201, whole)
    assert vehicle.status(CLIP_ID)["state"] == "committed"
    bearer = {"Authorization": f"Bearer {s3_support.OPERATOR}"}
    assert vehicle.http.get(f"/clips/{CLIP_ID}.mcap", headers=bearer).content == CLIP
    assert held(tables)[0] == 0
    assert vehicle.declare(CLIP, MANIFEST).json()["answer"] == "have_it"


def test_a_store_that_lost_the_clip_gets_all_of_it_again(
    start_cloud: StartCloud, s3: FakeS3
) -> None:
    server = s3_support.cloud_on(start_cloud, s3)
    with httpx.Client(base_url=server.url) as http:
        vehicle = s3_support.enrolled(http)
        declared(vehicle)
        urls = [send(vehicle, *run) for run in RUNS[:2]]
        last = open_span(vehicle, *RUNS[2]).headers["Location"]
        s3.multiparts.clear()
        assert vehicle.patch(last, 0, CLIP[RUNS[2][0] :]).status_code == 409
        assert {vehicle.head(url).status_code for url in (*urls, last)} == {404}
        declared(vehicle)
        again = [send(vehicle, *run) for run in RUNS]
        assert not set(again) & {*urls, last}
        assert join(vehicle, again).status_code == 201
        assert vehicle.status(CLIP_ID)["state"] == "committed"


def test_in_a_folder_joining_copies_nothing(cloud: RunningServer, vehicle: Vehicle) -> None:
    """All spans of a process lie in one image, which becomes the clip by a link."""
    declared(vehicle)
    urls = [send(vehicle, begin, end) for begin, end in reversed(RUNS)]
    [folder] = (cloud.app.state.service.settings.folder / "parts").iterdir()
    [image] = folder.iterdir()
    number = image.stat().st_ino
    assert join(vehicle, urls[::-1]).status_code == 201
    stored = cloud.app.state.service.settings.folder.rglob(f"{CLIP_ID}*")
    assert number in {path.stat().st_ino for path in stored}
    assert parts_folder(cloud) == []


def test_a_vehicle_that_forgot_finds_its_spans(vehicle: Vehicle) -> None:
    declared(vehicle)
    begin, end = RUNS[1]
    url = open_span(vehicle, begin, end).headers["Location"]
    half = CLIP[begin : begin + PART_BYTES + 1000]
    assert vehicle.patch(url, 0, half).status_code == 204
    again = open_span(vehicle, begin, end)
    assert (again.status_code, again.headers["Location"]) == (201, url)
    assert again.headers["Upload-Offset"] == str(len(half))
    urls = [send(vehicle, *run) for run in RUNS]
    assert join(vehicle, urls).status_code == 201
    assert vehicle.status(CLIP_ID)["state"] == "committed"


def test_rules_of_spans(vehicle: Vehicle, other_vehicle: Vehicle) -> None:
    part = PART_BYTES
    assert open_span(vehicle, 0, part).status_code == 404  # not declared
    declared(vehicle)
    assert open_span(vehicle, part, 2 * part).status_code == 201
    for begin, end in ((1, part), (0, part + 1), (0, 2 * part), (part, 3 * part), (0, 5 * part)):
        assert open_span(vehicle, begin, end).status_code == 400, (begin, end)
    assert open_span(other_vehicle, 0, part).status_code == 404
    bad = base64.b64encode(b"-1").decode()
    about = f"clip_id {base64.b64encode(CLIP_ID.encode()).decode()},start_bytes {bad}"
    headers = {"Upload-Concat": "partial", "Upload-Metadata": about}
    assert vehicle.create(part, **headers).status_code == 400


def test_rules_of_joining_spans(vehicle: Vehicle, other_vehicle: Vehicle) -> None:
    declared(vehicle)
    first, second = (send(vehicle, *run) for run in RUNS[:2])
    last = open_span(vehicle, *RUNS[2]).headers["Location"]
    for urls in ([first, second], [second, first, last], [first, second, last], [first]):
        assert join(vehicle, urls).status_code == 400, urls
    assert join(other_vehicle, [first, second]).status_code == 404
    assert vehicle.status(CLIP_ID)["state"] == "uploading"
    send(vehicle, *RUNS[2])
    assert join(vehicle, [first, second, last]).status_code == 201
    # They are the clip now, and are no more.
    assert join(vehicle, [first, second, last]).status_code == 404
    assert vehicle.head(first).status_code == 404


def test_a_wrong_byte_is_found_in_its_part(vehicle: Vehicle) -> None:
    declared(vehicle)
    begin, end = RUNS[1]
    url = open_span(vehicle, begin, end).headers["Location"]
    wrong = bytearray(CLIP[begin:end])
    wrong[PART_BYTES + 5] ^= 1
    assert vehicle.patch(url, 0, bytes(wrong)).status_code == 460
    assert vehicle.offset(url) == PART_BYTES
    assert vehicle.patch(url, PART_BYTES, CLIP[begin + PART_BYTES : end]).status_code == 204


def test_the_whole_may_overtake_its_spans(vehicle: Vehicle, tables: sa.Engine) -> None:
    whole = declared(vehicle)
    span = send(vehicle, *RUNS[1])
    assert vehicle.patch(whole, 0, CLIP).status_code == 204
    assert vehicle.status(CLIP_ID)["state"] == "committed"
    assert vehicle.http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP
    assert held(tables)[0] == 0
    assert join(vehicle, [span]).status_code == 404


def test_terminating_a_span_leaves_the_others(vehicle: Vehicle) -> None:
    declared(vehicle)
    urls = [send(vehicle, *run) for run in RUNS]
    sent = TUS | vehicle.bearer
    assert vehicle.http.delete(urls[1], headers=sent).status_code == 204
    assert join(vehicle, urls).status_code == 404
    urls[1] = send(vehicle, *RUNS[1])
    assert join(vehicle, urls).status_code == 201
    assert vehicle.http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP


def test_expired_spans_leave_nothing(start_cloud: StartCloud, tables: sa.Engine) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock}, upload_expiry_s=60)
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        whole = declared(vehicle)
        send(vehicle, *RUNS[0])
        clock.jump_utc_ns(40 * NS_PER_S)
        send(vehicle, *RUNS[1])  # keeps its upload alive too
        clock.jump_utc_ns(40 * NS_PER_S)
        collector = server.app.state.collector
        server.run(collector.collect_expired())
        assert vehicle.head(whole).status_code == 200
        clock.jump_utc_ns(100 * NS_PER_S)
        server.run(collector.collect_expired())
        server.run(collector.sweep())
    assert held(tables) == (0, 0)
    assert parts_folder(server) == []


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_any_chunks_in_any_order_are_the_clip(vehicle: Vehicle, seed: int) -> None:
    """Chunks of any size to all spans in turn, as several connections would mix them."""
    chance = random.Random(seed)
    content = chance.randbytes(2 * PART_BYTES + 4321)
    clip_id = clip_id_of_bytes(content)
    declared(vehicle, content)
    runs = [(0, PART_BYTES), (PART_BYTES, 2 * PART_BYTES), (2 * PART_BYTES, len(content))]
    urls = [open_span(vehicle, *run, clip_id).headers["Location"] for run in runs]
    offsets = [0] * len(runs)
    while open_ones := [i for i, (a, b) in enumerate(runs) if a + offsets[i] < b]:
        index = chance.choice(open_ones)
        begin, end = runs[index]
        at = begin + offsets[index]
        chunk = content[at : min(end, at + chance.randint(1, PART_BYTES))]
        assert vehicle.patch(urls[index], offsets[index], chunk).status_code == 204
        offsets[index] += len(chunk)
    assert join(vehicle, urls).status_code == 201
    assert vehicle.http.get(f"/clips/{clip_id}.mcap").content == content
