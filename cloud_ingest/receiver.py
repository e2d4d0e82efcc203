"""The upload receiver's steps: declare, append, observe, complete, collect.

Guarantees: what has arrived is what the part store holds; an upload that holds all of its
bytes is completed by whoever meets it next (the PATCH that filled it, a HEAD, a status, a new
declaration, the sweep at the start), so a crash at any point heals; before the commit every
declared part has been verified, and the id of an undeclared one is computed from the stored
bytes.

Does not know HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator

import structlog

from cloud_ingest.body_writer import BodyWriter
from cloud_ingest.commit import Committer
from cloud_ingest.ports import PartStore
from cloud_ingest.problems import AbsentError, GoneError, TooLargeError
from cloud_ingest.schema import COMMITTED, REFUSED
from cloud_ingest.settings import Settings
from cloud_ingest.tus.protocol import Body
from cloud_ingest.upload_book import Upload, UploadBook
from contracts.errors import ConflictError, CorruptError, InputError, LongtailError, RefusedError
from contracts.ids import PART_BYTES, PartHasher, clip_id_of, part_count, part_length
from contracts.upload import UploadAnswer, UploadRequest, UploadStatus

_REMEMBERED_UPLOADS = 1024
_log = structlog.get_logger(__name__)


def check_declaration(vehicle_id: str, request: UploadRequest, max_bytes: int) -> None:
    """What can be told of a declaration without any store. Raises by what is wrong with it."""
    if request.event.vehicle_id != vehicle_id:
        raise RefusedError("a vehicle declares only its own events", "event.vehicle_id")
    if request.size_bytes > max_bytes:
        raise TooLargeError(f"at most {max_bytes} bytes are taken", "size_bytes")
    expected = part_count(request.size_bytes)
    if len(request.part_digests) != expected:
        raise InputError(
            f"{request.size_bytes} bytes have {expected} parts, not {len(request.part_digests)}",
            "part_digests",
        )
    if clip_id_of(map(bytes.fromhex, request.part_digests)) != request.clip_id:
        raise InputError("clip_id does not follow from part_digests", "clip_id")


class Receiver:
    """Uploads of all vehicles."""

    def __init__(
        self, book: UploadBook, parts: PartStore, committer: Committer, settings: Settings
    ) -> None:
        self._book = book
        self._parts = parts
        self._committer = committer
        self._settings = settings
        self._verified: OrderedDict[str, set[int]] = OrderedDict()
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def declare(self, vehicle_id: str, request: UploadRequest, tus_url: str) -> UploadAnswer:
        """What the vehicle is to do with a clip that it has."""
        check_declaration(vehicle_id, request, self._settings.max_clip_bytes)
        if (await self.status(vehicle_id, request.clip_id)).state == "committed":
            return UploadAnswer(answer="have_it", clip_id=request.clip_id)
        upload = await self._book.declare(vehicle_id, request)
        offset = await self._offset(upload)
        free = await asyncio.to_thread(self._parts.free_bytes)
        if free < request.size_bytes - offset:
            return UploadAnswer(
                answer="wait",
                clip_id=request.clip_id,
                retry_after_s=60,
                reason="the store is nearly full",
            )
        return UploadAnswer(
            answer="upload",
            clip_id=request.clip_id,
            upload_url=f"{tus_url}/{upload.upload_id}",
            offset_bytes=offset,
        )

    async def status(self, vehicle_id: str, clip_id: str) -> UploadStatus:
        """What is held of a clip of this vehicle."""
        open_upload = await self._book.open_declared(vehicle_id, clip_id)
        offset = 0 if open_upload is None else await self._offset(open_upload)
        if open_upload is not None and offset == open_upload.length_bytes:
            await self.complete(open_upload)
        size = await self._book.delivered_bytes(vehicle_id, clip_id)
        if size is not None:
            return UploadStatus(
                clip_id=clip_id, state="committed", size_bytes=size, offset_bytes=size
            )
        if open_upload is None:
            return UploadStatus(clip_id=clip_id, state="absent")
        return UploadStatus(
            clip_id=clip_id,
            state="uploading",
            size_bytes=open_upload.length_bytes,
            offset_bytes=offset,
        )

    async def create(
        self, vehicle_id: str, length_bytes: int, clip_id: str | None, metadata_header: str | None
    ) -> Upload:
        """An upload for a tus creation: the declared one of `clip_id`, else a new one."""
        if clip_id is not None:
            declared = await self._book.open_declared(vehicle_id, clip_id)
            if declared is not None:
                if declared.length_bytes != length_bytes:
                    raise InputError(
                        f"declared with {declared.length_bytes} bytes", "Upload-Length"
                    )
                return declared
        return await self._book.create(vehicle_id, length_bytes, clip_id, metadata_header)

    async def find(self, vehicle_id: str, upload_id: str) -> Upload:
        """The vehicle's upload. Raises `AbsentError` or `GoneError`."""
        upload = await self._book.find(vehicle_id, upload_id)
        if upload is None:
            raise AbsentError("no such upload of this vehicle")
        if upload.state == REFUSED:
            raise GoneError(upload.reason or "this upload was refused")
        if upload.state != COMMITTED and self._book.has_expired(upload):
            raise GoneError("this upload has expired; create it again")
        return upload

    async def observe(self, upload: Upload) -> int:
        """The offset, from what the store holds. Completes an upload that is full."""
        if upload.state == COMMITTED:
            return upload.length_bytes
        offset = await self._offset(upload)
        if offset == upload.length_bytes:
            await self.complete(upload)
        return offset

    async def append(self, upload: Upload, body: Body, chunks: AsyncIterator[bytes]) -> int:
        """Add a body at its offset and return the new one; commit when it is the last.

        Raises `ConflictError` for another offset, `TooLargeError`, `CorruptError`,
        `ExhaustedError`.
        """
        offset = await self.observe(upload)
        if body.offset_bytes != offset:
            raise ConflictError(f"the upload is at {offset}", "Upload-Offset")
        if body.length_bytes is not None and offset + body.length_bytes > upload.length_bytes:
            raise TooLargeError("the body is longer than the upload", "Content-Length")
        await self._book.keep_alive(upload)
        verified = self._remember(upload)
        writer = BodyWriter(self._parts, upload, offset, verified.add)
        offset = await writer.write(chunks, body)
        if offset == upload.length_bytes:
            await self.complete(upload)
        return offset

    async def terminate(self, upload: Upload) -> None:
        """Forget an upload. A clip that came of it stays."""
        await self._book.remove(upload.upload_id)
        await asyncio.to_thread(self._parts.remove, upload.upload_id)

    async def complete(self, upload: Upload) -> None:
        """Turn a full upload into a clip. Again and again is as good as once.

        Raises `CorruptError` when stored bytes are not what was declared (they are forgotten
        from that part on), `InputError` when they are not the clip that was named.
        """
        lock = self._locks.setdefault(upload.upload_id, asyncio.Lock())
        async with lock:
            present = await self._book.find(upload.vehicle_id, upload.upload_id)
            if present is None or present.state == COMMITTED:
                return
            clip_id = await asyncio.to_thread(self._identify, upload)
            if upload.clip_id is not None and clip_id != upload.clip_id:
                reason = f"the bytes are clip {clip_id}, not {upload.clip_id} as was said"
                await self._book.refuse(upload.upload_id, reason)
                await asyncio.to_thread(self._parts.remove, upload.upload_id)
                raise InputError(reason, "clip_id")
            await self._committer.commit(upload, clip_id)
            self._verified.pop(upload.upload_id, None)

    async def sweep(self) -> None:
        """Complete what is full and forget bytes of uploads that are over: after a crash."""
        open_ids = set()
        for upload in await self._book.all_open():
            open_ids.add(upload.upload_id)
            try:
                if await self._offset(upload) == upload.length_bytes:
                    await self.complete(upload)
            except LongtailError as error:
                _log.warning("could not complete", upload_id=upload.upload_id, error=str(error))
        for upload_id in await asyncio.to_thread(self._parts.upload_ids):
            if upload_id not in open_ids and not await self._book.is_open(upload_id):
                await asyncio.to_thread(self._parts.remove, upload_id)

    async def _offset(self, upload: Upload) -> int:
        return await asyncio.to_thread(self._parts.size_bytes, upload.upload_id)

    def _remember(self, upload: Upload) -> set[int]:
        """Parts that this process has verified; forgotten ones are merely read again."""
        verified = self._verified.setdefault(upload.upload_id, set())
        self._verified.move_to_end(upload.upload_id)
        while len(self._verified) > _REMEMBERED_UPLOADS:
            self._verified.popitem(last=False)
        return verified

    def _identify(self, upload: Upload) -> str:
        """The clip id of the stored bytes; every part is verified or was. Blocks."""
        if upload.digests is None:
            hasher = PartHasher()
            for view in self._parts.read(upload.upload_id, 0, upload.length_bytes):
                hasher.update(view)
            return hasher.clip_id()
        verified = self._verified.get(upload.upload_id, set())
        for index in range(part_count(upload.length_bytes)):
            if index not in verified:
                self._verify_stored(upload, index)
        return upload.clip_id or ""

    def _verify_stored(self, upload: Upload, index: int) -> None:
        digest = hashlib.sha256()
        start = index * PART_BYTES
        length = part_length(upload.length_bytes, index)
        for view in self._parts.read(upload.upload_id, start, length):
            digest.update(view)
        if digest.digest() != upload.digest_of(index):
            self._parts.truncate(upload.upload_id, start)
            raise CorruptError("stored bytes do not match the declared digest", f"part {index}")
