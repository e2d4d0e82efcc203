"""HTTP to the receiver: small JSON calls, and parts streamed from the clip's file.

Guarantees: a part is never whole in memory: it goes through one reused buffer; the transfer
stops between two buffers, or within `WATCH_NS` when the socket blocks, once the gate gives a
reason; a refusal that comes before the body is heard; answers are read up to a bound; no
redirect is followed and the token goes to the receiver's own origin only. Foreign errors
become `TransientError`; a stop by the gate is `StoppedError`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.http import StreamWriter
from yarl import URL

from contracts.clock import NS_PER_MS, NS_PER_S, Clock
from contracts.errors import LongtailError, RefusedError, TransientError
from edge_agent.upload.wire import WireMeter

CHUNK_BYTES = 512 * 1024
MAX_ANSWER_BYTES = 256 * 1024
WATCH_NS = 250 * NS_PER_MS

Gate = Callable[[], str | None]
"""Asked before each buffer: a reason to stop at once, or None to go on."""


class StoppedError(LongtailError):
    """The gate stopped the transfer; nobody is at fault."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def number(self, name: str) -> float | None:
        """A header as a number, None when it is absent or is not one."""
        try:
            return float(self.headers[name])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of a file that are a request's body."""

    path: Path
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """`bytes_per_s` shapes what is sent, None for as fast as the link goes."""

    bytes_per_s: int | None = None
    connect_s: float = 15.0
    answer_s: float = 60.0
    expect_s: float = 3.0


