"""The updater's way to the cloud: HTTP over the agent's own transport, and python-tuf's view of it.

Guarantees: every request carries the vehicle's token to the receiver's origin only; on a metered
link its bytes, those received included, are debited before and settled after; a link that turns
metered or away in the middle stops the transfer; one exchange at a time, so that a check-in waits
for one piece of a large file at most. Answers are read up to a bound that the caller gives.

python-tuf asks from a worker thread; its requests run on the event loop, so that TLS, metering
and virtual time are the same for all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from threading import Event
from typing import TypeVar

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
)
from tuf.ngclient.fetcher import FetcherInterface

from contracts.clock import Clock
from contracts.errors import CorruptError, LongtailError, RefusedError, TransientError
from edge_agent.ports import LinkMonitor
from edge_agent.upload.again import again
from edge_agent.upload.charge import Charger
from edge_agent.upload.payload import StoppedError
from edge_agent.upload.protocol import Authenticated, AuthRefused, Failed, Replied
from edge_agent.upload.receiver import Receiver
from edge_agent.upload.transport import Reply, Streamed, Transport

SMALL_BYTES = 4096
LARGEST_METADATA_BYTES = 5_000_000
MOST_DEBITED_BYTES = 512 * 1024
"""What metadata may take at once on a metered link; more is broken off."""

Result = TypeVar("Result")


class StatusError(LongtailError):
    """An HTTP answer that is no success. Inside of the updater only."""

    def __init__(self, status: int, place: str) -> None:
        super().__init__(f"HTTP {status}", place)
        self.status = status


@dataclass(slots=True)
class OtaHttp:
    """Requests of one vehicle's updater. Event loop only.

    `transport` and its meter are the updater's own: an uploader that works at the same time has
    others, and both draw on the same ledger.
    """

    transport: Transport
    receiver: Receiver
    charger: Charger
    links: LinkMonitor
    clock: Clock
    rng: random.Random
    _lock: asyncio.Lock
    _renew: bool = False

    @asynccontextmanager
    async def open(
        self, path: str, expected_bytes: int, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Streamed]:
        """A GET of about `expected_bytes`.

        Raises:
            StoppedError: there is no link, it turned metered, or the caps leave too little.
            TransientError: no whole answer, or 401, 429, 5xx.
            RefusedError: the vehicle is not let in.
        """
        async with self._lock:
            await self._authenticate()
            with self.charger.exchange(expected_bytes):
                sent = {**self.receiver.bearer(), **(headers or {})}
                async with self.transport.stream(path, sent) as answer:
                    self._check(answer.status, answer.headers, path)
                    yield replace(answer, chunks=self._gated(answer.chunks))

    async def post(self, path: str, body: str) -> Reply:
        """A POST of a JSON body; raises as `open` does, and tells other answers as they are."""
        async with self._lock:
            await self._authenticate()
            with self.charger.exchange(len(body) + SMALL_BYTES):
                reply = await self.transport.call("POST", path, body, self.receiver.bearer())
        self._check(reply.status, reply.headers, path)
        return reply

    async def read(self, path: str, most_bytes: int) -> bytes:
        """A small file, tried a few times.

        Raises `CorruptError` when it is longer than `most_bytes`, `StatusError` for an answer that
        is no success, else as `open`.
        """
        expected_bytes = min(most_bytes, MOST_DEBITED_BYTES)

        async def attempt() -> bytes:
            content = bytearray()
            async with self.open(path, expected_bytes) as answer:
                if answer.status != 200:
                    raise StatusError(answer.status, path)
                async for chunk in answer.chunks:
                    content += chunk
                    if len(content) > most_bytes:
                        raise CorruptError(f"longer than {most_bytes} bytes", path)
            return bytes(content)

        return await self.repeat(attempt)

    async def repeat(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Call again on `TransientError`, with growing, jittered pauses."""
        return await again(call, self.clock, self.rng)

    async def _authenticate(self) -> None:
        if self.links.link().kind == "none":
            raise StoppedError("no_link")
        if self.receiver.has_fresh_token() and not self._renew:
            return
        with self.charger.exchange(SMALL_BYTES):
            event = await self.receiver.authenticate(self._renew)
        match event:
            case Authenticated():
                self._renew = False
            case AuthRefused(reason):
                raise RefusedError(reason)
            case Replied(status=status, retry_after_s=after_s):
                raise TransientError(f"authentication: HTTP {status}", retry_after_s=after_s)
            case Failed(reason):
                raise TransientError(reason)
            case _:
                raise TypeError(f"no answer to an authentication: {event}")

    def _check(self, status: int, headers: Mapping[str, str], path: str) -> None:
        if status == 401:
            self._renew = True
            raise TransientError("HTTP 401: the token is not taken any more", path)
        if status == 429 or status >= 500:
            text = headers.get("retry-after", "")
            after_s = float(text) if text.isascii() and text.isdigit() else None
            raise TransientError(f"HTTP {status}", path, retry_after_s=after_s)

    async def _gated(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            reason = self.charger.reason_to_stop()
            if reason is not None:
                raise StoppedError(reason)
            yield chunk
            # A socket refuses to send over its allowance, but cannot refuse to receive.
            meter = self.transport.meter
            allowance_bytes = meter.allowance_bytes
            if allowance_bytes is not None and meter.total_bytes() > allowance_bytes:
                raise StoppedError("cellular_budget")


class MetadataFetcher(FetcherInterface):
    """python-tuf's fetcher, for a worker thread; the requests run on `loop`.

    After `cancel` the request under way and every further one fail at once: the thread ends
    soon, and nothing opens the transport again once it is closed.
    """

    def __init__(self, http: OtaHttp, loop: asyncio.AbstractEventLoop) -> None:
        self._http = http
        self._loop = loop
        self._cancelled = Event()
        self._asked: Future[bytes] | None = None

    def cancel(self) -> None:
        self._cancelled.set()
        if self._asked is not None:
            self._asked.cancel()

    def _fetch(self, url: str) -> Iterator[bytes]:
        return iter((self.download_bytes(url, LARGEST_METADATA_BYTES),))

    def download_bytes(self, url: str, max_length: int) -> bytes:
        if self._cancelled.is_set():
            raise DownloadError("the agent is stopping")
        asked = asyncio.run_coroutine_threadsafe(self._http.read(url, max_length), self._loop)
        self._asked = asked
        if self._cancelled.is_set():
            asked.cancel()  # it came between the look above and this request
        try:
            return asked.result()
        except StatusError as error:
            raise DownloadHTTPError(str(error), error.status) from error
        except CorruptError as error:
            raise DownloadLengthMismatchError(str(error)) from error
        except LongtailError as error:
            raise DownloadError(str(error)) from error
        except CancelledError as error:
            raise DownloadError("the agent is stopping") from error
