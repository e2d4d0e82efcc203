"""Durable file steps that the local stores share, with the disk's errors in our words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import ExhaustedError, TransientError

_MOST_PIECES = 1024  # IOV_MAX
WRITE_BYTES = 1024 * 1024
"""Most bytes of one write. From 2 MiB on the kernel caches them in huge pages; in a virtual machine
those are the ones that have gone back to the host, and fetching each again costs CPU: 2.5 s/GB were
measured, where 0.3 do."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn `OSError` into `ExhaustedError` (no room) or `TransientError` (any other)."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ExhaustedError("the store's disk is full", what) from error
        raise TransientError(f"the store failed: {error.strerror}", what) from error


def sync_folder(folder: Path) -> None:
    """Make names that were just added to `folder` survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def write_batches(chunks: Sequence[bytes | memoryview]) -> Iterator[list[memoryview]]:
    """All bytes of `chunks`, in batches for one `pwritev` each; none is empty, nor copied."""
    batch: list[memoryview] = []
    room = WRITE_BYTES
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            batch.append(view[:room])
            view, room = view[room:], room - len(batch[-1])
            if not room or len(batch) == _MOST_PIECES:
                yield batch
                batch, room = [], WRITE_BYTES
    if batch:
        yield batch
