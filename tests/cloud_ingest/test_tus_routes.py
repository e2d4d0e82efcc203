"""tus 1.0 against the running service: each rule, its status, and that nothing else changed."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.schema import clips, uploads
from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import (
    BODY,
    TUS,
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    declaration,
    make_clip,
    make_manifest,
)

MANIFEST = make_manifest()
SMALL = make_clip(MANIFEST, 1000)


def checksum(algorithm: str, content: bytes) -> str:
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


def count_clips(tables: sa.Engine) -> int:
    with tables.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(clips)).scalar_one())


def test_options_tell_what_the_service_can_do(http: httpx.Client) -> None:
    answer = http.options("/v1/tus")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    extensions = set(answer.headers["Tus-Extension"].split(","))
    assert extensions == {
        "creation", "creation-with-upload", "checksum", "concatenation", "expiration",
        "termination",
    }  # fmt: skip
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha256,sha1"
    assert int(answer.headers["Tus-Max-Size"]) > 0


def test_a_created_upload_has_an_absolute_location_and_an_offset(vehicle: Vehicle) -> None:
    created = vehicle.create(len(SMALL))
    assert created.status_code == 201
    url = created.headers["Location"]
    assert url.startswith(f"{vehicle.http.base_url}/v1/tus/")
    assert "Upload-Expires" in created.headers
    head = vehicle.head(url)
    assert (head.status_code, head.headers["Upload-Offset"]) == (200, "0")
    assert head.headers["Upload-Length"] == str(len(SMALL))
    assert head.headers["Cache-Control"] == "no-store"


def test_public_url_makes_the_location(start_cloud: StartCloud) -> None:
    token = "operator-token-0123456789"
    server = start_cloud(public_url="https://cloud.example/lt/", operator_token=token)
    with httpx.Client(base_url=server.url) as http:
        made = http.post(
            "/v1/enrolment-tokens", json={}, headers={"Authorization": f"Bearer {token}"}
        )
        vehicle = Vehicle(http)
        assert vehicle.enrol(made.json()["token"]).status_code == 200
        vehicle.authenticate()
        location = vehicle.create(5).headers["Location"]
        declared = vehicle.declare(SMALL, MANIFEST).json()["upload_url"]
    assert location.startswith("https://cloud.example/lt/v1/tus/")
    assert declared.startswith("https://cloud.example/lt/v1/tus/")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "1e3"}, 400),
        ({"Upload-Length": "0"}, 400),
        ({"Upload-Length": str(2**60)}, 413),
        ({"Upload-Length": "9" * 30}, 400),
        ({"Upload-Defer-Length": "1"}, 400),
        ({"Upload-Metadata": "clip_id !!!"}, 400),
        ({"Upload-Metadata": "clip_id " + base64.b64encode(b"../../etc").decode()}, 400),
        ({"Upload-Metadata": "a " + "A" * 5000}, 400),
    ],
)
def test_a_bad_creation_is_refused(
    vehicle: Vehicle, tables: sa.Engine, headers: dict[str, str], status: int
) -> None:
    answer = vehicle.create(10, **headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    with tables.connect() as connection:
        assert connection.execute(sa.select(uploads)).all() == []


def test_missing_headers_are_named(vehicle: Vehicle) -> None:
    url = vehicle.create(10).headers["Location"]
    auth = vehicle.bearer
    no_version = vehicle.http.head(url, headers=auth)
    assert no_version.status_code == 412
    assert no_version.headers["Tus-Version"] == "1.0.0"
    no_offset = vehicle.http.patch(url, content=b"x", headers=BODY | auth)
    assert (no_offset.status_code, no_offset.json()["place"]) == (400, "Upload-Offset")
    no_type = vehicle.http.patch(url, content=b"x", headers=TUS | auth | {"Upload-Offset": "0"})
    assert (no_type.status_code, no_type.json()["place"]) == (415, "Content-Type")
    no_length = vehicle.http.post("/v1/tus", headers=TUS | auth)
    assert (no_length.status_code, no_length.json()["place"]) == (400, "Upload-Length")
    assert vehicle.offset(url) == 0


def test_a_wrong_offset_is_a_conflict_and_changes_nothing(vehicle: Vehicle) -> None:
    url = vehicle.create(len(SMALL)).headers["Location"]
    assert vehicle.patch(url, 0, SMALL[:100]).headers["Upload-Offset"] == "100"
    for offset in (0, 99, 101, len(SMALL)):
        assert vehicle.patch(url, offset, SMALL[100:200]).status_code == 409
    assert vehicle.offset(url) == 100


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_checksums(vehicle: Vehicle, algorithm: str) -> None:
    url = vehicle.create(len(SMALL)).headers["Location"]
    wrong = vehicle.patch(url, 0, SMALL[:99], **{"Upload-Checksum": checksum(algorithm, b"?")})
    assert wrong.status_code == 460
    assert vehicle.offset(url) == 0
    right = vehicle.patch(url, 0, SMALL, **{"Upload-Checksum": checksum(algorithm, SMALL)})
    assert right.status_code == 204
    assert vehicle.status(clip_id_of_bytes(SMALL))["state"] == "committed"


@pytest.mark.parametrize("text", ["md5 AAAA", "sha256", "sha256 !", "sha1 AAAA", ""])
def test_a_checksum_that_cannot_be_checked_is_refused(vehicle: Vehicle, text: str) -> None:
    url = vehicle.create(10).headers["Location"]
    assert vehicle.patch(url, 0, b"abc", **{"Upload-Checksum": text}).status_code == 400
    assert vehicle.offset(url) == 0


def test_a_checksummed_body_is_bounded(vehicle: Vehicle) -> None:
    url = vehicle.create(100 * 2**20).headers["Location"]
    body = bytes(64 * 2**20 + 1)
    sums = {"Upload-Checksum": checksum("sha256", body)}
    assert vehicle.patch(url, 0, body, **sums).status_code == 413
    assert vehicle.patch(url, 0, (body[: 2**24] for _ in range(5)), **sums).status_code == 413
    assert vehicle.offset(url) == 0
    assert vehicle.patch(url, 0, body[:-1], **(sums | {
        "Upload-Checksum": checksum("sha256", body[:-1])
    })).status_code == 204  # fmt: skip


def test_creation_with_upload(vehicle: Vehicle) -> None:
    headers = BODY | vehicle.bearer | {"Upload-Length": str(len(SMALL))}
    first = vehicle.http.post("/v1/tus", content=SMALL[:500], headers=headers)
    assert (first.status_code, first.headers["Upload-Offset"]) == (201, "500")
    rest = vehicle.patch(first.headers["Location"], 500, SMALL[500:])
    assert rest.headers["Upload-Offset"] == str(len(SMALL))
    whole = vehicle.http.post("/v1/tus", content=SMALL, headers=headers)
    assert (whole.status_code, whole.headers["Upload-Offset"]) == (201, str(len(SMALL)))
    untyped = TUS | vehicle.bearer | {"Upload-Length": "3"}
    assert vehicle.http.post("/v1/tus", content=b"abc", headers=untyped).status_code == 415


def test_method_override(vehicle: Vehicle) -> None:
    url = vehicle.create(len(SMALL)).headers["Location"]
    over = BODY | vehicle.bearer | {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
    assert vehicle.http.post(url, content=SMALL, headers=over).status_code == 204
    over["X-HTTP-Method-Override"] = "DELETE"
    assert vehicle.http.post(url, headers=over).status_code == 204
    over["X-HTTP-Method-Override"] = "TRACE"
    assert vehicle.http.post(url, headers=over).status_code == 400


def test_termination_forgets_the_bytes(vehicle: Vehicle, cloud: RunningServer) -> None:
    url = vehicle.create(len(SMALL)).headers["Location"]
    vehicle.patch(url, 0, SMALL[:50])
    parts = cloud.app.state.service.settings.folder / "parts"
    assert len(list(parts.iterdir())) == 1
    assert vehicle.http.delete(url, headers=TUS | vehicle.bearer).status_code == 204
    assert vehicle.head(url).status_code == 404
    assert list(parts.iterdir()) == []


def test_a_vehicle_reaches_only_its_own_uploads(vehicle: Vehicle, other_vehicle: Vehicle) -> None:
    url = vehicle.create(len(SMALL)).headers["Location"]
    assert other_vehicle.head(url).status_code == 404
    assert other_vehicle.patch(url, 0, SMALL).status_code == 404
    assert vehicle.http.delete(url, headers=TUS | other_vehicle.bearer).status_code == 404
    clip_id = vehicle.upload(SMALL, MANIFEST)
    assert other_vehicle.status(clip_id) == {
        "clip_id": clip_id, "state": "absent", "size_bytes": None, "offset_bytes": None,
    }  # fmt: skip
    assert vehicle.http.head(url, headers=TUS).status_code == 401
    forged = TUS | {"Authorization": f"Bearer {vehicle.token[:-4]}AAAA"}
    assert vehicle.http.head(url, headers=forged).status_code == 401


def test_a_declaration_is_idempotent_and_resumes(vehicle: Vehicle) -> None:
    content = make_clip(MANIFEST, PART_BYTES)
    first = vehicle.declare(content, MANIFEST).json()
    assert (first["answer"], first["offset_bytes"]) == ("upload", 0)
    vehicle.patch(first["upload_url"], 0, content[:1000])
    again = vehicle.declare(content, MANIFEST).json()
    assert again["upload_url"] == first["upload_url"]
    assert again["offset_bytes"] == 1000
    metadata = "clip_id " + base64.b64encode(first["clip_id"].encode()).decode()
    created = vehicle.create(len(content), **{"Upload-Metadata": metadata})
    assert created.headers["Location"] == first["upload_url"]
    assert vehicle.status(first["clip_id"])["offset_bytes"] == 1000
    assert vehicle.patch(first["upload_url"], 1000, content[1000:]).status_code == 204
    assert vehicle.declare(content, MANIFEST).json()["answer"] == "have_it"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda body: body | {"clip_id": "0" * 64}, 400),
        (lambda body: body | {"size_bytes": PART_BYTES + 1}, 400),
        (lambda body: body | {"part_digests": body["part_digests"] * 2}, 400),
        (lambda body: body | {"part_digests": ["xyz"]}, 400),
        (lambda body: body | {"size_bytes": 2**50}, 413),
        (lambda body: body | {"size_bytes": 0}, 400),
        (lambda body: body | {"event": body["event"] | {"vehicle_id": "car-9"}}, 403),
    ],
)
def test_a_lying_declaration_is_refused(
    vehicle: Vehicle, tables: sa.Engine, change: Any, status: int
) -> None:
    body = change(declaration(SMALL, MANIFEST))
    answer = vehicle.http.post("/v1/uploads", json=body, headers=vehicle.bearer)
    assert answer.status_code == status, answer.text
    with tables.connect() as connection:
        assert connection.execute(sa.select(uploads)).all() == []


def test_lying_uploads_never_become_clips(vehicle: Vehicle, tables: sa.Engine) -> None:
    # Another length than declared.
    declared = vehicle.declare(SMALL, MANIFEST).json()
    metadata = "clip_id " + base64.b64encode(declared["clip_id"].encode()).decode()
    other_length = vehicle.create(len(SMALL) + 1, **{"Upload-Metadata": metadata})
    assert (other_length.status_code, other_length.json()["place"]) == (400, "Upload-Length")
    # A body beyond the length, with and without a Content-Length.
    url = declared["upload_url"]
    assert vehicle.patch(url, 0, SMALL + b"x").status_code == 413
    assert vehicle.patch(url, 0, iter([SMALL, b"x"])).status_code == 413
    assert vehicle.offset(url) == 0
    # Bytes other than declared: refused before they are stored.
    assert vehicle.patch(url, 0, SMALL[:-1] + b"x").status_code == 460
    assert vehicle.offset(url) == 0
    # Bytes other than a stock client named: refused for good.
    content = make_clip(MANIFEST, 2000, seed=1)
    named = "clip_id " + base64.b64encode(b"0" * 64).decode()
    stock = vehicle.create(len(content), **{"Upload-Metadata": named}).headers["Location"]
    refused = vehicle.patch(stock, 0, content)
    assert (refused.status_code, refused.json()["place"]) == (400, "clip_id")
    assert vehicle.head(stock).status_code == 410
    assert count_clips(tables) == 0


def test_a_bad_part_changes_nothing_and_the_right_one_goes_on(vehicle: Vehicle) -> None:
    content = make_clip(MANIFEST, 2 * PART_BYTES + 5000)
    url = vehicle.declare(content, MANIFEST).json()["upload_url"]
    bad = bytearray(content)
    bad[PART_BYTES + 17] ^= 1
    answer = vehicle.patch(url, 0, bytes(bad))
    assert (answer.status_code, answer.json()["place"]) == (460, "part 1")
    assert vehicle.offset(url) == PART_BYTES
    # An unverified tail in which the bad byte lies is forgotten with its part.
    assert vehicle.patch(url, PART_BYTES, bytes(bad[PART_BYTES : PART_BYTES + 100])).is_success
    rest = vehicle.patch(url, PART_BYTES + 100, content[PART_BYTES + 100 :])
    assert rest.status_code == 460
    assert vehicle.offset(url) == PART_BYTES
    assert vehicle.patch(url, PART_BYTES, content[PART_BYTES:]).status_code == 204
    assert vehicle.status(clip_id_of_bytes(content))["state"] == "committed"


def test_expired_uploads_are_gone_and_their_bytes_collected(start_cloud: StartCloud) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock}, upload_expiry_s=1000)
    with httpx.Client(base_url=server.url) as http:
        vehicle = Vehicle(http)
        vehicle.enrol()
        vehicle.authenticate()
        url = vehicle.create(len(SMALL)).headers["Location"]
        vehicle.patch(url, 0, SMALL[:10])
        clock.jump_utc_ns(600 * NS_PER_S)
        assert vehicle.patch(url, 10, SMALL[10:20]).status_code == 204  # puts the expiry off
        clock.jump_utc_ns(600 * NS_PER_S)
        vehicle.authenticate()
        assert vehicle.head(url).status_code == 200
        clock.jump_utc_ns(500 * NS_PER_S)
        vehicle.authenticate()
        assert vehicle.head(url).status_code == 410
        assert server.run(server.app.state.collector.collect_expired()) == 1
        assert vehicle.head(url).status_code == 404
    assert list((server.app.state.service.settings.folder / "parts").iterdir()) == []


def test_a_vehicle_may_not_open_uploads_without_end(start_cloud: StartCloud) -> None:
    server = start_cloud(max_open_uploads=2)
    with httpx.Client(base_url=server.url) as http:
        vehicle = Vehicle(http)
        vehicle.enrol()
        vehicle.authenticate()
        assert [vehicle.create(10).status_code for _ in range(3)] == [201, 201, 429]


def test_browsers_may_upload_from_this_machine(http: httpx.Client) -> None:
    asked = {
        "Origin": "http://localhost:5173",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "tus-resumable,upload-offset",
    }
    answer = http.options("/v1/tus/abc", headers=asked)
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"
    strange = http.options("/v1/tus/abc", headers=asked | {"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in strange.headers
