"""The receiver's interface (`contracts.upload`, tus 1.0) as typed calls over a transport.

Guarantees: every call returns an event of `edge_agent.upload.protocol` and raises only
`StoppedError`, and `UnreadableError` for the file that it sends; an answer that cannot be read as
its contract is reported with its status and no content, so it can prove nothing. Authentication,
enrolment and event records are repeated a few times on failed connections, since repeating them
is harmless; what belongs to a clip's session is repeated by the session alone.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from contracts.clock import Clock
from contracts.errors import ConflictError, LongtailError, RefusedError, TransientError
from contracts.signal_log import SignalLogRow
from contracts.upload import (
    ADVISED_RATE_HEADER,
    Challenge,
    ChallengeRequest,
    EnrolAnswer,
    EventAnswer,
    Problem,
    TokenAnswer,
    UploadAnswer,
    UploadRequest,
    UploadStatus,
)
from edge_agent.identity import Signer, Token, answer_challenge, enrol_request, token_of
from edge_agent.upload.again import again
from edge_agent.upload.payload import FileRange, Gate, StoppedError, readable
from edge_agent.upload.protocol import (
    Authenticated,
    AuthRefused,
    Event,
    Failed,
    FileChecked,
    Replied,
    SendPart,
    Span,
)
from edge_agent.upload.transport import Reply, Transport

TUS = {"Tus-Resumable": "1.0.0"}
MAX_OFFSET_DIGITS = 19

Message = TypeVar("Message", bound=BaseModel)
Result = TypeVar("Result")


class Receiver:
    """The cloud as a vehicle sees it.

    Args:
        transport: carries the calls.
        signer: the vehicle's key.
        clock: times tokens and pauses.
        rng: jitter of pauses.
    """

    def __init__(
        self, transport: Transport, signer: Signer, clock: Clock, rng: random.Random
    ) -> None:
        self._transport = transport
        self._signer = signer
        self._clock = clock
        self._rng = rng
        self._token: Token | None = None

    async def enrol(self, token: str | None) -> EnrolAnswer:
        """Present the vehicle's key. Raises `RefusedError`, `ConflictError`, `TransientError`."""
        body = enrol_request(self._signer, token).model_dump_json()
        reply = await self._repeat(lambda: self._transport.call("POST", "/v1/vehicles", body))
        answer = _message(reply, EnrolAnswer)
        if answer is not None and answer.vehicle_id == self._signer.vehicle_id:
            return answer
        reason = f"enrolment: {reply.status} {_reason(reply)}".strip()
        if reply.status == 409:
            raise ConflictError(reason)
        if reply.status == 429 or reply.status >= 500 or reply.status < 300:
            raise TransientError(reason, retry_after_s=reply.number("retry-after"))
        raise RefusedError(reason)

    async def authenticate(self, renew: bool) -> Event:
        """Have a fresh token, by signing a challenge where there is none."""
        if renew:
            self._token = None
        if self.has_fresh_token():
            return Authenticated()
        try:
            return await self._repeat(self._fetch_token)
        except StoppedError:
            raise
        except LongtailError as error:
            return Failed(error.message)

    async def _fetch_token(self) -> Event:
        asked_mono_ns = self._clock.mono_ns()
        ask = ChallengeRequest(vehicle_id=self._signer.vehicle_id).model_dump_json()
        reply = await self._transport.call("POST", "/v1/auth/challenge", ask)
        challenge = _message(reply, Challenge)
        if challenge is not None:
            signed = answer_challenge(self._signer, challenge).model_dump_json()
            reply = await self._transport.call("POST", "/v1/auth/token", signed)
            answer = _message(reply, TokenAnswer)
            if answer is not None:
                self._token = token_of(answer, asked_mono_ns)
                return Authenticated()
        if reply.status in (429, 503):
            return _replied(reply)
        reason = f"authentication: {reply.status} {_reason(reply)}".strip()
        if reply.status < 400 or reply.status >= 500:
            raise TransientError(reason)
        return AuthRefused(reason)

    async def post_event(self, body: str) -> Replied | Failed:
        """Send one event record; only an `EventAnswer` keeps a status of 2xx."""
        try:
            reply = await self._repeat(
                lambda: self._transport.call("POST", "/v1/events", body, self.bearer())
            )
        except StoppedError:
            raise
        except LongtailError as error:
            return Failed(error.message)
        if 200 <= reply.status < 300 and _message(reply, EventAnswer) is None:
            return Failed("the answer to an event record cannot be read")
        return _replied(reply)

    async def declare(self, request: UploadRequest) -> Event:
        reply = await self._call("POST", "/v1/uploads", request.model_dump_json())
        if isinstance(reply, Failed):
            return reply
        answer = _message(reply, UploadAnswer)
        if answer is not None:
            self._transport.advise(answer.advised_bytes_per_s)
        return replace(_replied(reply), answer=answer)

    async def read_status(self, clip_id: str) -> Event:
        reply = await self._call("GET", f"/v1/uploads/{clip_id}")
        if isinstance(reply, Failed):
            return reply
        return replace(_replied(reply), status_body=_message(reply, UploadStatus))

    async def read_offset(self, url: str) -> Event:
        try:
            reply = await self._call("HEAD", url)
        except RefusedError as error:
            return Replied(status=400, reason=error.message)
        return reply if isinstance(reply, Failed) else _replied(reply)

    async def open_span(self, url: str, clip_id: str, span: Span) -> Event:
        """Create the partial upload of a span, or find the one that is there."""
        about = f"clip_id {_base64(clip_id)},start_bytes {_base64(str(span.first_byte))}"
        headers = {
            "Upload-Concat": "partial",
            "Upload-Length": str(span.length_bytes),
            "Upload-Metadata": about,
        }
        return await self._create(url, headers)

    async def join_spans(self, url: str, span_urls: Sequence[str]) -> Event:
        """Create the upload that consists of partial ones."""
        return await self._create(url, {"Upload-Concat": f"final;{' '.join(span_urls)}"})

    async def _create(self, url: str, headers: dict[str, str]) -> Event:
        try:
            reply = await self._call("POST", url, headers=headers)
            if isinstance(reply, Failed):
                return reply
            location = reply.headers.get("location")
            resolved = None if location is None else self._transport.resolve(location)
        except RefusedError as error:
            return Replied(status=400, reason=error.message)
        return replace(_replied(reply), location=resolved)

    async def _call(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Reply | Failed:
        try:
            return await self._transport.call(
                method, path, body, {**TUS, **self.bearer(), **headers}
            )
        except TransientError as error:
            return Failed(error.message)

    async def send_part(self, part: SendPart, clip: Path, gate: Gate) -> Event:
        """PATCH a range of the clip's file. A file that is gone is found damaged."""
        try:
            digest = part.digest or _digest_range(clip, part.clip_byte, part.length_bytes)
            checksum = base64.b64encode(bytes.fromhex(digest)).decode("ascii")
            headers = {
                **TUS,
                **self.bearer(),
                "Upload-Offset": str(part.offset_bytes),
                "Upload-Checksum": f"sha256 {checksum}",
            }
            body = FileRange(clip, part.clip_byte, part.length_bytes)
            reply = await self._transport.send_range(
                "PATCH", part.url, body, headers, gate, part.expect_continue
            )
        except FileNotFoundError:
            return FileChecked(False, "the file is gone")
        except TransientError as error:
            return Failed(error.message)
        except RefusedError as error:
            return Replied(status=400, reason=error.message)
        if 200 <= reply.status < 300:
            self._transport.advise(reply.number(ADVISED_RATE_HEADER.lower()))
        return _replied(reply)

    async def send_log(self, log_id: str, path: Path, gate: Gate) -> Replied | Failed:
        """PUT a signal log; only an answer with its own id keeps a status of 2xx."""
        body = FileRange(path, 0, path.stat().st_size)
        url = self._transport.resolve(f"/v1/signal-logs/{log_id}")
        try:
            reply = await self._transport.send_range("PUT", url, body, self.bearer(), gate)
        except TransientError as error:
            return Failed(error.message)
        answer = _message(reply, SignalLogRow)
        if 200 <= reply.status < 300 and (answer is None or answer.log_id != log_id):
            return Failed("the answer does not name the log's bytes")
        return _replied(reply)

    def has_fresh_token(self) -> bool:
        """Whether `authenticate` would have nothing to ask."""
        return self._token is not None and self._token.is_fresh(self._clock.mono_ns())

    def bearer(self) -> dict[str, str]:
        """The header that shows the token; empty without one."""
        return {} if self._token is None else {"Authorization": f"Bearer {self._token.text}"}

    async def _repeat(self, call: Callable[[], Awaitable[Result]]) -> Result:
        return await again(call, self._clock, self._rng)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _digest_range(path: Path, offset_bytes: int, length_bytes: int) -> str:
    digest = hashlib.sha256()
    with readable(path), path.open("rb") as file:
        file.seek(offset_bytes)
        while length_bytes:
            chunk = file.read(min(length_bytes, 1024 * 1024))
            if not chunk:
                raise TransientError("the file ends before its part does", str(path))
            digest.update(chunk)
            length_bytes -= len(chunk)
    return digest.hexdigest()


def _message(reply: Reply, kind: type[Message]) -> Message | None:
    """The body of a success as its contract, None for anything else."""
    if not 200 <= reply.status < 300:
        return None
    try:
        return kind.model_validate_json(reply.body)
    except ValidationError:
        return None


def _reason(reply: Reply) -> str:
    try:
        problem = Problem.model_validate_json(reply.body)
    except ValidationError:
        return ""
    return f"{problem.error}: {problem.message}"[:500]


def _is_of_clip(reply: Reply) -> bool:
    """Whether a refusal says that this clip alone should wait."""
    try:
        return Problem.model_validate_json(reply.body).scope == "clip"
    except ValidationError:
        return False


def _retry_after_s(reply: Reply) -> float | None:
    """Seconds, from the header (dates are not read: vehicles trust no wall clock) or body."""
    header = reply.number("retry-after")
    if header is not None:
        return header
    try:
        return Problem.model_validate_json(reply.body).retry_after_s
    except ValidationError:
        return None


def _replied(reply: Reply) -> Replied:
    succeeded = 200 <= reply.status < 300
    offset = reply.headers.get("upload-offset", "")
    sound = offset.isascii() and offset.isdigit() and len(offset) <= MAX_OFFSET_DIGITS
    return Replied(
        status=reply.status,
        offset_bytes=int(offset) if sound else None,
        retry_after_s=None if succeeded else _retry_after_s(reply),
        reason="" if succeeded else _reason(reply),
        is_of_clip=not succeeded and _is_of_clip(reply),
    )
