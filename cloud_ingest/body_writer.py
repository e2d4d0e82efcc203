"""Takes the body of one request, cut into parts on its way to the part store.

Guarantees: of a body with a checksum nothing is stored before all of it has been checked; the
bytes that complete an upload are stored only when the body has ended there, so a body that is
too long completes nothing.

Costs: the pieces stay as the socket gave them (no copy, no join); what has come of a part is hashed
in a thread while more comes; while one part is written, the next is received. At most two parts
are in memory, with what the socket is ahead, or one checksummed body.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

from cloud_ingest.ports import Chunks
from cloud_ingest.problems import TooLargeError
from cloud_ingest.slabs import AHEAD_BYTES
from cloud_ingest.tus.protocol import Body, Checksum
from contracts.errors import CorruptError, LongtailError
from contracts.ids import PART_BYTES
from contracts.upload import MAX_CHECKSUMMED_PATCH_BYTES

HASHED_BYTES = 2 * 1024 * 1024
"""What has to have come before a thread hashes it: less costs more in handing over."""
Put = Callable[[int, Chunks, int, bytes | None], Coroutine[Any, Any, None]]
"""From (offset, pieces, their length, their SHA-256 if known): keep bytes within one part."""


def most_held_bytes(body: Body) -> int:
    """How much of a body may be in memory at once."""
    most = MAX_CHECKSUMMED_PATCH_BYTES if body.checksum is not None else 2 * PART_BYTES
    most += AHEAD_BYTES
    return most if body.length_bytes is None else min(most, body.length_bytes)


class PartDigest:
    """The SHA-256 of one part, hashed in threads while the part comes. One event loop's."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._running: asyncio.Future[None] | None = None

    def add(self, piece: bytes | memoryview) -> None:
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        is_free = self._running is None or self._running.done()
        if is_free and self._waiting_bytes >= HASHED_BYTES:
            self._hash()

    async def value(self) -> bytes:
        """Of all that was added."""
        if self._running is not None:
            await self._running
        if self._waiting:
            await self._hash()
        return self._digest.digest()

    def _hash(self) -> asyncio.Future[None]:
        pieces, self._waiting, self._waiting_bytes = self._waiting, [], 0

        def update() -> None:
            for piece in pieces:
                self._digest.update(piece)

        self._running = asyncio.get_running_loop().run_in_executor(None, update)
        return self._running


class BodyWriter:
    """Appends one body to one upload.

    Args:
        put: keeps bytes that stay within one part, at an offset.
        length_bytes, at_bytes: of the upload, and where it is.
    """

    def __init__(self, put: Put, length_bytes: int, at_bytes: int) -> None:
        self._put = put
        self._length = length_bytes
        self._received = at_bytes
        self._stored = at_bytes
        self._pieces: list[bytes | memoryview] = []
        self._held = 0
        self._pending: asyncio.Task[None] | None = None
        self._sha256: bytes | None = None
        self._ends_bytes: int | None = None
        self._digest: PartDigest | None = None

    async def write(self, chunks: AsyncIterator[bytes | memoryview], body: Body) -> int:
        """Take all of the body and return the new offset.

        When the body breaks off (the connection was cut, it stalled), what came of a body
        without a checksum is stored, and the error goes on.
        """
        if body.checksum is not None:
            pieces = await _checked(chunks, body.checksum)
            if body.checksum.algorithm == "sha256" and self._is_one_part(pieces):
                self._sha256 = body.checksum.digest
            for piece in pieces:
                await self._take(piece)
        else:
            if body.length_bytes is not None:
                self._ends_bytes = self._stored + body.length_bytes
            try:
                async for chunk in chunks:
                    await self._take(chunk)
            except LongtailError:
                await self._settle_quietly()
                raise
            except BaseException:
                await self._flush_broken()
                raise
        await self._flush()
        await self._settle()
        return self._stored

    def _is_one_part(self, pieces: Chunks) -> bool:
        """Whether these are all bytes of one part, so that their checksum is the part's."""
        length = sum(map(len, pieces))
        return self._stored % PART_BYTES == 0 and length == min(
            PART_BYTES, self._length - self._stored
        )

    async def _take(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        if self._received + len(view) > self._length:
            raise TooLargeError("the body is longer than the upload", "Upload-Length")
        self._received += len(view)
        while view:
            start = self._received - len(view)
            room = PART_BYTES - start % PART_BYTES
            if room == PART_BYTES:
                self._digest = PartDigest() if self._brings_part(start) else None
            self._pieces.append(view[:room])
            if self._digest is not None:
                self._digest.add(view[:room])
            self._held += min(room, len(view))
            ends_part = room <= len(view)
            view = view[room:]
            if ends_part and (start + room) < self._length:
                await self._flush()

    def _brings_part(self, start: int) -> bool:
        """Whether this body says that it has all of the part that begins here."""
        ends = self._ends_bytes
        return ends is not None and ends >= min(start + PART_BYTES, self._length)

    async def _flush(self) -> None:
        """Hand the held pieces to a thread, after the ones before."""
        await self._settle()
        if self._held:
            pieces, length, at_bytes = self._pieces, self._held, self._stored
            self._pieces, self._held = [], 0
            self._stored += length
            digest, self._digest = self._digest, None
            put = self._put_hashed(at_bytes, pieces, length, digest)
            self._pending = asyncio.create_task(put)

    async def _put_hashed(
        self, at_bytes: int, pieces: Chunks, length: int, digest: PartDigest | None
    ) -> None:
        sha256 = self._sha256 if digest is None else await digest.value()
        await self._put(at_bytes, pieces, length, sha256)

    async def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            await pending

    async def _settle_quietly(self) -> None:
        with suppress(LongtailError):
            await self._settle()

    async def _flush_broken(self) -> None:
        """Keep what came before the break; an error of the store is the lesser news."""
        with suppress(LongtailError):
            await self._flush()
            await self._settle()


async def _checked(
    chunks: AsyncIterator[bytes | memoryview], checksum: Checksum
) -> list[bytes | memoryview]:
    """All of a bounded body, once it matches its checksum."""
    pieces: list[bytes | memoryview] = []
    held = 0
    async for chunk in chunks:
        held += len(chunk)
        if held > MAX_CHECKSUMMED_PATCH_BYTES:
            raise TooLargeError(
                f"with a checksum a body has at most {MAX_CHECKSUMMED_PATCH_BYTES} bytes",
                "Upload-Checksum",
            )
        pieces.append(chunk)

    def matches() -> bool:
        digest = checksum.new()
        for piece in pieces:
            digest.update(piece)
        return digest.digest() == checksum.digest

    if not await asyncio.to_thread(matches):
        raise CorruptError("the body does not match its checksum", "Upload-Checksum")
    return pieces
