"""Whole clips in a local folder, by content address: `ab/abcdef….mcap`.

Guarantees: an object appears complete or not at all, and stays through power loss: the file
is synced, linked under its address without overwriting, and the folder is synced. A file on
the same disk is linked, not copied.

The link shares its bytes with the upload's file until that is removed; a full upload takes no
more bytes (its size is its length), and the object is made read-only.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import structlog

from cloud_ingest.ports import Completion
from cloud_ingest.stores.files import disk_errors, make_folder, sync_file, sync_folder
from contracts.errors import CorruptError
from contracts.ids import digest_file, parse_sha256_hex

_READ_BYTES = 256 * 1024
_log = structlog.get_logger(__name__)


class LocalObjects:
    """Object store on a local or shared POSIX folder; `suffix` ends the files' names."""

    def __init__(self, folder: Path, suffix: str = ".mcap") -> None:
        self._folder = folder
        self._suffix = suffix
        with disk_errors("objects"):
            make_folder(folder / "tmp")

    async def size_bytes(self, clip_id: str) -> int | None:
        try:
            return (await asyncio.to_thread(self._path(clip_id).stat)).st_size
        except FileNotFoundError:
            return None

    async def publish(self, clip_id: str, source: Path) -> Completion:
        return await asyncio.to_thread(self._publish, clip_id, source)

    async def read(self, clip_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        # No file stays open between pieces: a reader that goes away would leave it to chance.
        at, end = start, start + length
        while at < end:
            wanted = min(_READ_BYTES, end - at)
            piece = await asyncio.to_thread(self._piece, clip_id, at, wanted)
            if not piece:
                raise CorruptError(f"the object ends {end - at} bytes early", clip_id)
            at += len(piece)
            yield piece

    def _piece(self, clip_id: str, at: int, length: int) -> bytes:
        with self.open(clip_id) as file:
            file.seek(at)
            return file.read(length)

    def open(self, clip_id: str) -> IO[bytes]:
        with disk_errors("objects"):
            return self._path(clip_id).open("rb")

    async def remove(self, clip_id: str) -> None:
        await asyncio.to_thread(self._remove, clip_id)

    def _remove(self, clip_id: str) -> None:
        path = self._path(clip_id)
        with disk_errors("objects"):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)

    def _path(self, clip_id: str) -> Path:
        parse_sha256_hex(clip_id, "clip_id")
        return self._folder / clip_id[:2] / f"{clip_id}{self._suffix}"

    def _publish(self, clip_id: str, source: Path) -> Completion:
        path = self._path(clip_id)
        completion: Completion = "done"
        with disk_errors("objects"):
            make_folder(path.parent)
            sync_file(source)
            try:
                self._link(source, path)
            except FileExistsError:
                completion = "exists"
                if digest_file(path).clip_id() != clip_id:
                    _log.error("a stored object was damaged; replacing it", clip_id=clip_id)
                    self._replace(source, path)
                    completion = "done"
            path.chmod(0o444)
            sync_folder(path.parent)
        return completion

    def _link(self, source: Path, path: Path) -> None:
        try:
            os.link(source, path)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            copy = self._copy(source)
            try:
                os.link(copy, path)
            finally:
                copy.unlink()

    def _replace(self, source: Path, path: Path) -> None:
        self._copy(source).rename(path)

    def _copy(self, source: Path) -> Path:
        descriptor, name = tempfile.mkstemp(dir=self._folder / "tmp")
        os.close(descriptor)
        copy = Path(name)
        try:
            shutil.copyfile(source, copy)
            sync_file(copy)
        except OSError:
            copy.unlink(missing_ok=True)
            raise
        return copy
