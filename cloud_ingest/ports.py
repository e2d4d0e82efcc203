"""The service's ports: what it needs of stores and readers, as tiny protocols.

Their methods block unless they are `async`; callers run them in threads. Durable truth is
observed: how much of an upload has arrived is what the part store holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from contracts.clip import ClipManifest

Chunks = Sequence[bytes | memoryview]
"""Consecutive bytes in pieces as they came from the socket, so that nothing is copied."""


class PartStore(Protocol):
    """Bytes of unfinished uploads. `upload_id` is made by the service, never by a client."""

    def size_bytes(self, upload_id: str) -> int:
        """How many bytes have arrived, from the start and without a gap; 0 for none."""
        ...

    def append(self, upload_id: str, at_bytes: int, chunks: Chunks) -> int:
        """Add durably at `at_bytes` and return the new size; all of it or nothing.

        Raises `ConflictError` when the upload does not end at `at_bytes`, `ExhaustedError`
        when the disk is full.
        """
        ...

    def truncate(self, upload_id: str, to_bytes: int) -> None:
        """Forget what lies behind `to_bytes`."""
        ...

    def read(self, upload_id: str, start: int, length: int) -> Iterator[memoryview]:
        """The bytes in pieces that are valid until the next one. `CorruptError` when short."""
        ...

    def path(self, upload_id: str) -> Path:
        """A file that holds the whole upload, to be published from."""
        ...

    def remove(self, upload_id: str) -> None:
        """Forget the upload; nothing to do when it is not there."""
        ...

    def upload_ids(self) -> list[str]:
        """Uploads of which bytes are held."""
        ...

    def free_bytes(self) -> int:
        """Room for more parts, less what is to be kept free."""
        ...


class ObjectStore(Protocol):
    """Whole clips under their content address."""

    async def size_bytes(self, clip_id: str) -> int | None:
        """Size of the object; None when there is none."""
        ...

    async def publish(self, clip_id: str, source: Path) -> None:
        """Make the object from a whole, verified file, atomically and durably.

        An object that is there already is verified and kept; a damaged one is replaced.
        """
        ...

    def read(self, clip_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Bytes `start` to `start + length` in pieces."""
        ...

    def open(self, clip_id: str) -> IO[bytes]:
        """A seekable stream over the object. Blocks."""
        ...


class ManifestReader(Protocol):
    """Reads what a clip file says about itself.

    Raises `CorruptError` or `InputError` for a file that is not a clip. Blocks.
    """

    def __call__(self, source: Path | IO[bytes]) -> ClipManifest: ...
