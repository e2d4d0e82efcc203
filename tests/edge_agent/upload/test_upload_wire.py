"""The transport against servers that are slow, silent or rude, and what the meter counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from contracts.clock import SystemClock
from contracts.errors import RefusedError, TransientError
from edge_agent.upload.payload import FileRange, StoppedError
from edge_agent.upload.transport import Reply, Transport, TransportLimits
from edge_agent.upload.wire import WireMeter, with_headers
from tests.edge_agent.upload_rig import clip_bytes

SIZE = 3_000_000
QUICK = TransportLimits(connect_s=0.2, answer_s=0.6, expect_s=0.2)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)  # type: ignore[arg-type]
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
                await writer.drain()
        finally:
            writer.close()
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def send(
    tmp_path: Path,
    handler: Handler,
    expect_continue: bool = False,
    gate: Callable[[], str | None] = lambda: None,
    meter: WireMeter | None = None,
) -> Reply:
    path = tmp_path / "clip"
    path.write_bytes(clip_bytes(1, SIZE))

    async def go() -> Reply:
        async with serving(handler) as base_url:
            transport = Transport(base_url, SystemClock(), meter or WireMeter(), QUICK)
            try:
                body = FileRange(path, 0, SIZE)
                return await transport.send_range("PATCH", "/x", body, {}, gate, expect_continue)
            finally:
                await transport.close()
                await asyncio.sleep(0)

    return asyncio.run(go())


def test_a_refusal_instead_of_100_costs_no_body(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"100-continue" in await head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()

    meter = WireMeter()
    assert send(tmp_path, handler, True, meter=meter).status == 413
    assert meter.total_bytes() < 3000


def test_the_body_goes_after_100(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        bodies.append(await reader.readexactly(SIZE))
        writer.write(b"HTTP/1.1 204 No Content\r\nUpload-Offset: 7\r\n\r\n")
        await writer.drain()

    assert send(tmp_path, handler, True).number("upload-offset") == 7
    assert bodies == [clip_bytes(1, SIZE)]


def test_a_server_that_never_says_100_is_given_up(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        await reader.read()

    with pytest.raises(TransientError, match="stands still"):
        send(tmp_path, handler, True)


def test_a_server_that_stops_reading_is_given_up(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        await asyncio.Event().wait()

    with pytest.raises(TransientError):
        send(tmp_path, handler)


def test_the_gate_stops_a_blocked_transfer(tmp_path: Path) -> None:
    reasons: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        reasons.append("link_metered")
        await asyncio.Event().wait()

    with pytest.raises(StoppedError, match="link_metered"):
        send(tmp_path, handler, gate=lambda: reasons[0] if reasons else None)


def test_a_stop_drops_what_the_kernel_still_holds(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(clip_bytes(1, SIZE))

    async def go() -> None:
        stopped, ended = asyncio.Event(), asyncio.Event()
        ends: list[BaseException | None] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await head(reader)
            await stopped.wait()
            try:
                while await reader.read(65536):
                    pass
                ends.append(None)
            except ConnectionError as error:
                ends.append(error)
            ended.set()

        async with serving(handler) as base_url:
            transport = Transport(base_url, SystemClock(), WireMeter(), QUICK)
            reasons = iter([None])
            with pytest.raises(StoppedError):
                await transport.send_range(
                    "PATCH", "/x", FileRange(path, 0, SIZE), {}, lambda: next(reasons, "no_link")
                )
            await asyncio.sleep(0)
            stopped.set()
            await ended.wait()
            await transport.close()
        assert isinstance(ends[0], ConnectionResetError)

    asyncio.run(go())


def test_an_endless_answer_is_cut(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        await reader.readexactly(SIZE)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    with pytest.raises(TransientError, match="answer is over"):
        send(tmp_path, handler)


def test_a_file_that_ends_early_is_no_success(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        await reader.read()

    def gate() -> str | None:
        (tmp_path / "clip").write_bytes(b"short")
        return None

    with pytest.raises(TransientError):
        send(tmp_path, handler, gate=gate)


def test_the_meter_counts_what_the_peer_counts(tmp_path: Path) -> None:
    received: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await head(reader)
        await reader.readexactly(SIZE)
        received.append(len(request) + SIZE)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    meter = WireMeter()
    assert send(tmp_path, handler, meter=meter).status == 204
    assert received[0] + 27 <= meter.total_bytes() <= with_headers(received[0]) * 1.02


def test_a_spent_allowance_stops_the_socket(tmp_path: Path) -> None:
    received: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        try:
            while chunk := await reader.read(65536):
                count += len(chunk)
        finally:
            received.append(count)

    meter = WireMeter()
    meter.allow(1_200_000)
    with pytest.raises(StoppedError, match="cellular_budget"):
        send(tmp_path, handler, meter=meter)
    assert 0 < received[0] <= 1_200_000
    assert meter.total_bytes() <= 1_200_000


@pytest.mark.parametrize(
    "location",
    ["http://192.0.2.1/v1/tus/x", "//evil.example/x", "file:///etc/passwd", "https://127.0.0.1/x"],
)
def test_foreign_locations_are_refused(location: str) -> None:
    transport = Transport("http://127.0.0.1:8000", SystemClock(), WireMeter())
    with pytest.raises(RefusedError, match="origin"):
        transport.resolve(location)


def test_locations_are_resolved_against_the_base() -> None:
    origin = "https://uploads.example"
    base = "http://127.0.0.1:8000/cloud"
    transport = Transport(base, SystemClock(), WireMeter(), other_origins=(origin,))
    assert transport.resolve("/v1/tus/x") == "http://127.0.0.1:8000/v1/tus/x"
    assert transport.resolve("https://uploads.example/t/1") == "https://uploads.example/t/1"


def test_no_server_is_a_transient_error(tmp_path: Path) -> None:
    async def go() -> None:
        transport = Transport("http://127.0.0.1:9", SystemClock(), WireMeter(), QUICK)
        try:
            with pytest.raises(TransientError):
                await transport.call("GET", "/")
        finally:
            await transport.close()

    asyncio.run(go())
