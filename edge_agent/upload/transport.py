"""HTTP to the receiver: small JSON calls, and parts streamed from the clip's file.

Guarantees: a part is never whole in memory: it goes through a reused buffer; the transfer
stops between two buffers, or within `WATCH_S` when the socket blocks, once the gate gives a
reason; a refusal that comes before the body is heard; answers are read up to a bound; no
redirect is followed and the token goes to the receiver's own origin only. Foreign errors
become `TransientError`; a stop by the gate is `StoppedError`, a file's fault `UnreadableError`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from contracts.clock import Clock
from contracts.errors import RefusedError, TransientError
from edge_agent.upload.payload import (
    FileRange,
    Gate,
    Pace,
    RangePayload,
    StoppedError,
    UnreadableError,
    buffer_bytes,
)
from edge_agent.upload.wire import WireMeter

MAX_ANSWER_BYTES = 256 * 1024
WATCH_S = 0.25
"""How often a blocked transfer looks at the gate; the event loop's time, as all time-outs."""


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
class Streamed:
    """An HTTP answer whose body is still to be read. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """`bytes_per_s` shapes what is sent, None for as fast as the link goes."""

    bytes_per_s: int | None = None
    connect_s: float = 15.0
    answer_s: float = 60.0
    expect_s: float = 3.0


class Transport:
    """Speaks HTTP with one receiver, over a few connections. Close it with `close`.

    Args:
        base_url: the cloud's base URL; uploads may live there or at `other_origins`.
        clock: for pacing and watching; network time-outs are the event loop's.
        meter: counts the wire bytes of all requests.
        connections: how many requests there may be at once; the others wait for their turn.
    """

    def __init__(
        self,
        base_url: str,
        clock: Clock,
        meter: WireMeter,
        limits: TransportLimits = TransportLimits(),
        tls: ssl.SSLContext | None = None,
        other_origins: tuple[str, ...] = (),
        connections: int = 1,
    ) -> None:
        self._base = URL(base_url.rstrip("/") + "/")
        self._origins = {self._base.origin(), *(URL(other).origin() for other in other_origins)}
        self._clock = clock
        self.meter = meter
        self._limits = limits
        self._tls = tls
        self._pace = Pace(limits.bytes_per_s, clock)
        self._connections = connections
        self._buffers: list[memoryview] = []  # those that no request has
        # Of its own: what waits for a slow link must not keep the process's other threads.
        self._senders = ThreadPoolExecutor(connections, thread_name_prefix="send")
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is not None:
            return self._session
        connector = aiohttp.TCPConnector(
            limit=self._connections,
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

    def advise(self, bytes_per_s: float | None) -> None:
        """Send no faster than the receiver wants from now on; None: as the limits say."""
        self._pace.advise(bytes_per_s)

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

    @asynccontextmanager
    async def stream(
        self, path: str, headers: Mapping[str, str], within_s: float | None = None
    ) -> AsyncIterator[Streamed]:
        """A GET whose body is read as it comes; how much of it is the reader's to bound.

        Raises `TransientError` when the connection fails, or when answer and body together take
        longer than `within_s` (None: twice the longest silence), however steadily they trickle.
        """
        longest_s = 2 * self._limits.answer_s if within_s is None else within_s
        plain = {"Accept-Encoding": "identity", **headers}
        async with (
            self._errors(),
            asyncio.timeout(longest_s),
            self._open().request(
                "GET", self.resolve(path), headers=plain, allow_redirects=False
            ) as response,
        ):
            found = {name.lower(): value for name, value in response.headers.items()}
            yield Streamed(response.status, found, response.content.iter_any())

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
            UnreadableError: the file cannot be read.
            TransientError: the connection failed or stalled, or the file ended early.
        """
        buffer = self._take_buffer()
        payload = RangePayload(
            body, gate, self._pace, self._clock, buffer, self.meter, self._senders
        )
        asked = asyncio.ensure_future(
            self._send(method, self.resolve(url), payload, headers, expect_continue)
        )
        try:
            await self._watch(asked, payload, gate)
            return asked.result()
        except StoppedError:
            self.meter.cut()
            raise
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            self._buffers.append(buffer)

    def _take_buffer(self) -> memoryview:
        if self._buffers:
            return self._buffers.pop()
        return memoryview(bytearray(buffer_bytes(self._limits.bytes_per_s)))

    async def _watch(self, asked: asyncio.Task[Reply], payload: RangePayload, gate: Gate) -> None:
        """Return when the request is done; raise when it must stop or stands still."""
        idle_s, before = 0.0, payload.sent_bytes
        while not (await asyncio.wait({asked}, timeout=WATCH_S))[0]:
            reason = gate()
            if reason is not None:
                raise StoppedError(reason)
            idle_s = idle_s + WATCH_S if payload.sent_bytes == before else 0.0
            before = payload.sent_bytes
            begin_s = self._limits.connect_s + self._limits.expect_s
            limit_s = begin_s if before is None else self._limits.answer_s
            if idle_s > limit_s:
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

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error.__cause__, StoppedError | UnreadableError):
                raise error.__cause__ from None
            if self.meter.is_spent:
                raise StoppedError("cellular_budget") from error
            raise TransientError(f"{type(error).__name__}: {error}") from error


async def _read(response: aiohttp.ClientResponse) -> Reply:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise TransientError(f"the answer is over {MAX_ANSWER_BYTES} bytes")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status, headers, bytes(body))
