"""Published files in the database, in pieces of 1 MiB, by their digest.

Guarantees: a file is there whole and verified, or not at all; putting it again changes
nothing. Reading holds one piece in memory. Files are never removed: what signed metadata names
must stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import for_single_reads, to_time
from cloud_ingest.fleet_schema import ota_files, ota_pieces
from cloud_ingest.problems import TooLargeError
from contracts.clock import Clock
from contracts.errors import CorruptError, TransientError
from contracts.fleet import StoredFile

PIECE_BYTES = 2**20


class FileStore:
    """Puts and reads files."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._reads = for_single_reads(engine)
        self._clock = clock

    async def put(self, sha256: str, chunks: AsyncIterator[bytes], most_bytes: int) -> StoredFile:
        """Take a body. Raises `CorruptError` for another digest, `TooLargeError`.

        Two that put the same file at once take turns: the second finds it there, and is only
        verified.
        """
        row = {"sha256": sha256, "size_bytes": 0, "created_utc": to_time(self._clock.utc_ns())}
        claim = insert(ota_files).values(row).on_conflict_do_nothing()
        async with self._engine.begin() as connection:
            claimed = await connection.execute(claim.returning(ota_files.c.sha256))
            is_new = claimed.scalar_one_or_none() is not None
            digest, size, number = hashlib.sha256(), 0, 0
            async for piece in _in_pieces(chunks):
                size += len(piece)
                if size > most_bytes:
                    raise TooLargeError(f"a file has at most {most_bytes} bytes", sha256)
                digest.update(piece)
                if is_new:
                    values = {"sha256": sha256, "number": number, "content": piece}
                    await connection.execute(sa.insert(ota_pieces).values(values))
                number += 1
            if digest.hexdigest() != sha256:
                raise CorruptError("the bytes do not have the digest that they were put by", sha256)
            if is_new:
                change = sa.update(ota_files).where(ota_files.c.sha256 == sha256)
                await connection.execute(change.values(size_bytes=size))
        return StoredFile(sha256=sha256, size_bytes=size)

    async def read(self, sha256: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Bytes of a file that is there, piece by piece."""
        while length:
            number, inside = divmod(start, PIECE_BYTES)
            query = sa.select(ota_pieces.c.content).where(
                ota_pieces.c.sha256 == sha256, ota_pieces.c.number == number
            )
            async with self._reads.connect() as connection:
                found = (await connection.execute(query)).scalar_one_or_none()
            if found is None:
                raise TransientError("a piece of the file is missing", sha256)
            piece = bytes(found)[inside : inside + length]
            yield piece
            start += len(piece)
            length -= len(piece)


async def sizes(connection: AsyncConnection, digests: Iterable[str]) -> dict[str, int]:
    """Sizes in bytes of those of the files that are there."""
    query = sa.select(ota_files.c.sha256, ota_files.c.size_bytes).where(
        ota_files.c.sha256.in_(list(digests))
    )
    return {row.sha256: row.size_bytes for row in await connection.execute(query)}


async def content(connection: AsyncConnection, sha256: str) -> bytes:
    """All of a small file that is there."""
    query = sa.select(ota_pieces.c.content).where(ota_pieces.c.sha256 == sha256)
    rows = await connection.execute(query.order_by(ota_pieces.c.number))
    return b"".join(bytes(piece) for piece in rows.scalars())


async def _in_pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while len(held) >= PIECE_BYTES:
            yield bytes(held[:PIECE_BYTES])
            del held[:PIECE_BYTES]
    if held:
        yield bytes(held)
