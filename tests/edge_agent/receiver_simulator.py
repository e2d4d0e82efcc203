"""A small faithful receiver on loopback, with faults as data.

It keeps the HTTP contract of `contracts.upload` and tus 1.0 (declare, HEAD, PATCH with
checksum, status, challenge and token, events, signal logs) and verifies what a receiver must:
signatures, tokens, offsets, part digests, the clip id. A script such as `"rEErr"` says what happens
to each request of the chosen methods, one letter a request; after its end all is well.

| letter | the request meets                                   |
|--------|-----------------------------------------------------|
| r      | the right answer                                    |
| E      | 500                                                 |
| S, T   | 503, 429, with Retry-After                          |
| u, f   | 401, 403                                            |
| g, G   | 404, 410                                            |
| c      | 409                                                 |
| b, m   | 413, 415                                            |
| p      | 412                                                 |
| x      | 460                                                 |
| D      | a dropped connection before the body                |
| d      | a dropped connection in the middle of the body      |
| a      | a dropped connection after all has been stored      |
| L      | a lie: success with an offset or clip that is wrong |
| J      | 200 with a body that is not JSON                    |
| R      | a redirect to elsewhere                             |
"""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.clock import NS_PER_S
from contracts.ids import PART_BYTES, PartHasher, clip_id_of, part_length
from contracts.signal_log import SignalLogRow
from contracts.upload import (
    AUTH_CONTEXT,
    Challenge,
    ChallengeRequest,
    EnrolAnswer,
    EnrolRequest,
    EventAnswer,
    EventRecord,
    Problem,
    TokenAnswer,
    TokenRequest,
    UploadAnswer,
    UploadRequest,
    UploadStatus,
)

STATUSES = {
    "E": 500, "S": 503, "T": 429, "u": 401, "f": 403, "g": 404, "G": 410, "c": 409, "b": 413,
    "m": 415, "p": 412, "x": 460,
}  # fmt: skip
RETRY_AFTER_S = 7
LETTER = web.RequestKey("letter", str)


@dataclass
class Held:
    """What the receiver holds of a clip."""

    request: UploadRequest
    content: bytearray = field(default_factory=bytearray)
    committed: bool = False


