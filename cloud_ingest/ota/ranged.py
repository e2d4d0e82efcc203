"""Bytes that never change, as an answer: whole or by Range, with their digest as ETag."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from cloud_ingest.problems import RangeError, problem_response
from cloud_ingest.ranges import Span, parse_range

Read = Callable[[int, int], AsyncIterator[bytes]]
_TYPE = "application/octet-stream"


def immutable_bytes(request: Request, digest: str, size_bytes: int, read: Read) -> Response:
    """Answer GET or HEAD. `read(start, length)` yields the bytes."""
    etag = f'"{digest}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if etag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(size_bytes)}, media_type=_TYPE)
    asked = request.headers.get("range")
    if request.headers.get("if-range", etag) != etag:
        asked = None
    try:
        span = parse_range(asked, size_bytes)
    except RangeError as error:
        return problem_response(error, {"Content-Range": f"bytes */{size_bytes}"})
    if span is not None:
        end = span.start + span.length - 1
        headers["Content-Range"] = f"bytes {span.start}-{end}/{size_bytes}"
    served = span or Span(0, size_bytes)
    headers["Content-Length"] = str(served.length)
    body = read(served.start, served.length)
    return StreamingResponse(body, 200 if span is None else 206, headers, _TYPE)
