"""Large bodies that are no clips, on their way in: written to a file first, hashed as they come.

Guarantees: neither disk nor digest holds up the event loop; about a megabyte of a body at most is
in memory; nothing else waits for the sender: no transaction and no lock is open meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import IO, Protocol

from cloud_ingest.problems import TooLargeError
from cloud_ingest.stores.files import disk_errors

BATCH_BYTES = 2**20
"""What has to have come before a thread takes it: less costs more in handing over."""


class Digest(Protocol):
    """What a body is hashed with."""

    def update(self, chunk: bytes, /) -> None: ...


async def write_body(
    file: IO[bytes], chunks: AsyncIterator[bytes], digest: Digest, most_bytes: int, what: str
) -> int:
    """Write a body to a file; its size.

    Raises `TooLargeError`, `ExhaustedError` when the disk is full, and what `chunks` raises.
    """

    def take(batch: list[bytes]) -> None:
        with disk_errors(what):
            for chunk in batch:
                digest.update(chunk)
                file.write(chunk)

    size, held, held_bytes = 0, list[bytes](), 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most_bytes:
            raise TooLargeError(f"{what} have at most {most_bytes} bytes")
        held.append(chunk)
        held_bytes += len(chunk)
        if held_bytes >= BATCH_BYTES:
            await asyncio.to_thread(take, held)
            held, held_bytes = [], 0
    await asyncio.to_thread(take, held)
    with disk_errors(what):
        await asyncio.to_thread(file.flush)
    return size
