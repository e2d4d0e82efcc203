"""The transport over TLS: the body arrives intact through the reused buffer, and is counted."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import ssl
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from contracts.clock import SystemClock
from contracts.errors import TransientError
from edge_agent.upload.payload import FileRange, StoppedError
from edge_agent.upload.transport import Reply, Transport
from edge_agent.upload.wire import WireMeter
from tests.edge_agent.upload_rig import clip_bytes

SIZE = 9_000_000


def certificate(folder: Path) -> Path:
    """A self-signed certificate for loopback, with its key in the same file."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, None)
    )
    path = folder / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


def send(folder: Path, meter: WireMeter, trusted: bool = True) -> tuple[Reply, str]:
    pem = certificate(folder)
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(pem)
    client_tls = ssl.create_default_context(cafile=str(pem) if trusted else None)
    clip = folder / "clip"
    clip.write_bytes(clip_bytes(3, SIZE))
    digests: list[str] = []

    async def take(request: web.Request) -> web.Response:
        digest = hashlib.sha256()
        async for chunk in request.content.iter_any():
            digest.update(chunk)
        digests.append(digest.hexdigest())
        return web.Response(status=204)

    async def go() -> Reply:
        application = web.Application()
        application.router.add_patch("/x", take)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        transport = Transport(url, SystemClock(), meter, tls=client_tls)
        try:
            body = FileRange(clip, 0, SIZE)
            return await transport.send_range("PATCH", "/x", body, {}, lambda: None, True)
        finally:
            await transport.close()
            await runner.cleanup()

    reply = asyncio.run(go())
    return reply, digests[0]


def test_the_body_arrives_intact(tmp_path: Path) -> None:
    meter = WireMeter()
    reply, digest = send(tmp_path, meter)
    assert (reply.status, digest) == (204, hashlib.sha256(clip_bytes(3, SIZE)).hexdigest())
    assert SIZE < meter.total_bytes() < SIZE * 1.08


def test_an_allowance_holds_over_tls_too(tmp_path: Path) -> None:
    meter = WireMeter()
    meter.allow(2_000_000)
    with pytest.raises(StoppedError, match="cellular_budget"):
        send(tmp_path, meter)
    assert meter.total_bytes() < 2_010_000


def test_a_server_that_is_not_trusted_gets_nothing(tmp_path: Path) -> None:
    meter = WireMeter()
    with pytest.raises(TransientError, match="certificate"):
        send(tmp_path, meter, trusted=False)
    assert meter.total_bytes() < 10_000
