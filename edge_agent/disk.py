"""The disk port: small file operations, and the durable ones made of them.

Guarantees: `replace_file` and `move_file` are atomic, and durable when they return (file
synced, renamed, folder synced), so that after a power cut a name holds the old content or
the new, never a mix. Full disks become `ExhaustedError`, denied ones `RefusedError`, other
failures `TransientError`; a missing file stays `FileNotFoundError`.

The rule is tusd's and python-tuf's: temp file, fsync, rename, fsync of the folder. It does
not protect against a drive that lies about a flush.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from contracts.errors import ExhaustedError, RefusedError, TransientError
from edge_agent.direct import open_direct

TEMP_SUFFIX = ".tmp"
"""Ending of files that were never whole; safe to remove when nobody writes."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Disk(Protocol):
    """What durable code needs of a file system. Each method is one step that may fail."""

    def free_bytes(self, folder: Path) -> int:
        """Bytes that an ordinary user may still write to the folder's file system."""
        ...

    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Create or truncate a file; not durable before `sync_file`."""
        ...

    def create(self, path: Path) -> BinaryIO:
        """An empty file to be written forwards, piece by piece; not durable before `sync_file`.

        Its writes and its `close` raise `OSError`; it is not to be read before it is closed.
        """
        ...

    def sync_file(self, path: Path) -> None: ...

    def rename(self, source: Path, target: Path) -> None:
        """Atomic, replaces `target`; not durable before `sync_folder` of both folders."""
        ...

    def remove(self, path: Path) -> None:
        """Unlink; an absent file is not an error. Not durable before `sync_folder`."""
        ...

    def sync_folder(self, folder: Path) -> None: ...


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into this project's errors."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        place = str(path)
        if error.errno in _FULL:
            raise ExhaustedError("the disk is full", place) from error
        if error.errno in _DENIED:
            raise RefusedError(f"the file system refuses: {error.strerror}", place) from error
        raise TransientError(f"the file system failed: {error.strerror}", place) from error


class RealDisk:
    """The machine's file system."""

    def free_bytes(self, folder: Path) -> int:
        with translated(folder):
            return shutil.disk_usage(folder).free

    def write(self, path: Path, content: bytes, mode: int) -> None:
        with translated(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)

    def create(self, path: Path) -> BinaryIO:
        with translated(path):
            direct = open_direct(path)
            return path.open("wb", buffering=0) if direct is None else cast(BinaryIO, direct)

    def sync_file(self, path: Path) -> None:
        with translated(path):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        with translated(target):
            source.replace(target)

    def remove(self, path: Path) -> None:
        with translated(path):
            path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        with translated(folder):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def replace_file(disk: Disk, path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a small file atomically and durably. Raises `ExhaustedError` when full."""
    temp = path.with_name(path.name + TEMP_SUFFIX)
    try:
        disk.write(temp, content, mode)
        disk.sync_file(temp)
        disk.rename(temp, path)
    except ExhaustedError:
        disk.remove(temp)
        raise
    disk.sync_folder(path.parent)


def move_file(disk: Disk, source: Path, target: Path) -> None:
    """Rename a file whose content is already synced, durably. Target's name appears first."""
    disk.rename(source, target)
    disk.sync_folder(target.parent)
    if source.parent != target.parent:
        disk.sync_folder(source.parent)


def remove_file(disk: Disk, path: Path) -> None:
    """Unlink durably."""
    disk.remove(path)
    disk.sync_folder(path.parent)
