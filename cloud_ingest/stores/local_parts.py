"""Unfinished uploads in a local or shared POSIX folder, written by several processes at once.

Layout: a folder for each upload, named by its id; in it *images* of the clip, files in which
bytes lie where they lie in the clip, with holes elsewhere. A token is an image's name. Whatever
else lies beside these folders is not the store's, and stays.

Guarantees, with no lock between processes:
- Bytes are on disk, file and folder synced, before a `put` returns.
- A range of an image is written at most once, by the process that made it: a process writes to
  its image of an upload only where it has not written before, and begins another image for
  anything else (a part sent again, a restart). So bytes that a token names never change,
  not even by a request that lost its race and is still writing.
- An upload whose parts all lie in one image is published by a link, without a copy; parts in
  several images are put together in a fresh file, in the kernel.
- Parts that this process has not itself written are read and verified before they are published.

A kill in the middle of a `put` leaves bytes that no row names.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cloud_ingest.ports import (
    OWNED,
    UPLOAD_ID,
    Chunks,
    Completion,
    DamagedPieceError,
    LostPiecesError,
    ObjectStore,
    Piece,
    Place,
    Remains,
    pieces_from,
)
from cloud_ingest.stores.files import disk_errors, make_folder, sync_folder, write_batches
from contracts.errors import ConflictError, ExhaustedError, InputError

_READ_BYTES = 1024 * 1024
_REMEMBERED_UPLOADS = 1024
_ASSEMBLED = "whole-"
_NO_RANGE_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(slots=True)
class _Image:
    """This process's image of an upload, and where it has written or will: apart, in no order."""

    name: str
    taken: list[tuple[int, int]] = field(default_factory=list)

    def is_free(self, start_bytes: int, end_bytes: int) -> bool:
        return all(end_bytes <= start or end <= start_bytes for start, end in self.taken)

    def take(self, start_bytes: int, end_bytes: int) -> None:
        """Joined to the range that ends here, so that spans leave a few ranges, not one a part."""
        before = next((taken for taken in self.taken if taken[1] == start_bytes), None)
        if before is not None:
            self.taken.remove(before)
            start_bytes = before[0]
        self.taken.append((start_bytes, end_bytes))

    def give_back(self, start_bytes: int, end_bytes: int) -> bool:
        """Untake the last range of the file; False, and nothing done, when it is not the last."""
        last = max(self.taken, key=lambda taken: taken[1], default=(0, 0))
        if last[1] != end_bytes or last[0] > start_bytes:
            return False
        self.taken.remove(last)
        if last[0] < start_bytes:
            self.taken.append((last[0], start_bytes))
        return True


