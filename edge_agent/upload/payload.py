"""A request body that is a range of a file, streamed in pieces.

Guarantees: a part is never whole in memory; before each piece the gate may stop it; the rate
is shaped on the injected clock. On a free link without TLS the kernel copies the pieces
(`sendfile`); otherwise they go through one reused buffer, so that TLS sees them and a metered
socket can refuse them byte by byte. The file is not mapped: one that is cut short meanwhile
is an error, not a signal; one that cannot be read is told apart from a broken connection.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import aiohttp
from aiohttp.http import StreamWriter

from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError
from edge_agent.upload.wire import WireMeter

CHUNK_BYTES = 512 * 1024
KERNEL_CHUNK_BYTES = 4 * 1024 * 1024

LEAST_ADVISED = 16_000
"""Bytes a second that no advice goes below: a connection that stands still is cut."""

Gate = Callable[[], str | None]
"""Asked before each buffer: a reason to stop at once, or None to go on."""


class StoppedError(LongtailError):
    """The gate stopped the transfer; nobody is at fault."""


class UnreadableError(LongtailError):
    """A file cannot be read: it alone waits, since no other will fare as it does."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into `UnreadableError`; a missing file stays one."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UnreadableError:
    return UnreadableError(f"cannot be read: {error.strerror}", str(path))


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of a file that are a request's body."""

    path: Path
    offset_bytes: int
    length_bytes: int


class RangePayload(aiohttp.Payload):
    """Writes a file's range. The gate is asked before each piece, `pace` is told it after.

    The transport's buffer must drain to empty between pieces, or the reused one would change
    under it.
    """

    def __init__(
        self,
        body: FileRange,
        gate: Gate,
        pace: Callable[[int], float],
        clock: Clock,
        buffer: memoryview,
        meter: WireMeter,
        senders: Executor,
    ) -> None:
        super().__init__(body, content_type="application/offset+octet-stream")
        self._range = body
        self._size = body.length_bytes
        self._gate = gate
        self._pace = pace
        self._clock = clock
        self._buffer = buffer
        self._meter = meter
        self._senders = senders
        shaped = len(buffer) < CHUNK_BYTES
        self._kernel_bytes = len(buffer) if shaped else KERNEL_CHUNK_BYTES
        self.sent_bytes: int | None = None
        """None until the body is begun."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a clip's part is not text")

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: aiohttp.abc.AbstractStreamWriter, content_length: int | None
    ) -> None:
        if not isinstance(writer, StreamWriter) or writer.transport is None:
            raise aiohttp.ClientConnectionResetError("the connection is gone")
        transport = writer.transport
        over_tls = transport.get_extra_info("sslcontext") is not None
        # Draining must mean empty. asyncio's TLS pauses at `size >= high`, so that a bound of
        # 0 would pause it for ever; its plain transport pauses at `size > high`.
        transport.set_write_buffer_limits(high=1 if over_tls else 0, low=0)
        # Sent apart, or aiohttp joins them with the first piece in a copy of it.
        writer.send_headers()
        by_kernel = not over_tls and self._meter.is_free
        self.sent_bytes = 0
        end = self._range.offset_bytes + self._range.length_bytes
        offset = self._range.offset_bytes
        with readable(self._range.path):
            opened = self._range.path.open("rb", buffering=0)
        with opened as file:
            file.seek(offset)
            while offset < end:
                reason = self._gate()
                if reason is not None:
                    raise StoppedError(reason)
                if by_kernel:
                    count = await self._by_kernel(transport, file, offset, end - offset)
                else:
                    count = await self._by_buffer(writer, file, end - offset)
                    self.sent_bytes += count
                offset += count
                delay_s = self._pace(count)
                if delay_s > 0:
                    await self._clock.sleep_ns(int(delay_s * NS_PER_S))

    async def _by_buffer(self, writer: StreamWriter, file: FileIO, left: int) -> int:
        with readable(self._range.path):
            count = file.readinto(self._buffer[: min(left, len(self._buffer))])
        if not count:
            raise OSError(f"{self._range.path} ends before its part does")
        await writer.write(self._buffer[:count], drain=False)
        await writer.drain()
        return count

    async def _by_kernel(
        self, transport: asyncio.Transport, file: FileIO, offset: int, left: int
    ) -> int:
        """Send a piece from a thread: waiting for room costs the event loop ten times as much."""
        wanted = min(left, self._kernel_bytes)
        if transport.is_closing():
            raise aiohttp.ClientConnectionResetError("the connection is gone")
        # A descriptor of its own: the transport may close its one while the thread still waits.
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
            sending = asyncio.get_running_loop().run_in_executor(
                self._senders, self._send_piece, own, file.fileno(), offset, wanted
            )
            try:
                count = await asyncio.shield(sending)
            except asyncio.CancelledError:
                with suppress(OSError):
                    own.shutdown(socket.SHUT_RDWR)  # ends the thread's wait at once
                await asyncio.gather(sending, return_exceptions=True)
                raise
        if count != wanted:
            raise OSError(f"{self._range.path} ends before its part does")
        return count

    def _send_piece(self, own: socket.socket, file: int, offset: int, wanted: int) -> int:
        """`sendfile` until all is with the kernel; fewer bytes when the file ends. Blocks."""
        room = select.poll()
        room.register(own, select.POLLOUT)
        count = 0
        while count < wanted:
            try:
                sent = os.sendfile(own.fileno(), file, offset + count, wanted - count)
            except BlockingIOError:
                room.poll()
                continue
            except OSError as error:
                if error.errno != errno.EIO:
                    raise  # of the socket
                raise _unreadable(self._range.path, error) from error
            if not sent:
                break
            count += sent
            # Read by the watch over a transfer that stands still; only this thread writes it.
            self.sent_bytes = (self.sent_bytes or 0) + sent
        return count


class Pace:
    """A token bucket on an injected clock: how long to wait after having sent some bytes."""

    def __init__(self, bytes_per_s: int | None, clock: Clock) -> None:
        self._bytes_per_s = bytes_per_s
        self._advised: int | None = None
        self._clock = clock
        self._free_at_ns = clock.mono_ns()

    def advise(self, bytes_per_s: float | None) -> None:
        """The receiver's own bound beside the configured one; None, or no number, lifts it."""
        is_sound = bytes_per_s is not None and math.isfinite(bytes_per_s)
        self._advised = max(LEAST_ADVISED, int(bytes_per_s or 0)) if is_sound else None

    def __call__(self, sent_bytes: int) -> float:
        bounds = [bound for bound in (self._bytes_per_s, self._advised) if bound is not None]
        if not bounds:
            return 0.0
        now_ns = self._clock.mono_ns()
        begin_ns = max(self._free_at_ns, now_ns)
        self._free_at_ns = begin_ns + sent_bytes * NS_PER_S // min(bounds)
        return (self._free_at_ns - now_ns) / NS_PER_S


def buffer_bytes(bytes_per_s: int | None) -> int:
    """A quarter of a second's worth where the rate is shaped."""
    if bytes_per_s is None:
        return CHUNK_BYTES
    return min(CHUNK_BYTES, max(4096, bytes_per_s // 4))
