"""Bounds request bodies before they are read: an ASGI layer around all routes but tus.

The rest of a refused body is read and dropped when its end is near, so that the client gets to
read the answer; a longer one is cut off with the connection.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_ingest.mining.picture_encoder import MAX_BYTES as MAX_PICTURE_BYTES
from cloud_ingest.problems import TooLargeError, problem_response
from contracts.ota import MAX_MODEL_BYTES
from contracts.upload import MAX_EVENT_BYTES

MAX_JSON_BYTES = 2**20
DRAINED_BYTES = 64 * 2**20
_STREAMED = ("/v1/tus", "/v1/signal-logs")
# Event records are small by contract; the rest of the allowance is for spaces and field order.
_OWN_LIMITS = {"/v1/events": 4 * MAX_EVENT_BYTES, "/v1/pictures": MAX_PICTURE_BYTES}
_FILES = "/v1/ota/files/"


class BoundedBodies:
    """Answers 413 to a body that says, or turns out, to be too long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_streamed(scope["path"]):
            await self._app(scope, receive, send)
            return
        limit = _limit_of(scope["path"])
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said[:20]) > limit:
            error = TooLargeError(f"a body here has at most {limit} bytes", "Content-Length")
            await problem_response(error, cut_off(said.decode()))(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"a body here has at most {limit} bytes")
            return message

        await self._app(scope, bounded, send)


def _limit_of(path: str) -> int:
    if path.startswith(_FILES):
        return MAX_MODEL_BYTES
    return _OWN_LIMITS.get(path, MAX_JSON_BYTES)


def cut_off(content_length: str) -> dict[str, str]:
    """Headers of an answer to a body that is not read: whether the connection ends."""
    is_long = not content_length.isdigit() or int(content_length[:20]) > DRAINED_BYTES
    return {"Connection": "close"} if is_long else {}


def _is_streamed(path: str) -> bool:
    return any(path == own or path.startswith(own + "/") for own in _STREAMED)
