"""What the protocol says with MUST and no other test looks at, clause by clause.

https://tus.io/protocols/resumable-upload, version 1.0.0. The other clauses: `test_tus_routes`
(core, creation, checksum, termination, expiration), `test_tus_concat` (concatenation).
"""

from __future__ import annotations

import base64
import email.utils
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.cloud_ingest.support import BODY, TUS, Vehicle, make_clip, make_manifest
from tests.cloud_ingest.test_tus_concat import join, send_partial

CLIP = make_clip(make_manifest(), 1000)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_every_answer_but_that_to_options_names_the_version(vehicle: Vehicle) -> None:
    url = vehicle.create(10).headers["Location"]
    answers = [
        vehicle.create(10),
        vehicle.create(-1),
        vehicle.head(url),
        vehicle.patch(url, 0, b"a"),
        vehicle.patch(url, 5, b"a"),
        vehicle.http.head(url, headers=TUS),
        vehicle.http.delete(url, headers=TUS | vehicle.bearer),
        vehicle.head(url),
    ]
    assert {answer.headers["Tus-Resumable"] for answer in answers} == {"1.0.0"}


def test_options_needs_no_version(http: httpx.Client) -> None:
    """The client SHOULD NOT send Tus-Resumable with OPTIONS, and the server MUST ignore it."""
    for headers in ({}, {"Tus-Resumable": "0.0.1"}):
        answer = http.options("/v1/tus", headers=headers)
        assert answer.status_code in (200, 204)
        assert answer.headers["Tus-Version"].split(",")[0] == "1.0.0"


def test_an_unsupported_version_is_not_processed(vehicle: Vehicle) -> None:
    url = vehicle.create(len(CLIP)).headers["Location"]
    old = BODY | vehicle.bearer | {"Upload-Offset": "0", "Tus-Resumable": "0.2.2"}
    answer = vehicle.http.patch(url, content=CLIP, headers=old)
    assert (answer.status_code, answer.headers["Tus-Version"]) == (412, "1.0.0")
    assert vehicle.offset(url) == 0


def test_head_of_what_is_not_there_tells_no_offset(vehicle: Vehicle) -> None:
    answer = vehicle.head("/v1/tus/0123456789abcdef0123456789abcdef")
    assert answer.status_code in (403, 404, 410)
    assert "Upload-Offset" not in answer.headers


def test_head_is_never_from_a_cache(vehicle: Vehicle) -> None:
    url = vehicle.create(10).headers["Location"]
    assert vehicle.head(url).headers["Cache-Control"] == "no-store"


def test_metadata_come_back_as_they_were_given(vehicle: Vehicle) -> None:
    """Keys may be without a value, and the whole header is returned as it was."""
    header = f"filename {encoded('clip – 1.mcap')},is_confidential"
    created = vehicle.create(10, **{"Upload-Metadata": header})
    assert created.status_code == 201
    assert vehicle.head(created.headers["Location"]).headers["Upload-Metadata"] == header


def test_keys_of_metadata_are_unique(vehicle: Vehicle) -> None:
    twice = f"a {encoded('1')},a {encoded('2')}"
    assert vehicle.create(10, **{"Upload-Metadata": twice}).status_code == 400


def test_expiry_is_a_date_on_creation_and_on_every_patch(vehicle: Vehicle) -> None:
    created = vehicle.create(len(CLIP))
    url = created.headers["Location"]
    for answer in (created, vehicle.patch(url, 0, CLIP[:10]), vehicle.head(url)):
        assert email.utils.parsedate_to_datetime(answer.headers["Upload-Expires"])


def test_an_empty_patch_moves_nothing(vehicle: Vehicle) -> None:
    url = vehicle.create(10).headers["Location"]
    answer = vehicle.patch(url, 0, b"")
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "0")


def test_a_patch_tells_the_new_offset(vehicle: Vehicle) -> None:
    url = vehicle.create(10).headers["Location"]
    assert vehicle.patch(url, 0, b"abc").headers["Upload-Offset"] == "3"
    assert vehicle.patch(url, 3, b"d").headers["Upload-Offset"] == "4"


def test_an_upload_goes_on_where_a_connection_broke(vehicle: Vehicle) -> None:
    """The server SHOULD store as much of a broken body as it can."""
    url = vehicle.create(len(CLIP)).headers["Location"]
    parts = urlsplit(url)
    lines = BODY | vehicle.bearer | {
        "Host": parts.netloc, "Upload-Offset": "0", "Content-Length": str(len(CLIP)),
    }  # fmt: skip
    head = f"PATCH {parts.path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + CLIP[:700])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
    held = [vehicle.offset(url) for _ in range(50)][-1]
    assert held in (0, 700)
    assert vehicle.patch(url, held, CLIP[held:]).status_code == 204


def test_a_final_upload_has_metadata_of_its_own(vehicle: Vehicle) -> None:
    first = send_partial(vehicle, CLIP)
    given = f"filename {encoded('joined')}"
    final = join(vehicle, [first], **{"Upload-Metadata": given}).headers["Location"]
    assert vehicle.head(final).headers["Upload-Metadata"] == given


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_other_methods_are_none_of_its(vehicle: Vehicle, method: str) -> None:
    url = vehicle.create(10).headers["Location"]
    answer = vehicle.http.request(method, url, headers=TUS | vehicle.bearer)
    assert answer.status_code in (404, 405)
