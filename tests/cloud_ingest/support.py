"""What the cloud's tests share: small clips, a vehicle, and a server in a thread."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import io
import random
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from mcap.writer import CompressionType, Writer

from cloud_ingest.http_protocol import LargeBodiesProtocol
from contracts.clip import CLIP_METADATA_NAME, Cause, ClipManifest, ClipSummary, Window
from contracts.clock import NS_PER_S, ClockQuality
from contracts.ids import EventKey, PartHasher
from contracts.upload import AUTH_CONTEXT

Result = TypeVar("Result")
TUS = {"Tus-Resumable": "1.0.0"}
BODY = TUS | {"Content-Type": "application/offset+octet-stream"}


def make_manifest(
    vehicle_id: str = "car-1", start_mono_ns: int = 10 * NS_PER_S, **changes: Any
) -> ClipManifest:
    """A manifest of 10 s; `changes` are fields of the manifest."""
    window = Window(start_mono_ns=start_mono_ns, end_mono_ns=start_mono_ns + 10 * NS_PER_S)
    values: dict[str, Any] = {
        "event": EventKey(
            vehicle_id=vehicle_id,
            boot_id="boot-1",
            start_mono_ns=window.start_mono_ns,
            end_mono_ns=window.end_mono_ns,
        ),
        "drive_id": "drive-1",
        "software_version": "0.1.0",
        "stream": "triggered",
        "causes": (
            Cause(
                trigger_id="brake",
                trigger_version=1,
                spec_digest="0" * 64,
                kind="hard_brake",
                fired_mono_ns=start_mono_ns,
                start_mono_ns=start_mono_ns,
                end_mono_ns=start_mono_ns,
                score=1.0,
                safety=True,
            ),
        ),
        "requested": window,
        "actual": window,
        "utc_minus_mono_ns": 1_700_000_000 * NS_PER_S,
        "clock": ClockQuality(synchronised=True),
        "summary": ClipSummary(weather="clear", max_decel_mps2=4.0),
    }
    return ClipManifest(**(values | changes))


def make_clip(manifest: ClipManifest, size_bytes: int = 0, seed: int = 0) -> bytes:
    """An MCAP file with the manifest, padded by an attachment to about `size_bytes`."""
    stream = io.BytesIO()
    writer = Writer(stream, compression=CompressionType.NONE)
    writer.start(profile="", library="test")
    writer.add_metadata(CLIP_METADATA_NAME, {"manifest": manifest.model_dump_json()})
    noise = random.Random(seed).randbytes(size_bytes)
    writer.add_attachment(0, 0, "noise", "application/octet-stream", noise)
    writer.finish()  # type: ignore[no-untyped-call]
    return stream.getvalue()


def clip_id_of_bytes(content: bytes) -> str:
    hasher = PartHasher()
    hasher.update(content)
    return hasher.clip_id()


def declaration(content: bytes, manifest: ClipManifest) -> dict[str, Any]:
    """The body of `POST /v1/uploads`."""
    hasher = PartHasher()
    hasher.update(content)
    return {
        "clip_id": hasher.clip_id(),
        "size_bytes": len(content),
        "part_digests": [digest.hex() for digest in hasher.part_digests()],
        "event": manifest.event.model_dump(),
        "window": manifest.actual.model_dump(),
    }


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@dataclass
class Vehicle:
    """A vehicle as far as the receiver sees it."""

    http: httpx.Client
    vehicle_id: str = "car-1"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    token: str = ""

    @property
    def public_key(self) -> str:
        return base64url(self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def enrol(self, token: str | None = None) -> httpx.Response:
        body = {"vehicle_id": self.vehicle_id, "public_key": self.public_key, "token": token}
        return self.http.post("/v1/vehicles", json=body)

    def authenticate(self) -> httpx.Response:
        asked = self.http.post("/v1/auth/challenge", json={"vehicle_id": self.vehicle_id}).json()
        signature = self.key.sign(AUTH_CONTEXT + asked["challenge"].encode())
        answer = self.http.post(
            "/v1/auth/token",
            json={
                "vehicle_id": self.vehicle_id,
                "challenge": asked["challenge"],
                "signature": base64url(signature),
            },
        )
        if answer.is_success:
            self.token = answer.json()["token"]
        return answer

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def declare(self, content: bytes, manifest: ClipManifest) -> httpx.Response:
        body = declaration(content, manifest)
        return self.http.post("/v1/uploads", json=body, headers=self.bearer)

    def create(self, length_bytes: int, **headers: str) -> httpx.Response:
        sent = TUS | self.bearer | {"Upload-Length": str(length_bytes)} | headers
        return self.http.post("/v1/tus", headers=sent)

    def patch(self, url: str, offset: int, content: Any, **headers: str) -> httpx.Response:
        sent = BODY | self.bearer | {"Upload-Offset": str(offset)} | headers
        return self.http.patch(url, content=content, headers=sent)

    def head(self, url: str) -> httpx.Response:
        return self.http.head(url, headers=TUS | self.bearer)

    def offset(self, url: str) -> int:
        return int(self.head(url).headers["Upload-Offset"])

    def status(self, clip_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/uploads/{clip_id}", headers=self.bearer)
        assert answer.status_code == 200, answer.text
        status: dict[str, Any] = answer.json()
        return status

    def upload(self, content: bytes, manifest: ClipManifest) -> str:
        """Declare and send a clip in one PATCH; returns its id."""
        answer = self.declare(content, manifest).json()
        if answer["answer"] == "upload":
            sent = self.patch(answer["upload_url"], answer["offset_bytes"], content)
            assert sent.status_code == 204, sent.text
        return str(answer["clip_id"])


@dataclass
class RunningServer:
    """A real uvicorn on loopback, in a thread of this process."""

    url: str
    app: FastAPI
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server

    def run(self, step: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the server's own loop."""
        future: concurrent.futures.Future[Result] = asyncio.run_coroutine_threadsafe(
            step, self.loop
        )
        return future.result(30)

    def wait_until_idle(self) -> None:
        """Return when every request that has begun has ended, those of cut connections too."""

        async def ended() -> None:
            if tasks := set(self.server.server_state.tasks):
                await asyncio.wait(tasks)

        self.run(ended())


@contextmanager
def running(app: FastAPI) -> Iterator[RunningServer]:
    """Serve `app` on a free port for the length of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as `serve` does
    config = uvicorn.Config(
        app,
        http=LargeBodiesProtocol,
        ws="none",
        lifespan="on",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started.set_result(asyncio.get_running_loop())
            else:
                started.set_exception(RuntimeError("the server did not start"))

    server = Announcing(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        loop = started.result(30)
        yield RunningServer(f"http://127.0.0.1:{listener.getsockname()[1]}", app, loop, server)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
