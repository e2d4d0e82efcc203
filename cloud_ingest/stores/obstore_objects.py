"""Whole clips in S3, GCS, Azure or memory, by URL, through obstore.

Guarantees: an object appears complete or not at all (a multipart upload is completed or
aborted by the library). A put under a content address is idempotent, so it may overwrite:
obstore's create-only put of a stream would hold all of it in memory.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from cloud_ingest.ports import Completion
from contracts.errors import TransientError
from contracts.ids import parse_sha256_hex


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
        if await self.size_bytes(clip_id) == source.stat().st_size:
            return "exists"
        try:
            await obstore.put_async(self._store, self._name(clip_id), source)
        except BaseError as error:
            raise _failed(error) from error
        return "done"

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
