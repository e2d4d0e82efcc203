"""Takes the body of one request, cut into parts on its way to the part store.

Guarantees: a part with a declared digest is hashed in memory before any of its last bytes is
stored, so a bad part changes nothing; of a body with a checksum nothing is stored before all
of it has been checked; the bytes that complete an upload are stored only when the body has
ended there, so a body that is too long completes nothing.

Costs: the pieces stay as the socket gave them (no copy, no join); while one part is hashed and
written in a thread, the next is received. At most two parts are in memory, or one checksummed
body.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from cloud_ingest.ports import Chunks, PartStore
from cloud_ingest.problems import TooLargeError
from cloud_ingest.tus.protocol import Body, Checksum
from cloud_ingest.upload_book import Upload
from contracts.errors import CorruptError, LongtailError
from contracts.ids import PART_BYTES, part_length
from contracts.upload import MAX_CHECKSUMMED_PATCH_BYTES


def store_pieces(
    parts: PartStore, upload: Upload, at_bytes: int, pieces: Chunks, length: int
) -> int | None:
    """Store pieces that stay within one part; verify it when they complete it. Blocks.

    Returns the part's index when all of it was verified and stored in this one step. Raises
    `CorruptError` when it does not match its declared digest; bytes of it that an earlier
    request had left unverified are then forgotten too, since any of them may be the bad ones.
    """
    index, inside = divmod(at_bytes, PART_BYTES)
    declared = upload.digest_of(index)
    completes = inside + length == part_length(upload.length_bytes, index)
    if declared is not None and completes:
        digest = hashlib.sha256()
        for view in parts.read(upload.upload_id, at_bytes - inside, inside):
            digest.update(view)
        for piece in pieces:
            digest.update(piece)
        if digest.digest() != declared:
            if inside:
                parts.truncate(upload.upload_id, at_bytes - inside)
            raise CorruptError("the bytes do not match the declared digest", f"part {index}")
    parts.append(upload.upload_id, at_bytes, pieces)
    return index if declared is not None and completes and inside == 0 else None


class BodyWriter:
    """Appends one body to one upload."""

    def __init__(
        self, parts: PartStore, upload: Upload, at_bytes: int, verified: Callable[[int], None]
    ) -> None:
        self._parts = parts
        self._upload = upload
        self._received = at_bytes
        self._stored = at_bytes
        self._pieces: list[bytes | memoryview] = []
        self._held = 0
        self._pending: asyncio.Task[int | None] | None = None
        self._verified = verified

    async def write(self, chunks: AsyncIterator[bytes], body: Body) -> int:
        """Take all of the body and return the new offset.

        When the body breaks off (the connection was cut, it stalled), what came of a body
        without a checksum is stored, and the error goes on.
        """
        if body.checksum is not None:
            for piece in await _checked(chunks, body.checksum):
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

    async def _take(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        if self._received + len(view) > self._upload.length_bytes:
            raise TooLargeError("the body is longer than the upload", "Upload-Length")
        self._received += len(view)
        while view:
            start = self._received - len(view)
            room = PART_BYTES - start % PART_BYTES
            self._pieces.append(view[:room])
            self._held += min(room, len(view))
            ends_part = room <= len(view)
            view = view[room:]
            if ends_part and (start + room) < self._upload.length_bytes:
                await self._flush()

    async def _flush(self) -> None:
        """Hand the held pieces to a thread, after the ones before."""
        await self._settle()
        if self._held:
            pieces, length, at_bytes = self._pieces, self._held, self._stored
            self._pieces, self._held = [], 0
            self._stored += length
            self._pending = asyncio.create_task(
                asyncio.to_thread(store_pieces, self._parts, self._upload, at_bytes, pieces, length)
            )

    async def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            index = await pending
            if index is not None:
                self._verified(index)

    async def _settle_quietly(self) -> None:
        with suppress(LongtailError):
            await self._settle()

    async def _flush_broken(self) -> None:
        """Keep what came before the break; an error of the store is the lesser news."""
        with suppress(LongtailError):
            await self._flush()
            await self._settle()


async def _checked(chunks: AsyncIterator[bytes], checksum: Checksum) -> list[bytes]:
    """All of a bounded body, once it matches its checksum."""
    pieces: list[bytes] = []
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
