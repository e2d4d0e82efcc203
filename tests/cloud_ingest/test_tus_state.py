"""Any sequence of appends, cuts, wrong offsets, checksums and reconnects against a model.

The model is the bytes that must be there. Parts are shrunk for the test by sending a clip of
little more than two, with sizes drawn near their edges.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import socket
from urllib.parse import urlsplit

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.schema import clips
from contracts.clock import NS_PER_S
from contracts.ids import PART_BYTES
from tests.cloud_ingest.support import (
    BODY,
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)

NOISE_BYTES = PART_BYTES + 70_000
SIZES = st.one_of(
    st.integers(0, 200),
    st.integers(60_000, 70_000),
    st.integers(PART_BYTES - 200, PART_BYTES + 200),
    st.just(NOISE_BYTES * 2),
)
STARTS = itertools.count()
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["append", "append", "checksum", "wrong_sum", "wrong_offset", "bad", "cut"]
        ),
        SIZES,
    ),
    max_size=8,
)


def settled_offset(vehicle: Vehicle, url: str) -> int:
    """The offset once it moves no more: what came before a cut is stored after it."""
    found, same = vehicle.offset(url), 0
    while same < 30:
        now = vehicle.offset(url)
        found, same = now, same + 1 if now == found else 0
    return found


def cut_patch(vehicle: Vehicle, url: str, offset: int, promised: int, sent: bytes) -> None:
    """A PATCH whose connection ends before its body does."""
    parts = urlsplit(url)
    headers = (
        BODY
        | vehicle.bearer
        | {
            "Host": parts.netloc,
            "Upload-Offset": str(offset),
            "Content-Length": str(promised),
        }
    )
    head = f"PATCH {parts.path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, is_declared=st.booleans())
def test_uploads_follow_the_model(
    cloud: RunningServer,
    vehicle: Vehicle,
    tables: sa.Engine,
    steps: list[tuple[str, int]],
    is_declared: bool,
) -> None:
    # A clip of its own for each example, since the service forgets nothing between them.
    manifest = make_manifest(start_mono_ns=next(STARTS) * 100 * NS_PER_S)
    content = make_clip(manifest, NOISE_BYTES)
    clip_id = clip_id_of_bytes(content)
    if is_declared:
        url = vehicle.declare(content, manifest).json()["upload_url"]
    else:
        url = vehicle.create(len(content)).headers["Location"]
    offset = vehicle.offset(url)
    for kind, size in steps:
        body = content[offset : offset + size]
        match kind:
            case "append":
                answer = vehicle.patch(url, offset, body)
                assert answer.status_code == 204, answer.text
                offset += len(body)
                assert answer.headers["Upload-Offset"] == str(offset)
            case "checksum" | "wrong_sum":
                digest = hashlib.sha256(body if kind == "checksum" else body + b"x").digest()
                header = {"Upload-Checksum": "sha256 " + base64.b64encode(digest).decode()}
                answer = vehicle.patch(url, offset, body, **header)
                assert answer.status_code == (204 if kind == "checksum" else 460)
                offset += len(body) if kind == "checksum" else 0
            case "wrong_offset":
                assert vehicle.patch(url, offset + 1 + size, body).status_code == 409
            case "bad" if is_declared and offset < len(content):
                # A wrong last byte of a part, sent up to the part's end.
                end = min(len(content), (offset // PART_BYTES + 1) * PART_BYTES)
                wrong = content[offset : end - 1] + bytes([content[end - 1] ^ 1])
                assert vehicle.patch(url, offset, wrong).status_code == 460
                offset = offset // PART_BYTES * PART_BYTES
            case "cut" if len(body) > 0 and offset + len(body) < len(content):
                cut_patch(vehicle, url, offset, len(content) - offset, body)
                arrived = settled_offset(vehicle, url)
                assert offset <= arrived <= offset + len(body)
                offset = arrived
        assert vehicle.offset(url) == offset
        with tables.connect() as connection:
            row = connection.execute(sa.select(clips).where(clips.c.clip_id == clip_id)).all()
        assert len(row) == (offset == len(content))
    rest = vehicle.patch(url, offset, content[offset:])
    assert rest.status_code == 204
    assert vehicle.status(clip_id)["state"] == "committed"
    assert vehicle.http.get(f"/clips/{clip_id}.mcap").content == content