class RangePayload(aiohttp.Payload):
    """Writes a file's range through one reused buffer.

    The gate is asked before each buffer, `pace` is told the bytes after it. The transport's
    buffer must drain to empty between buffers, or the reused one would change under it.
    """

    def __init__(
        self,
        body: FileRange,
        gate: Gate,
        pace: Callable[[int], float],
        clock: Clock,
        buffer: memoryview,
    ) -> None:
        super().__init__(body, content_type="application/offset+octet-stream")
        self._range = body
        self._size = body.length_bytes
        self._gate = gate
        self._pace = pace
        self._clock = clock
        self._buffer = buffer
        self.sent_bytes: int | None = None
        """None until the body is begun."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a clip's part is not text")

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: aiohttp.abc.AbstractStreamWriter, content_length: int | None
    ) -> None:
        self.sent_bytes = 0
        left = self._range.length_bytes
        if not isinstance(writer, StreamWriter) or writer.transport is None:
            raise aiohttp.ClientConnectionResetError("the connection is gone")
        writer.transport.set_write_buffer_limits(0)
        # Sent apart, or aiohttp joins them with the first buffer in a copy of it.
        writer.send_headers()
        with self._range.path.open("rb", buffering=0) as file:
            file.seek(self._range.offset_bytes)
            while left:
                reason = self._gate()
                if reason is not None:
                    raise StoppedError(reason)
                count = file.readinto(self._buffer[: min(left, len(self._buffer))])
                if not count:
                    raise OSError(f"{self._range.path} ends before its part does")
                await writer.write(self._buffer[:count], drain=False)
                await writer.drain()
                left -= count
                self.sent_bytes += count
                delay_s = self._pace(count)
                if delay_s > 0:
                    await self._clock.sleep_ns(int(delay_s * NS_PER_S))


class Pace:
    """A token bucket on an injected clock: how long to wait after having sent some bytes."""

    def __init__(self, bytes_per_s: int | None, clock: Clock) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._free_at_ns = clock.mono_ns()

    def __call__(self, sent_bytes: int) -> float:
        if self._bytes_per_s is None:
            return 0.0
        now_ns = self._clock.mono_ns()
        begin_ns = max(self._free_at_ns, now_ns)
        self._free_at_ns = begin_ns + sent_bytes * NS_PER_S // self._bytes_per_s
        return (self._free_at_ns - now_ns) / NS_PER_S


class Transport:
    """Speaks HTTP with one receiver, one request at a time. Close it with `close`.

    Args:
        base_url: the cloud's base URL; uploads may live there or at `other_origins`.
        clock: for pacing and watching; network time-outs are the event loop's.
        meter: counts the wire bytes of all requests.
    """

    def __init__(
        self,
        base_url: str,
        clock: Clock,
        meter: WireMeter,
        limits: TransportLimits = TransportLimits(),
        tls: ssl.SSLContext | None = None,
        other_origins: tuple[str, ...] = (),
    ) -> None:
        self._base = URL(base_url.rstrip("/") + "/")
        self._origins = {self._base.origin(), *(URL(other).origin() for other in other_origins)}
        self._clock = clock
        self.meter = meter
        self._limits = limits
        self._tls = tls
        self._pace = Pace(limits.bytes_per_s, clock)
        self._buffer = memoryview(bytearray(_buffer_bytes(limits.bytes_per_s)))
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is not None:
            return self._session
        connector = aiohttp.TCPConnector(
            limit=1,
            socket_factory=self.meter.socket_of,
            ssl=True if self._tls is None else self._tls,
        )
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._limits.connect_s, sock_read=self._limits.answer_s
        )
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        )
        return self._session

    async def close(self) -> None:
        """Close all connections; a later call opens anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def resolve(self, location: str) -> str:
        """A location that the receiver gave, absolute. Raises `RefusedError` for a foreign one."""
        url = self._base.join(URL(location))
        if url.scheme not in ("http", "https") or url.origin() not in self._origins:
            raise RefusedError(f"{location[:200]!r} is not at the receiver's origin")
        return str(url)

    async def call(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A call with a small JSON body or none. Raises `TransientError` without an answer."""
        sent = {"Content-Type": "application/json", **(headers or {})} if body else headers
        payload = None if body is None else body.encode()
        async with (
            self._errors(),
            self._open().request(
                method, self.resolve(path), data=payload, headers=sent, allow_redirects=False
            ) as response,
        ):
            return await _read(response)

    async def send_range(
        self,
        method: str,
        url: str,
        body: FileRange,
        headers: Mapping[str, str],
        gate: Gate,
        expect_continue: bool = False,
    ) -> Reply:
        """A call whose body is a file's range.

        Raises:
            StoppedError: the gate gave a reason, or the meter's allowance is spent.
            TransientError: the connection failed or stalled, or the file ended early.
        """
        payload = RangePayload(body, gate, self._pace, self._clock, self._buffer)
        asked = asyncio.ensure_future(
            self._send(method, self.resolve(url), payload, headers, expect_continue)
        )
        watch = asyncio.ensure_future(self._watch(gate))
        try:
            await self._first_done(asked, watch, payload)
            if asked.done():
                return asked.result()
            raise StoppedError(watch.result())
        except StoppedError:
            self.meter.cut()
            raise
        finally:
            for task in (asked, watch):
                task.cancel()
            await asyncio.gather(asked, watch, return_exceptions=True)

    async def _first_done(
        self, asked: asyncio.Task[Reply], watch: asyncio.Task[str], payload: RangePayload
    ) -> None:
        """Return when either is done; raise when the body neither begins nor goes on."""
        while True:
            before = payload.sent_bytes
            limit_s = self._limits.expect_s if before is None else self._limits.answer_s
            limit_s += self._limits.connect_s if before is None else 0.0
            done, _ = await asyncio.wait(
                {asked, watch}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return
            if payload.sent_bytes == before:
                raise TransientError(f"the transfer stands still for {limit_s:g} s")

    async def _send(
        self,
        method: str,
        url: str,
        payload: RangePayload,
        headers: Mapping[str, str],
        expect_continue: bool,
    ) -> Reply:
        async with (
            self._errors(),
            self._open().request(
                method,
                url,
                data=payload,
                headers=headers,
                allow_redirects=False,
                expect100=expect_continue,
            ) as response,
        ):
            return await _read(response)

    async def _watch(self, gate: Gate) -> str:
        """Wait for a reason to stop, for when the socket blocks and no buffer is written."""
        while True:
            reason = gate()
            if reason is not None:
                return reason
            await self._clock.sleep_ns(WATCH_NS)

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, StoppedError) else None
            if cause is not None:
                raise cause from None
            if self.meter.is_spent:
                raise StoppedError("cellular_budget") from error
            raise TransientError(f"{type(error).__name__}: {error}") from error


def _buffer_bytes(bytes_per_s: int | None) -> int:
    """A quarter of a second's worth where the rate is shaped."""
    if bytes_per_s is None:
        return CHUNK_BYTES
    return min(CHUNK_BYTES, max(4096, bytes_per_s // 4))


async def _read(response: aiohttp.ClientResponse) -> Reply:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise TransientError(f"the answer is over {MAX_ANSWER_BYTES} bytes")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status, headers, bytes(body))
