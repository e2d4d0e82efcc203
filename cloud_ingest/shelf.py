"""Puts bytes of one upload into the part store, part by part, and moves its offset.

Guarantees: a part with a declared digest is hashed in memory before any of its last bytes is
stored, so a bad part changes nothing; the offset moves after the store has acknowledged, and
only from where these bytes begin (`piece_book`).

Bytes that end within a part are kept as its *tail*, in the same store, so that any replica can
fill the part; then the part is stored whole, and the tail is dropped.

Offsets are the upload's own here and in its pieces; the store is told where bytes lie in the clip,
which for a span is `first_byte` further on.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress

from cloud_ingest.piece_book import PieceBook
from cloud_ingest.ports import Chunks, LostPiecesError, PartStore, Piece, Place
from cloud_ingest.upload_book import Upload
from contracts.errors import ConflictError, CorruptError, LongtailError
from contracts.ids import PART_BYTES, part_length


class Shelf:
    """Where the bytes of one upload go."""

    def __init__(self, parts: PartStore, book: PieceBook, upload: Upload) -> None:
        self._parts = parts
        self._book = book
        self._upload = upload
        self._place = upload.where

    async def put(
        self, at_bytes: int, chunks: Chunks, length: int, sha256: bytes | None = None
    ) -> None:
        """Keep bytes that stay within one part; `sha256` is theirs, where it is known already.

        Raises `CorruptError` when they complete a part that does not match its declared digest;
        bytes of it that an earlier request had left unverified are then forgotten too, since
        any of them may be the bad ones. Raises `ConflictError` when the upload has moved.
        """
        index, inside = divmod(at_bytes, PART_BYTES)
        place = await self._settled()
        try:
            if inside + length == part_length(self._upload.length_bytes, index):
                await self._put_part(place, at_bytes, chunks, None if inside else sha256)
            else:
                await self._put_tail(place, at_bytes, chunks, length)
        except LostPiecesError as error:
            await self._book.unsettle(place)
            raise ConflictError(
                "the store has lost what had arrived; ask for the offset", "Upload-Offset"
            ) from error

    async def settle(self) -> str:
        """The name of the upload's place, begun if need be. Raises `ConflictError`."""
        return (await self._settled()).name

    async def _settled(self) -> Place:
        """The upload's place, begun by whoever needs it first."""
        if self._place is None:
            upload = self._upload
            clip_id = None if upload.digests is None else upload.clip_id
            begun = await asyncio.to_thread(self._parts.begin, upload.upload_id, clip_id)
            name = await self._book.settle(upload.upload_id, begun)
            self._place = Place(upload.upload_id, name)
            if name != begun:
                await asyncio.to_thread(self._parts.disown, Place(upload.upload_id, begun))
        return self._place

    async def _put_tail(self, place: Place, at_bytes: int, chunks: Chunks, length: int) -> None:
        at_clip = self._upload.first_byte + at_bytes
        token = await asyncio.to_thread(self._parts.put_tail, place, at_clip, chunks)
        piece = Piece(at_bytes, length, token)
        try:
            await self._book.append(self._upload.upload_id, place, at_bytes, piece)
        except ConflictError:
            await self._drop(place, [piece])
            raise

    async def _put_part(
        self, place: Place, at_bytes: int, chunks: Chunks, sha256: bytes | None
    ) -> None:
        index, inside = divmod(at_bytes, PART_BYTES)
        start = at_bytes - inside
        tail = await self._tail(start, at_bytes) if inside else []
        try:
            piece = await asyncio.to_thread(
                self._verify_and_put, place, index, tail, chunks, sha256
            )
        except CorruptError:
            if tail:
                await self._book.cut(self._upload.upload_id, at_bytes, start)
                await self._drop(place, tail)
            raise
        await self._book.append(self._upload.upload_id, place, at_bytes, piece)
        if tail:
            await self._drop(place, tail)

    async def _tail(self, start: int, end: int) -> list[Piece]:
        """What is stored of a part that is not full."""
        found = await self._book.pieces(self._upload.upload_id, start)
        at = start
        for piece in found:
            if piece.start_bytes == at:
                at = piece.end_bytes
        if at != end or found[-1].end_bytes != end:
            raise ConflictError("another request has moved this upload on", "Upload-Offset")
        return found

    def _verify_and_put(
        self,
        place: Place,
        index: int,
        tail: Sequence[Piece],
        chunks: Chunks,
        sha256: bytes | None,
    ) -> Piece:
        """Blocks."""
        tail = self._upload.in_clip(tail)
        whole = [*self._parts.read_tail(place, tail), *chunks] if tail else chunks
        if sha256 is None:
            digest = hashlib.sha256()
            for piece in whole:
                digest.update(piece)
            sha256 = digest.digest()
        declared = self._upload.digest_of(index)
        if declared is not None and sha256 != declared:
            raise CorruptError("the bytes do not match the declared digest", f"part {index}")
        start = index * PART_BYTES
        at_clip = self._upload.first_byte + start
        token = self._parts.put_part(place, at_clip, whole, sha256, tail)
        return Piece(start, part_length(self._upload.length_bytes, index), token, sha256)

    async def _drop(self, place: Place, pieces: Sequence[Piece]) -> None:
        """What cannot be dropped now goes with the upload."""
        with suppress(LongtailError):
            await asyncio.to_thread(self._parts.drop_tail, place, self._upload.in_clip(pieces))