def unpad(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class ReceiverSimulator:
    """See the module. `script` applies to requests whose method is in `faulty`, in order."""

    def __init__(self, script: str = "", faulty: tuple[str, ...] = ("PATCH",)) -> None:
        self.script = script
        self.faulty = faulty
        self.held: dict[str, Held] = {}
        self.keys: dict[str, Ed25519PublicKey] = {}
        self.events: list[EventRecord] = []
        self.declare_answers: dict[str, UploadAnswer] = {}
        self.requests: list[str] = []
        self.logs: list[bytes] = []
        self.body_bytes = 0
        self.polls_until_committed = 0
        self.tokens: set[str] = set()
        self.utc_ns = 1_800_000_000 * NS_PER_S
        self.token_life_s = 3600
        self.enrolment_token: str | None = None
        self.location_prefix = ""
        self.on_body_chunk = lambda: None
        self.forgets = 0
        """How many parts it will accept, and not have afterwards."""

    def revoke_tokens(self) -> None:
        self.tokens.clear()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._faults], client_max_size=2**31)
        application.add_routes(
            [
                web.post("/v1/vehicles", self._enrol),
                web.post("/v1/auth/challenge", self._challenge),
                web.post("/v1/auth/token", self._token),
                web.post("/v1/events", self._event),
                web.post("/v1/uploads", self._declare),
                web.get("/v1/uploads/{clip_id}", self._status),
                web.head("/v1/tus/{clip_id}", self._offset),
                web.patch("/v1/tus/{clip_id}", self._part),
                web.put("/v1/signal-logs/{log_id}", self._log),
            ]
        )
        return application

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """The base URL, while the block runs."""
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        # Little room in the kernel: a sender is never far ahead of what was read here.
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        listener.bind(("127.0.0.1", 0))
        site = web.SockSite(runner, listener)
        await site.start()
        try:
            port = runner.addresses[0][1]
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()

    @web.middleware
    async def _faults(self, request, handler):  # type: ignore[no-untyped-def]
        self.requests.append(f"{request.method} {request.path[:12]}")
        if not request.path.startswith("/v1/auth") and request.path != "/v1/vehicles":
            bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if bearer not in self.tokens:
                return problem(401, "token_expired")
        letter = "r"
        if request.method in self.faulty and self.script:
            letter, self.script = self.script[0], self.script[1:]
        request[LETTER] = letter
        if letter in STATUSES:
            return problem(STATUSES[letter], f"scripted_{letter}")
        if letter == "D":
            return drop(request)
        if letter == "J":
            return web.Response(status=200, text="<html>captive portal</html>")
        if letter == "R":
            return web.Response(status=302, headers={"Location": "http://192.0.2.1/"})
        response = await handler(request)
        return drop(request) if letter == "a" else response

    async def _enrol(self, request: web.Request) -> web.Response:
        message = EnrolRequest.model_validate_json(await request.read())
        if self.enrolment_token is not None and message.token != self.enrolment_token:
            return problem(403, "bad_token")
        key = Ed25519PublicKey.from_public_bytes(unpad(message.public_key))
        self.keys[message.vehicle_id] = key
        return model(EnrolAnswer(vehicle_id=message.vehicle_id))

    async def _challenge(self, request: web.Request) -> web.Response:
        message = ChallengeRequest.model_validate_json(await request.read())
        challenge = f"challenge-for-{message.vehicle_id}-{len(self.requests)}"
        return model(
            Challenge(
                challenge=challenge,
                server_utc_ns=self.utc_ns,
                expires_utc_ns=self.utc_ns + 60 * NS_PER_S,
            )
        )

    async def _token(self, request: web.Request) -> web.Response:
        message = TokenRequest.model_validate_json(await request.read())
        key = self.keys.get(message.vehicle_id)
        try:
            if key is None:
                raise InvalidSignature
            key.verify(unpad(message.signature), AUTH_CONTEXT + message.challenge.encode())
        except InvalidSignature:
            return problem(401, "bad_signature")
        token = f"token-{len(self.requests)}"
        self.tokens.add(token)
        life_ns = self.token_life_s * NS_PER_S
        return model(
            TokenAnswer(
                token=token, server_utc_ns=self.utc_ns, expires_utc_ns=self.utc_ns + life_ns
            )
        )

    async def _event(self, request: web.Request) -> web.Response:
        record = EventRecord.model_validate_json(await request.read())
        known = record in self.events
        if not known:
            self.events.append(record)
        return model(EventAnswer(known=known))

    async def _declare(self, request: web.Request) -> web.Response:
        message = UploadRequest.model_validate_json(await request.read())
        clip_id = message.clip_id
        if request[LETTER] == "L":
            return model(UploadAnswer(answer="have_it", clip_id="0" * 64))
        if clip_id in self.declare_answers:
            return model(self.declare_answers[clip_id])
        held = self.held.setdefault(clip_id, Held(message))
        if held.committed:
            return model(UploadAnswer(answer="have_it", clip_id=clip_id))
        url = f"{self.location_prefix}/v1/tus/{clip_id}"
        return model(UploadAnswer(answer="upload", clip_id=clip_id, upload_url=url))

    async def _status(self, request: web.Request) -> web.Response:
        clip_id = request.match_info["clip_id"]
        if request[LETTER] == "L":
            return model(UploadStatus(clip_id="0" * 64, state="committed"))
        held = self.held.get(clip_id)
        if held is None:
            return model(UploadStatus(clip_id=clip_id, state="absent"))
        whole = len(held.content) == held.request.size_bytes
        if whole and not held.committed:
            self.polls_until_committed -= 1
            held.committed = self.polls_until_committed < 0
        return model(
            UploadStatus(
                clip_id=clip_id,
                state="committed" if held.committed else "uploading",
                size_bytes=held.request.size_bytes,
                offset_bytes=len(held.content),
            )
        )

    async def _offset(self, request: web.Request) -> web.Response:
        held = self.held.get(request.match_info["clip_id"])
        if held is None:
            return web.Response(status=404)
        offset = len(held.content)
        if request[LETTER] == "L":
            offset = held.request.size_bytes + 1
        return web.Response(headers={"Upload-Offset": str(offset)})

    async def _part(self, request: web.Request) -> web.StreamResponse:
        held = self.held.get(request.match_info["clip_id"])
        if held is None:
            return problem(404, "no_upload")
        if int(request.headers["Upload-Offset"]) != len(held.content):
            return problem(409, "offset")
        body = bytearray()
        length = int(request.headers["Content-Length"])
        async for chunk in request.content.iter_any():
            body += chunk
            self.body_bytes += len(chunk)
            self.on_body_chunk()
            if request[LETTER] == "d" and len(body) > length // 2:
                return drop(request)
        algorithm, digest = request.headers["Upload-Checksum"].split()
        if algorithm != "sha256" or base64.b64decode(digest) != hashlib.sha256(body).digest():
            return problem(460, "checksum")
        if request[LETTER] == "L":
            return web.Response(status=204, headers={"Upload-Offset": str(len(held.content) + 1)})
        content = held.content + body
        if not self._parts_match(held.request, content):
            return problem(460, "part_digest")
        held.content = content
        if self.forgets:
            self.forgets -= 1
            held.content = bytearray()
        return web.Response(status=204, headers={"Upload-Offset": str(len(content))})

    async def _log(self, request: web.Request) -> web.Response:
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            self.on_body_chunk()
        hasher = PartHasher()
        hasher.update(body)
        if hasher.clip_id() != request.match_info["log_id"]:
            return problem(460, "checksum")
        self.logs.append(bytes(body))
        return model(
            SignalLogRow(
                log_id=hasher.clip_id(), vehicle_id="car-1", boot_id="b", drive_id="d",
                start_utc_ns=0, size_bytes=len(body),
            )
        )  # fmt: skip

    def _parts_match(self, declared: UploadRequest, content: bytearray) -> bool:
        digests = []
        for index in range(len(declared.part_digests)):
            begin = index * PART_BYTES
            length = part_length(declared.size_bytes, index)
            if len(content) < begin + length:
                break
            digests.append(hashlib.sha256(content[begin : begin + length]).digest())
        if any(d.hex() != e for d, e in zip(digests, declared.part_digests, strict=False)):
            return False
        whole = len(content) == declared.size_bytes
        return not whole or clip_id_of(digests) == declared.clip_id


def drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def model(message) -> web.Response:  # type: ignore[no-untyped-def]
    return web.Response(text=message.model_dump_json(), content_type="application/json")


def problem(status: int, error: str) -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    body = Problem(error=error, message="scripted").model_dump_json()
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)
