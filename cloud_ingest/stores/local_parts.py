"""Unfinished uploads as one file each, to which verified bytes are appended.

Guarantees: the offset is the file's size; an append is a compare-and-swap on it under a file
lock, so processes that share the folder cannot interleave; bytes are on disk before `append`
returns; an append that fails (a full disk) leaves the file as it was.

A kill in the middle of an append leaves a prefix of bytes that had been verified, which is a
valid shorter upload. What a power cut leaves is checked against the digests at the commit, for
every part that this process did not itself verify.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cloud_ingest.ports import Chunks
from cloud_ingest.stores.files import disk_errors, make_folder, sync_folder
from contracts.errors import ConflictError, CorruptError, ExhaustedError, InputError

_MOST_PIECES = 1024  # IOV_MAX
_READ_BYTES = 1024 * 1024


class LocalParts:
    """Part store on a local or shared POSIX folder."""

    def __init__(self, folder: Path, free_bytes_kept: int = 0) -> None:
        self._folder = folder
        self._free_bytes_kept = free_bytes_kept
        with disk_errors("parts"):
            make_folder(folder)

    def size_bytes(self, upload_id: str) -> int:
        # Under the lock, so that an append under way is seen as a whole or not at all.
        with disk_errors("parts"):
            try:
                with self._locked(upload_id, shared=True) as file:
                    return os.fstat(file).st_size
            except FileNotFoundError:
                return 0

    def append(self, upload_id: str, at_bytes: int, chunks: Chunks) -> int:
        length = sum(len(chunk) for chunk in chunks)
        if self.free_bytes() < length:
            raise ExhaustedError("the store's disk is full", "parts")
        with disk_errors("parts"), self._locked(upload_id, create=True) as file:
            size = os.fstat(file).st_size
            if size != at_bytes:
                raise ConflictError(f"the upload is at {size}, not at {at_bytes}", "Upload-Offset")
            try:
                self._write(file, at_bytes, chunks)
                os.fdatasync(file)
            except OSError:
                os.ftruncate(file, at_bytes)
                raise
            if at_bytes == 0:
                sync_folder(self._folder)
        return at_bytes + length

    def truncate(self, upload_id: str, to_bytes: int) -> None:
        with disk_errors("parts"), self._locked(upload_id) as file:
            os.ftruncate(file, min(to_bytes, os.fstat(file).st_size))
            os.fsync(file)

    def read(self, upload_id: str, start: int, length: int) -> Iterator[memoryview]:
        if length == 0:
            return
        buffer = memoryview(bytearray(min(_READ_BYTES, length)))
        with disk_errors("parts"), self.path(upload_id).open("rb", buffering=0) as file:
            file.seek(start)
            left = length
            while left > 0:
                count = file.readinto(buffer[: min(left, len(buffer))])
                if not count:
                    raise CorruptError(f"the stored upload ends {left} bytes early", "parts")
                left -= count
                yield buffer[:count]

    def path(self, upload_id: str) -> Path:
        if not upload_id.isalnum():
            raise InputError("an upload id has letters and digits only", "upload_id")
        return self._folder / upload_id

    def remove(self, upload_id: str) -> None:
        with disk_errors("parts"):
            self.path(upload_id).unlink(missing_ok=True)

    def upload_ids(self) -> list[str]:
        with disk_errors("parts"):
            return sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file())

    def free_bytes(self) -> int:
        with disk_errors("parts"):
            return shutil.disk_usage(self._folder).free - self._free_bytes_kept

    def _write(self, file: int, at_bytes: int, chunks: Chunks) -> None:
        """`pwritev` all of `chunks`, however little each call takes."""
        pieces = [memoryview(chunk) for chunk in chunks if len(chunk)]
        first = 0
        while first < len(pieces):
            written = os.pwritev(file, pieces[first : first + _MOST_PIECES], at_bytes)
            at_bytes += written
            while first < len(pieces) and written >= len(pieces[first]):
                written -= len(pieces[first])
                first += 1
            if written:
                pieces[first] = pieces[first][written:]

    @contextmanager
    def _locked(
        self, upload_id: str, *, create: bool = False, shared: bool = False
    ) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        file = os.open(self.path(upload_id), flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield file
        finally:
            with suppress(OSError):
                os.close(file)
