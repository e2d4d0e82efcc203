"""Answers with the bytes of something that never changes: whole, a range, or nothing new.

ETag is the content's own digest, so a cache may keep it for ever (RFC 9110, 9111).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from cloud_ingest.problems import RangeError, problem_response
from cloud_ingest.ranges import Span, parse_range

OCTETS = "application/octet-stream"
BINARY_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {OCTETS: {}}},
    206: {},
    304: {},
    416: {},
}
"""For a route's `responses`."""

Pieces = Callable[[int, int], AsyncIterator[bytes]]
"""From (start, length) to the bytes in pieces."""


def answer_bytes(request: Request, digest: str, size_bytes: int, pieces: Pieces) -> Response:
    """GET or HEAD of `size_bytes` whose digest is `digest`."""
    etag = f'"{digest}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if etag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range")
    if request.headers.get("if-range", etag) != etag or request.method == "HEAD":
        asked = None
    try:
        span = parse_range(asked, size_bytes)
    except RangeError as error:
        return problem_response(error, {"Content-Range": f"bytes */{size_bytes}"})
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.start + span.length - 1}/{size_bytes}"
    served = span or Span(0, size_bytes)
    headers["Content-Length"] = str(served.length)
    if request.method == "HEAD":
        return Response(headers=headers, media_type=OCTETS)
    return StreamingResponse(
        pieces(served.start, served.length),
        status_code=200 if span is None else 206,
        headers=headers,
        media_type=OCTETS,
    )
