"""Concatenation: any mix of partial uploads becomes one clip, verified like any other."""

from __future__ import annotations

import asyncio
import base64
import random
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.schema import clips, uploads
from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import (
    TUS,
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)
from tests.cloud_ingest.test_commit import enrolled

MANIFEST = make_manifest()
CLIP = make_clip(MANIFEST, 2 * PART_BYTES + 77_777)
CLIP_ID = clip_id_of_bytes(CLIP)


def send_partial(vehicle: Vehicle, content: bytes, sent: int | None = None) -> str:
    """Create a partial upload and send its first `sent` bytes."""
    created = vehicle.create(len(content), **{"Upload-Concat": "partial"})
    assert created.status_code == 201, created.text
    url = str(created.headers["Location"])
    assert vehicle.patch(url, 0, content[:sent]).status_code == 204
    return url


def send_split(vehicle: Vehicle, content: bytes, cuts: list[int]) -> list[str]:
    ends = [*sorted(cuts), len(content)]
    return [
        send_partial(vehicle, content[a:b]) for a, b in zip([0, *ends], ends, strict=False) if a < b
    ]


def join(vehicle: Vehicle, urls: list[str], **headers: str) -> httpx.Response:
    sent = TUS | vehicle.bearer | {"Upload-Concat": "final;" + " ".join(urls)} | headers
    return vehicle.http.post("/v1/tus", headers=sent)


def parts_folder(cloud: RunningServer) -> list[str]:
    return [path.name for path in (cloud.app.state.service.settings.folder / "parts").iterdir()]


