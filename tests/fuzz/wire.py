"""What comes over the network: upload headers, a server's answers, messages."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from contracts.check_in import CheckIn
from contracts.clock import ClockQuality
from contracts.errors import LongtailError
from contracts.ota import parse_slot, release_of_path
from contracts.upload import EventRecord, UploadAnswer, UploadRequest, UploadStatus
from edge_agent.upload.links import parse_link
from edge_agent.upload.receiver import _replied
from edge_agent.upload.transport import Reply
from tests.fuzz.target import INVALID, Target, run_model, text_of


def request_json() -> bytes:
    from tests.edge_agent.upload_rig import clip_bytes, request_for

    return request_for(clip_bytes(1, 1000), 3).model_dump_json().encode()


def event_json() -> bytes:
    from tests.edge_agent.upload_rig import record

    return record(3).model_dump_json().encode()


def run_tus(content: bytes) -> None:
    """Header fields, one a line, as a proxy would hand them on."""
    from cloud_ingest.ranges import parse_range
    from cloud_ingest.tus.protocol import (
        check_version,
        parse_body,
        parse_checksum,
        parse_length,
        parse_metadata,
        parse_number,
    )

    lines = (line.partition(":") for line in content.decode("latin-1").split("\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    calls: list[Callable[[], object]] = [
        lambda: check_version(headers),
        lambda: parse_body(headers, 0),
        lambda: parse_length(headers, 2**36),
        lambda: parse_number(headers, "Upload-Offset"),
        lambda: parse_metadata(headers.get("upload-metadata", "")),
        lambda: parse_checksum(headers.get("upload-checksum")),
        lambda: parse_range(headers.get("range"), 12345),
    ]
    for call in calls:
        try:
            call()
        except LongtailError:
            continue


TUS_HEADERS = (
    b"Tus-Resumable: 1.0.0\nUpload-Length: 8388608\nUpload-Offset: 0\nContent-Length: 1000\n"
    b"Content-Type: application/offset+octet-stream\nRange: bytes=5-900\n"
    b"Upload-Checksum: sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    b"Upload-Metadata: filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential",
)
TUS_WORDS = (
    "Upload-Length", "Upload-Offset", "Upload-Checksum", "sha1", "md5", "Range", "bytes=", "-", ",",
    "Transfer-Encoding: chunked", "Upload-Defer-Length: 1", "\n", ":", "+5", "-1",
)  # fmt: skip


def run_reply(content: bytes) -> None:
    """An answer of a server that may be anybody: the vehicle's reading of it."""
    head, _, body = content.partition(b"\n\n")
    lines = (line.partition(":") for line in head.decode("latin-1").split("\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    for status in (200, 204, 409, 429, 500):
        reply = Reply(status, headers, body)
        found = _replied(reply)
        assert found.offset_bytes is None or found.offset_bytes >= 0
        for kind in (UploadAnswer, UploadStatus):
            try:
                kind.model_validate_json(body)
            except ValidationError:
                continue


REPLY = (
    b"Upload-Offset: 8388608\nRetry-After: 30\nContent-Type: application/json\n\n"
    b'{"error": "busy", "message": "later", "retry_after_s": 4.5}'
)


def check_in_json() -> bytes:
    made = CheckIn(
        vehicle_id="car-1", boot_id="boot-1", sequence=3, nonce="0" * 32, utc_ns=0, mono_ns=0,
        clock=ClockQuality(synchronised=False), labels={"region": "x"},
    )  # fmt: skip
    return made.model_dump_json().encode()


def run_ota_words(content: bytes) -> None:
    text = text_of(content)
    for parse in (parse_slot, release_of_path):
        try:
            parse(text)
        except LongtailError:
            continue


TARGETS = (
    Target("tus-headers", lambda: TUS_HEADERS, run_tus, words=TUS_WORDS),
    Target("server-answer", lambda: [REPLY], run_reply,
           words=("Upload-Offset", "Retry-After", "nan", "inf", "-1", "committed", "{", "}")),
    Target("upload-request", lambda: [request_json()], run_model(UploadRequest), is_json=True,
           refusals=INVALID),
    Target("event-record", lambda: [event_json()], run_model(EventRecord), is_json=True,
           refusals=INVALID),
    Target("check-in", lambda: [check_in_json()], run_model(CheckIn), is_json=True,
           refusals=INVALID),
    Target("link-file", lambda: [b"wifi metered", b"cellular"], lambda c: parse_link(text_of(c)),
           words=("wifi", "metered", "none")),
    Target("ota-words", lambda: [b"trigger:brake", b"triggers/brake/3/spec.yaml", b"model@shadow"],
           run_ota_words, words=("trigger", "model", ":", "/", "@", "shadow", "..")),
)  # fmt: skip