class LocalParts:
    """Part store on a folder.

    Args:
        folder: shared by all replicas.
        objects: where complete clips go.
        free_bytes_kept: room on the disk that is left to others.
        is_shared: whether services of other databases could be given the same folder.
    """

    def __init__(
        self,
        folder: Path,
        objects: ObjectStore,
        free_bytes_kept: int = 0,
        *,
        is_shared: bool = False,
    ) -> None:
        self._folder = folder
        self._is_shared = is_shared
        self._objects = objects
        self._free_bytes_kept = free_bytes_kept
        self._images: OrderedDict[str, _Image] = OrderedDict()
        self._images_guard = threading.Lock()
        self._own = f"{os.getpid():x}-{secrets.token_hex(8)}-"
        with disk_errors("parts"):
            make_folder(folder)

    def begin(self, upload_id: str, clip_id: str | None) -> str:
        with disk_errors("parts"):
            make_folder(self._folder_of(upload_id))
        return upload_id

    def disown(self, place: Place) -> None:
        """All that begin an upload begin the same folder."""

    def put_part(
        self, place: Place, start_bytes: int, chunks: Chunks, sha256: bytes, tail: Sequence[Piece]
    ) -> str:
        return self._put(place, start_bytes, chunks, tail)

    def put_tail(self, place: Place, start_bytes: int, chunks: Chunks) -> str:
        return self._put(place, start_bytes, chunks, ())

    def read_tail(self, place: Place, tail: Sequence[Piece]) -> list[bytes]:
        return [b"".join(bytes(view) for view in self._views(place, piece)) for piece in tail]

    def drop_tail(self, place: Place, tail: Sequence[Piece]) -> None:
        """They lie in images, which go with their upload."""

    def held_bytes(self, place: Place, pieces: Sequence[Piece]) -> int:
        held = 0
        sizes: dict[str, int] = {}
        for piece in pieces:
            if piece.token not in sizes:
                with suppress(OSError):
                    sizes[piece.token] = self._image(place, piece.token).stat().st_size
            if sizes.get(piece.token, 0) < piece.end_bytes:
                break
            held = piece.end_bytes
        return held

    def read(self, place: Place, pieces: Sequence[Piece], from_bytes: int) -> Iterator[memoryview]:
        for piece in pieces_from(pieces, from_bytes):
            yield from self._views(place, piece)

    async def complete(self, place: Place, pieces: Sequence[Piece], clip_id: str) -> Completion:
        size = pieces[-1].end_bytes
        if await self._objects.size_bytes(clip_id) == size and not self.held_bytes(place, pieces):
            # An earlier completion went this far; what it linked it had verified.
            return "exists"
        source = await asyncio.to_thread(self._whole, place, pieces)
        return await self._objects.publish(clip_id, source)

    def abort(self, place: Place, *, is_complete: bool = False) -> None:
        with self._images_guard:
            self._images.pop(place.upload_id, None)
        self.clear(Remains("upload", place.upload_id, place.upload_id))

    def own(self, service_id: str) -> None:
        if not self._is_shared:
            return
        mark = self._folder / f"{OWNED}{service_id}"
        with disk_errors("parts"):
            is_new = not mark.exists()
            mark.touch(0o600)
            sync_folder(self._folder)
            # Of two that come at once each may see the other; neither goes on unseen.
            others = [path for path in self._folder.glob(f"{OWNED}*") if path != mark]
            if others and is_new:
                mark.unlink()
        if others:
            raise ConflictError(
                "unfinished uploads of a service with another database lie here; give each its "
                f"own folder, or remove {others[0].name} in it when that service is no more",
                str(self._folder),
            )

    def remains(self) -> list[Remains]:
        with disk_errors("parts"), os.scandir(self._folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if UPLOAD_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            )
        return [Remains("upload", name, name) for name in names]

    def clear(self, remains: Remains) -> None:
        with disk_errors("parts"), suppress(FileNotFoundError):
            shutil.rmtree(self._folder_of(remains.name))

    def free_bytes(self) -> int:
        with disk_errors("parts"):
            return shutil.disk_usage(self._folder).free - self._free_bytes_kept

    # Images -----------------------------------------------------------------------------------

    def _reserve(
        self, place: Place, start_bytes: int, end_bytes: int, tail: Sequence[Piece]
    ) -> tuple[str, int, bool]:
        """An image in which nobody has written or will write this range.

        Returns its name, where to begin in it (behind `tail`, if that lies there already), and
        whether it is new.
        """
        with self._images_guard:
            image = self._images.get(place.upload_id)
            if image is not None and tail and all(piece.token == image.name for piece in tail):
                behind = tail[-1].end_bytes
                start_bytes = behind if image.is_free(behind, end_bytes) else start_bytes
            is_new = image is None or not image.is_free(start_bytes, end_bytes)
            if image is None or is_new:
                image = _Image(self._own + secrets.token_hex(4))
                self._images[place.upload_id] = image
            image.take(start_bytes, end_bytes)
            self._images.move_to_end(place.upload_id)
            while len(self._images) > _REMEMBERED_UPLOADS:
                self._images.popitem(last=False)
            return image.name, start_bytes, is_new

    def _put(self, place: Place, part_bytes: int, chunks: Chunks, tail: Sequence[Piece]) -> str:
        length = sum(len(chunk) for chunk in chunks)
        if self.free_bytes() < length:
            raise ExhaustedError("the store's disk is full", "parts")
        end_bytes = part_bytes + length
        name, start_bytes, is_new = self._reserve(place, part_bytes, end_bytes, tail)
        if start_bytes > part_bytes:
            chunks = list(_behind(chunks, start_bytes - part_bytes))
        with disk_errors("parts"):
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                file = os.open(self._image(place, name), flags, 0o600)
            except FileNotFoundError as error:
                raise LostPiecesError("the store has lost this upload", "parts") from error
            try:
                self._write(file, start_bytes, chunks)
                os.fdatasync(file)
            except OSError:
                self._give_back(place, name, file, start_bytes, end_bytes)
                raise
            finally:
                os.close(file)
            if is_new:
                sync_folder(self._folder_of(place.upload_id))
        return name

    def _give_back(
        self, place: Place, name: str, file: int, start_bytes: int, end_bytes: int
    ) -> None:
        """Free what a failed `put` has written, unless more was written behind it since."""
        with self._images_guard:
            image = self._images.get(place.upload_id)
            if image is not None and image.name == name and image.give_back(start_bytes, end_bytes):
                os.ftruncate(file, start_bytes)

    def _write(self, file: int, at_bytes: int, chunks: Chunks) -> None:
        """`pwritev` all of `chunks`, however little each call takes."""
        for pieces in write_batches(chunks):
            first = 0
            while first < len(pieces):
                written = os.pwritev(file, pieces[first:], at_bytes)
                at_bytes += written
                while first < len(pieces) and written >= len(pieces[first]):
                    written -= len(pieces[first])
                    first += 1
                if written:
                    pieces[first] = pieces[first][written:]

    def _views(self, place: Place, piece: Piece) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(_READ_BYTES, max(1, piece.length_bytes))))
        with disk_errors("parts"):
            try:
                file = self._image(place, piece.token).open("rb", buffering=0)
            except FileNotFoundError as error:
                raise LostPiecesError("the store has lost this upload", "parts") from error
            with file:
                file.seek(piece.start_bytes)
                left = piece.length_bytes
                while left > 0:
                    count = file.readinto(buffer[: min(left, len(buffer))])
                    if not count:
                        raise LostPiecesError(f"stored bytes end {left} bytes early", "parts")
                    left -= count
                    yield buffer[:count]

    def _whole(self, place: Place, pieces: Sequence[Piece]) -> Path:
        """A file with exactly these parts. Raises `DamagedPieceError`, `LostPiecesError`."""
        for piece in pieces:
            if not piece.token.startswith(self._own):
                self._verify(place, piece)
        first = self._image(place, pieces[0].token)
        if all(piece.token == pieces[0].token for piece in pieces):
            if self.held_bytes(place, pieces) < pieces[-1].end_bytes:
                raise LostPiecesError("stored bytes end early", "parts")
            return first
        whole = self._folder_of(place.upload_id) / (_ASSEMBLED + secrets.token_hex(8))
        with disk_errors("parts"):
            target = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                for piece in pieces:
                    self._copy(place, piece, target)
            finally:
                os.close(target)
        return whole

    def _verify(self, place: Place, piece: Piece) -> None:
        digest = hashlib.sha256()
        for view in self._views(place, piece):
            digest.update(view)
        if digest.digest() != piece.sha256:
            raise DamagedPieceError(piece.start_bytes)

    def _copy(self, place: Place, piece: Piece, target: int) -> None:
        """Copy in the kernel, or only name the same blocks where the file system can."""
        try:
            source = os.open(self._image(place, piece.token), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise LostPiecesError("the store has lost this upload", "parts") from error
        try:
            at, end = piece.start_bytes, piece.end_bytes
            os.lseek(target, at, os.SEEK_SET)
            while at < end:
                try:
                    count = os.copy_file_range(source, target, end - at, at)
                except OSError as error:
                    if error.errno not in _NO_RANGE_COPY:
                        raise
                    count = os.sendfile(target, source, at, end - at)
                if count == 0:
                    raise LostPiecesError(f"stored bytes end {end - at} bytes early", "parts")
                at += count
        finally:
            os.close(source)

    def _folder_of(self, upload_id: str) -> Path:
        if not UPLOAD_ID.fullmatch(upload_id):
            raise InputError("an upload id is 32 hexadecimal digits", "upload_id")
        return self._folder / upload_id

    def _image(self, place: Place, token: str) -> Path:
        return self._folder_of(place.upload_id) / Path(token).name


def _behind(chunks: Chunks, skipped: int) -> Iterator[memoryview]:
    """`chunks` without their first bytes."""
    for chunk in chunks:
        view = memoryview(chunk)
        yield view[min(skipped, len(view)) :]
        skipped -= min(skipped, len(view))
