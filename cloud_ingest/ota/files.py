"""Published files in the database, in pieces of 1 MiB, by their digest.

Guarantees: a file is there whole and verified, or not at all; putting it again changes
nothing. A body comes to a disk first: no transaction waits for its sender. Reading holds one piece
in memory. Files are never removed: what signed metadata names
must stay.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import among, for_single_reads, to_time
from cloud_ingest.fleet_schema import ota_files, ota_pieces
from cloud_ingest.incoming import write_body
from cloud_ingest.stores.files import disk_errors
from contracts.clock import Clock
from contracts.errors import CorruptError, TransientError
from contracts.fleet import StoredFile

PIECE_BYTES = 2**20


class FileStore:
    """Puts and reads files.

    Args:
        folder: for bytes on their way in; nothing of them has a name there.
    """

    def __init__(self, engine: AsyncEngine, folder: Path, clock: Clock) -> None:
        self._engine = engine
        self._folder = folder
        self._reads = for_single_reads(engine)
        self._clock = clock

    async def put(self, sha256: str, chunks: AsyncIterator[bytes], most_bytes: int) -> StoredFile:
        """Take a body. Raises `CorruptError` for another digest, `TooLargeError`.

        Two that put the same file at once take turns in writing it: the second finds it there.
        """
        file = await asyncio.to_thread(self._open)
        try:
            digest = hashlib.sha256()
            size = await write_body(file, chunks, digest, most_bytes, "files of releases")
            if digest.hexdigest() != sha256:
                raise CorruptError("the bytes do not have the digest that they were put by", sha256)
            await self._store(sha256, size, file)
        finally:
            await asyncio.to_thread(file.close)
        return StoredFile(sha256=sha256, size_bytes=size)

    def _open(self) -> IO[bytes]:
        with disk_errors("files of releases"):
            self._folder.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=self._folder)

    async def _store(self, sha256: str, size_bytes: int, file: IO[bytes]) -> None:
        """Write a verified file's pieces, unless they are there."""
        now = to_time(self._clock.utc_ns())
        row = {"sha256": sha256, "size_bytes": size_bytes, "created_utc": now}
        claim = insert(ota_files).values(row).on_conflict_do_nothing()
        async with self._engine.begin() as connection:
            claimed = await connection.execute(claim.returning(ota_files.c.sha256))
            if claimed.scalar_one_or_none() is None:
                return
            number = 0
            await asyncio.to_thread(file.seek, 0)
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                values = {"sha256": sha256, "number": number, "content": piece}
                await connection.execute(sa.insert(ota_pieces).values(values))
                number += 1

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
        among(ota_files.c.sha256, digests)
    )
    return {row.sha256: row.size_bytes for row in await connection.execute(query)}


async def content(connection: AsyncConnection, sha256: str) -> bytes:
    """All of a small file that is there."""
    query = sa.select(ota_pieces.c.content).where(ota_pieces.c.sha256 == sha256)
    rows = await connection.execute(query.order_by(ota_pieces.c.number))
    return b"".join(bytes(piece) for piece in rows.scalars())
