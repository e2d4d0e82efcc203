"""Takes the body of one request, cut into parts on its way to the part store.

Guarantees: of a body with a checksum nothing is stored before all of it has been checked; the
bytes that complete an upload are stored only when the body has ended there, so a body that is
too long completes nothing.

Costs: the pieces stay as the socket gave them (no copy, no join); while one part is hashed and
written in a thread, the next is received. At most two parts are in memory, or one checksummed
body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

from cloud_ingest.ports import Chunks
from cloud_ingest.problems import TooLargeError
from cloud_ingest.tus.protocol import Body, Checksum
from contracts.errors import CorruptError, LongtailError
from contracts.ids import PART_BYTES
from contracts.upload import MAX_CHECKSUMMED_PATCH_BYTES

Put = Callable[[int, Chunks, int, bytes | None], Coroutine[Any, Any, None]]
"""From (offset, pieces, their length, their SHA-256 if known): keep bytes within one part."""


def most_held_bytes(body: Body) -> int:
    """How much of a body may be in memory at once."""
    most = MAX_CHECKSUMMED_PATCH_BYTES if body.checksum is not None else 2 * PART_BYTES
    return most if body.length_bytes is None else min(most, body.length_bytes)


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
            self._pieces.append(view[:room])
            self._held += min(room, len(view))
            ends_part = room <= len(view)
            view = view[room:]
            if ends_part and (start + room) < self._length:
                await self._flush()

    async def _flush(self) -> None:
        """Hand the held pieces to a thread, after the ones before."""
        await self._settle()
        if self._held:
            pieces, length, at_bytes = self._pieces, self._held, self._stored
            self._pieces, self._held = [], 0
            self._stored += length
            put = self._put(at_bytes, pieces, length, self._sha256)
            self._pending = asyncio.create_task(put)

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
