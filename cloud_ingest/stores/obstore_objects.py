"""Whole clips in S3, GCS, Azure or memory, by URL, through obstore.

Guarantees: an object appears complete or not at all (a multipart upload is completed or
aborted by the library). One that is there already is read and verified, and replaced only when it
is damaged. A clip of up to 64 MiB is put on the condition that none is there. obstore puts with a
condition hold all of it in memory and send it in one request, so a larger one goes in parts and
may overwrite the same bytes, which another replica has put at the same moment.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import from_url

from cloud_ingest.ports import Completion
from contracts.errors import TransientError
from contracts.ids import PartHasher, parse_sha256_hex

MOST_AT_ONCE_BYTES = 64 * 2**20
"""The largest clip that is put in one request."""

_NOT_CREATED = (AlreadyExistsError, NotSupportedError, NotImplementedError)
_log = structlog.get_logger(__name__)


class ObstoreObjects:
    """Object store behind a URL that obstore knows; names are `<prefix>ab/<id><suffix>`."""

    def __init__(
        self,
        url: str,
        prefix: str = "raw/",
        suffix: str = ".mcap",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._store: Any = from_url(url, **(options or {}))
        self._prefix = prefix
        self._suffix = suffix

    async def size_bytes(self, clip_id: str) -> int | None:
        try:
            return int((await obstore.head_async(self._store, self._name(clip_id)))["size"])
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise _failed(error) from error

    async def publish(self, clip_id: str, source: Path) -> Completion:
        size = source.stat().st_size
        is_there = await self._verified(clip_id, size)
        if is_there is None and size <= MOST_AT_ONCE_BYTES:
            if await self._create(clip_id, source):
                return "done"
            is_there = await self._verified(clip_id, size)
        if is_there:
            return "exists"
        if is_there is False:
            _log.error("a stored object was damaged; replacing it", clip_id=clip_id)
        await self._put(clip_id, source, "overwrite")
        return "done"

    async def _create(self, clip_id: str, source: Path) -> bool:
        """Make the object where there is none; False where there is one, or no such condition."""
        try:
            await self._put(clip_id, source, "create")
        except _NOT_CREATED:
            return False
        return True

    async def _put(self, clip_id: str, source: Path, mode: Literal["create", "overwrite"]) -> None:
        try:
            await obstore.put_async(self._store, self._name(clip_id), source, mode=mode)
        except _NOT_CREATED:
            raise
        except BaseError as error:
            raise _failed(error) from error

    async def _verified(self, clip_id: str, size_bytes: int) -> bool | None:
        """Whether the object is the clip, read to its end; None when there is no object."""
        found = await self.size_bytes(clip_id)
        if found is None:
            return None
        return found == size_bytes and await asyncio.to_thread(self._digest, clip_id) == clip_id

    def _digest(self, clip_id: str) -> str | None:
        """The id that the object's bytes have; None when it has gone meanwhile. Blocks."""
        hasher = PartHasher()
        try:
            for piece in obstore.get(self._store, self._name(clip_id)).stream():
                hasher.update(memoryview(piece))
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise _failed(error) from error
        return hasher.clip_id()

    async def read(self, clip_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        if length == 0:
            return
        try:
            answer = await obstore.get_async(
                self._store, self._name(clip_id), options={"range": (start, start + length)}
            )
            async for piece in answer.stream():
                yield bytes(piece)
        except BaseError as error:
            raise _failed(error) from error

    async def remove(self, clip_id: str) -> None:
        try:
            await obstore.delete_async(self._store, self._name(clip_id))
        except FileNotFoundError:
            return
        except BaseError as error:
            raise _failed(error) from error

    def _name(self, clip_id: str) -> str:
        parse_sha256_hex(clip_id, "clip_id")
        return f"{self._prefix}{clip_id[:2]}/{clip_id}{self._suffix}"

    def open(self, clip_id: str) -> IO[bytes]:
        try:
            reader: Any = obstore.open_reader(self._store, self._name(clip_id))
        except BaseError as error:
            raise _failed(error) from error
        return io.BufferedReader(_Stream(reader), buffer_size=1024 * 1024)


class _Stream(io.RawIOBase):
    """obstore's reader as a stream of Python's own kind."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._reader.seek(offset, whence))

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        piece = memoryview(self._reader.read(len(view)))
        view[: len(piece)] = piece
        return len(piece)


def _failed(error: Exception) -> TransientError:
    return TransientError(f"the object store failed: {type(error).__name__}", "objects")