@pytest.mark.parametrize("cuts", [[5_000_000], [PART_BYTES], [1, 2, len(CLIP) - 1], []])
def test_parts_become_one_clip(
    cloud: RunningServer, vehicle: Vehicle, tables: sa.Engine, cuts: list[int]
) -> None:
    urls = send_split(vehicle, CLIP, cuts)
    head = vehicle.head(urls[0])
    assert head.headers["Upload-Concat"] == "partial"
    assert vehicle.status(CLIP_ID)["state"] == "absent"
    final = join(vehicle, urls)
    assert final.status_code == 201, final.text
    told = vehicle.head(final.headers["Location"])
    assert told.headers["Upload-Length"] == told.headers["Upload-Offset"] == str(len(CLIP))
    assert told.headers["Upload-Concat"].startswith("final;")
    assert vehicle.status(CLIP_ID)["state"] == "committed"
    assert vehicle.http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP
    # An answer that was lost is asked for again.
    again = join(vehicle, urls)
    assert (again.status_code, again.headers["Location"]) == (201, final.headers["Location"])
    assert parts_folder(cloud) == []
    # A client that lost the answer may look at its partial uploads: they are done, and over.
    assert [vehicle.head(url).headers["Upload-Offset"] for url in urls] == [
        vehicle.head(url).headers["Upload-Length"] for url in urls
    ]
    assert join(vehicle, [*urls, urls[0]]).status_code == 410
    with tables.connect() as connection:
        states = [(row.kind, row.state) for row in connection.execute(sa.select(uploads))]
    assert sorted(states) == [("final", "committed")] + [("partial", "committed")] * len(urls)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    cuts=st.lists(st.integers(1, PART_BYTES + 50_000), max_size=4, unique=True),
    seed=st.integers(0, 2**32),
)
def test_any_mix_is_what_was_sent(vehicle: Vehicle, cuts: list[int], seed: int) -> None:
    content = random.Random(seed).randbytes(PART_BYTES + 50_001)
    urls = send_split(vehicle, content, cuts)
    order = random.Random(seed).sample(range(len(urls)), len(urls))
    ends = [*sorted(cuts), len(content)]
    pieces = [content[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    mixed = b"".join(pieces[index] for index in order)
    assert join(vehicle, [urls[index] for index in order]).status_code == 201
    assert vehicle.http.get(f"/clips/{clip_id_of_bytes(mixed)}.mcap").content == mixed


def test_rules_of_joining(vehicle: Vehicle, other_vehicle: Vehicle) -> None:
    half = send_partial(vehicle, CLIP[:1000])
    unfinished = send_partial(vehicle, CLIP[1000:], 10)
    whole = vehicle.create(10).headers["Location"]
    for urls, status in (
        ([half, unfinished], 400),
        ([half, whole], 400),
        ([half, half.replace(half[-4:], "0000")], 404),
        ([half, "/v1/tus/../../etc"], 400),
        ([], 400),
        ([half] * 1001, 400),
    ):
        assert join(vehicle, urls).status_code == status, urls
    assert join(other_vehicle, [half]).status_code == 404
    assert join(vehicle, [half], **{"Upload-Length": "1000"}).status_code == 400
    assert vehicle.create(10, **{"Upload-Concat": "sum"}).status_code == 400
    assert vehicle.patch(unfinished, 10, CLIP[1010:]).status_code == 204
    relative = [f"/v1/tus/{url.rsplit('/', 1)[1]}" for url in (half, unfinished)]
    final = join(vehicle, relative).headers["Location"]
    assert vehicle.patch(final, len(CLIP), b"x").status_code == 403
    assert vehicle.status(CLIP_ID)["state"] == "committed"


def test_another_clip_than_was_said_is_refused(vehicle: Vehicle, tables: sa.Engine) -> None:
    said = {"Upload-Metadata": "clip_id " + base64.b64encode(CLIP_ID.encode()).decode()}
    urls = send_split(vehicle, CLIP, [PART_BYTES])
    wrong = join(vehicle, urls[::-1], **said)
    assert (wrong.status_code, wrong.json()["place"]) == (400, "clip_id")
    with tables.connect() as connection:
        assert connection.execute(sa.select(clips)).all() == []
    assert join(vehicle, urls, **said).status_code == 201
    assert vehicle.status(CLIP_ID)["state"] == "committed"


def test_the_same_bytes_may_come_twice(vehicle: Vehicle) -> None:
    url = send_partial(vehicle, CLIP[:1000])
    assert join(vehicle, [url, url]).status_code == 201
    twice = CLIP[:1000] * 2
    assert vehicle.http.get(f"/clips/{clip_id_of_bytes(twice)}.mcap").content == twice


def test_a_joining_that_broke_off_goes_on(cloud: RunningServer, vehicle: Vehicle) -> None:
    """The second replica, or the sweep, finds a final upload that holds some of its parts."""
    receiver, completer = cloud.app.state.service.receiver, cloud.app.state.collector._completer
    urls = send_split(vehicle, CLIP, [5_000_000])
    ids = [url.rsplit("/", 1)[1] for url in urls]
    book, first = completer._book, completer._bytes_of

    async def breaks(final: object) -> object:
        taken = 0
        async for piece in first(final):
            taken += len(piece)
            if taken > PART_BYTES + 3000:
                raise OSError("cut")
            yield piece

    completer._bytes_of = breaks
    with pytest.raises(OSError, match="cut"):
        cloud.run(receiver.join("car-1", ids, None, None))
    completer._bytes_of = first
    (final,) = cloud.run(book.full())
    assert 0 < final.stored_bytes < len(CLIP)
    cloud.run(cloud.app.state.collector.sweep())
    assert vehicle.status(CLIP_ID)["state"] == "committed"
    assert parts_folder(cloud) == []


@pytest.mark.parametrize("moment", ["it looks at the parts", "it has copied some bytes"])
def test_a_joining_that_another_replica_ends_first_is_done(
    start_cloud: StartCloud, moment: str
) -> None:
    """Two replicas are asked to join the same; one commits while the other is under way."""
    first, second = start_cloud(), start_cloud()
    completer = second.app.state.collector._completer
    partial, bytes_of = completer.partial, completer._bytes_of
    with httpx.Client(base_url=first.url) as http, httpx.Client(base_url=second.url) as other:
        vehicle = enrolled(http)
        late = Vehicle(other, vehicle.vehicle_id, vehicle.key, vehicle.token)
        urls = send_split(vehicle, CLIP, [5_000_000])
        answers: list[httpx.Response] = []

        async def first_ends() -> None:
            if not answers:
                answers.append(await asyncio.to_thread(join, vehicle, urls))

        async def looks(vehicle_id: str, upload_id: str) -> Any:
            await first_ends()
            return await partial(vehicle_id, upload_id)

        async def copies(final: Any) -> Any:
            async for piece in bytes_of(final):
                yield piece
                await first_ends()

        if moment == "it looks at the parts":
            completer.partial = looks
        else:
            completer._bytes_of = copies
        told = join(late, urls)
        (answer,) = answers
        assert (answer.status_code, told.status_code) == (201, 201), told.text
        ends = [url.rsplit("/", 1)[1] for url in
                (answer.headers["Location"], told.headers["Location"])]  # fmt: skip
        assert ends[0] == ends[1]
        assert late.status(CLIP_ID)["state"] == "committed"
        # Joined with others they are over, as before.
        assert join(late, [*urls, urls[0]]).status_code == 410
    assert parts_folder(first) == []


def test_expired_partials_leave_nothing(start_cloud: StartCloud, tables: sa.Engine) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock}, upload_expiry_s=1000)
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        send_partial(vehicle, CLIP[:10_000])
        send_partial(vehicle, CLIP, 10)
        clock.jump_utc_ns(1001 * NS_PER_S)
        assert server.run(server.app.state.collector.collect_expired()) == 2
    assert parts_folder(server) == []
    with tables.connect() as connection:
        assert connection.execute(sa.select(uploads)).all() == []
