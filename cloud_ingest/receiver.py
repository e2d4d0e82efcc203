"""The upload receiver's steps: declare, append, observe, join.

Guarantees: what has arrived is what the part store has acknowledged; an upload that holds all
of its bytes is completed by whoever meets it next (the PATCH that filled it, a HEAD, a status,
a new declaration, the sweep of any replica), so a crash at any point heals.

Replicas share nothing but database and stores, and no request needs the replica of the one
before. Racing ones are decided by the upload's row (`piece_book`), a completion by the object
store's condition and the identity's row (`commit`), so each step may be done twice.

Does not know HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

from cloud_ingest.body_writer import BodyWriter, most_held_bytes
from cloud_ingest.completion import Completer
from cloud_ingest.piece_book import PieceBook
from cloud_ingest.ports import EverythingWanted, PartStore, Wanted
from cloud_ingest.pressure import Pressure
from cloud_ingest.problems import (
    AbsentError,
    BusyError,
    GoneError,
    PressureError,
    TooLargeError,
)
from cloud_ingest.schema import COMMITTED, FINAL, PARTIAL, SPAN, WHOLE
from cloud_ingest.settings import Settings
from cloud_ingest.shelf import Shelf
from cloud_ingest.span_book import SpanBook, check_span
from cloud_ingest.tus.protocol import Body
from cloud_ingest.upload_book import Upload, UploadBook, value_of
from cloud_ingest.vehicle_day import NO_DAY, VehicleDay
from contracts.errors import ConflictError, ExhaustedError, InputError, RefusedError
from contracts.ids import clip_id_of, part_count
from contracts.upload import UploadAnswer, UploadRequest, UploadStatus

NO_ROOM = "the store is nearly full"


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
        self,
        book: UploadBook,
        spans: SpanBook,
        pieces: PieceBook,
        parts: PartStore,
        completer: Completer,
        settings: Settings,
        pressure: Pressure,
        day: VehicleDay,
        wanted: Wanted | None = None,
    ) -> None:
        self._book = book
        self._day = day
        self._spans = spans
        self._pieces = pieces
        self._parts = parts
        self._completer = completer
        self._settings = settings
        self.pressure = pressure
        self._wanted = wanted or EverythingWanted()

    async def declare(self, vehicle_id: str, request: UploadRequest, tus_url: str) -> UploadAnswer:
        """What the vehicle is to do with a clip that it has."""
        clip_id = request.clip_id
        check_declaration(vehicle_id, request, self._settings.max_clip_bytes)
        upload = await self._book.open_declared(vehicle_id, clip_id)
        if upload is not None and upload.is_full:
            await self._completer.complete(upload)
            upload = await self._book.open_declared(vehicle_id, clip_id)
        if await self._book.delivered_bytes(vehicle_id, clip_id) is not None:
            return UploadAnswer(answer="have_it", clip_id=clip_id)
        if request.stream == "triggered" and not request.safety:
            refusal = await self._wanted.refusal(vehicle_id, request)
            if refusal is not None:
                return UploadAnswer(answer="not_wanted", clip_id=clip_id, reason=refusal)
        waits = await self._waits(vehicle_id, request, upload)
        if waits is not None:
            return waits
        upload = upload or await self._book.declare(vehicle_id, request)
        return UploadAnswer(
            answer="upload",
            clip_id=clip_id,
            upload_url=f"{tus_url}/{upload.upload_id}",
            offset_bytes=upload.stored_bytes,
            advised_bytes_per_s=await self.pressure.advice(),
            max_spans=self._spans.most,
        )

    async def advice(self) -> float | None:
        """Bytes a second that a vehicle should send at most; None: as fast as it may."""
        return await self.pressure.advice()

    async def status(self, vehicle_id: str, clip_id: str) -> UploadStatus:
        """What is held of a clip of this vehicle."""
        upload = await self._book.open_declared(vehicle_id, clip_id)
        if upload is not None and upload.is_full:
            await self._completer.complete(upload)
        size = await self._book.delivered_bytes(vehicle_id, clip_id)
        if size is not None:
            return UploadStatus(
                clip_id=clip_id, state="committed", size_bytes=size, offset_bytes=size
            )
        if upload is None:
            return UploadStatus(clip_id=clip_id, state="absent")
        return UploadStatus(
            clip_id=clip_id,
            state="uploading",
            size_bytes=upload.length_bytes,
            offset_bytes=upload.stored_bytes,
        )

    async def create(
        self,
        vehicle_id: str,
        length_bytes: int,
        clip_id: str | None,
        metadata_header: str | None,
        *,
        is_partial: bool = False,
    ) -> Upload:
        """An upload for a tus creation: the declared one of `clip_id`, else a new one.

        Raises `InputError`; for a new one what `admit` does.
        """
        if is_partial:
            await self.admit(vehicle_id, length_bytes)
            return await self._book.create(vehicle_id, length_bytes, None, metadata_header, PARTIAL)
        if clip_id is not None:
            declared = await self._book.open_declared(vehicle_id, clip_id)
            if declared is not None:
                if declared.length_bytes != length_bytes:
                    raise InputError(
                        f"declared with {declared.length_bytes} bytes", "Upload-Length"
                    )
                return declared
        await self.admit(vehicle_id, length_bytes)
        return await self._book.create(vehicle_id, length_bytes, clip_id, metadata_header, WHOLE)

    async def admit(self, vehicle_id: str, length_bytes: int) -> None:
        """Whether so much may come of a vehicle that has declared nothing of it.

        Raises `ExhaustedError` when the store has no room for it, `BusyError` when the vehicle's
        day has none. Nothing is known of such bytes, so they are nobody's safety.
        """
        if await self._lacks_room(length_bytes):
            raise ExhaustedError(NO_ROOM)
        wait_s = await self._day.wait_s(vehicle_id, length_bytes)
        if wait_s is not None:
            raise BusyError(NO_DAY, retry_after_s=wait_s)

    async def open_span(
        self, vehicle_id: str, clip_id: str, first_byte: int, length_bytes: int
    ) -> Upload:
        """The span of a declared clip that begins at a byte; the same one however often asked.

        Raises `AbsentError` when the clip is not declared, or is here by now; `InputError`.
        """
        parent = await self._book.open_declared(vehicle_id, clip_id)
        if parent is None:
            raise AbsentError("this clip has no open upload; declare it")
        check_span(parent, first_byte, length_bytes)
        place = await Shelf(self._parts, self._pieces, parent).settle()
        span_id = await self._spans.open(parent, place, first_byte, length_bytes)
        return await self.find(vehicle_id, span_id)

    async def join(
        self,
        vehicle_id: str,
        partial_ids: Sequence[str],
        clip_id: str | None,
        metadata_header: str | None,
    ) -> Upload:
        """The upload that consists of these partial ones, completed.

        Asked again, it is the same upload. Raises `InputError` when one is not full, or is no
        partial upload. Spans become the declared upload that they belong to.
        """
        first = await self._book.find(vehicle_id, partial_ids[0])
        if first is not None and first.kind == SPAN:
            parent_id = await self._spans.join(vehicle_id, partial_ids)
            await self._completer.complete(await self.find(vehicle_id, parent_id))
            return await self.find(vehicle_id, parent_id)
        words = "\n".join([vehicle_id, *partial_ids]).encode()
        upload_id = hashlib.sha256(words).hexdigest()[:32]
        final = await self._book.find(vehicle_id, upload_id)
        if final is None:
            try:
                partials = await self._partials(vehicle_id, partial_ids)
            except GoneError:
                # The same request may have joined them meanwhile, at another replica.
                final = await self._book.find(vehicle_id, upload_id)
                if final is None:
                    raise
            else:
                final = await self._book.join(
                    vehicle_id, upload_id, partials, clip_id, metadata_header
                )
        await self._completer.complete(final)
        return await self.find(vehicle_id, upload_id)

    async def _partials(self, vehicle_id: str, partial_ids: Sequence[str]) -> list[Upload]:
        found = [await self._completer.partial(vehicle_id, partial) for partial in partial_ids]
        most = self._settings.max_clip_bytes
        if sum(partial.length_bytes for partial in found) > most:
            raise TooLargeError(f"at most {most} bytes are taken", "Upload-Concat")
        return found

    async def find(self, vehicle_id: str, upload_id: str) -> Upload:
        """The vehicle's upload. Raises `AbsentError` or `GoneError`."""
        return await self._completer.find(vehicle_id, upload_id)

    async def observe(self, upload: Upload) -> int:
        """The offset, after a look at what the store holds. Completes an upload that is full."""
        if upload.state == COMMITTED:
            return upload.length_bytes
        offset = await self._completer.reconcile(upload)
        if offset == upload.length_bytes:
            await self._completer.complete(upload)
        return offset

    async def append(
        self, upload: Upload, body: Body, chunks: AsyncIterator[bytes | memoryview]
    ) -> int:
        """Add a body at its offset and return the new one; commit when it is the last.

        Raises `ConflictError` for another offset, `TooLargeError`, `CorruptError`,
        `ExhaustedError`, `RefusedError` for a final upload.
        """
        if upload.kind == FINAL:
            raise RefusedError("a final upload takes no bytes of its own", "Upload-Concat")
        if upload.state == COMMITTED or upload.is_full:
            await self._completer.complete(upload)
        offset = upload.length_bytes if upload.state == COMMITTED else upload.stored_bytes
        if body.offset_bytes != offset:
            raise ConflictError(f"the upload is at {offset}", "Upload-Offset")
        if body.length_bytes is not None and offset + body.length_bytes > upload.length_bytes:
            raise TooLargeError("the body is longer than the upload", "Content-Length")
        await self.pressure.check(upload.value)
        await self._book.keep_alive(upload)
        shelf = Shelf(self._parts, self._pieces, upload)
        writer = BodyWriter(shelf.put, upload.length_bytes, offset)
        with self.pressure.hold(upload.value, most_held_bytes(body)):
            before, offset = offset, await writer.write(chunks, body)
        self.pressure.stored(upload.vehicle_id, offset - before)
        if offset == upload.length_bytes:
            await self._completer.complete(upload)
        return offset

    async def terminate(self, upload: Upload) -> None:
        """Forget an upload. A clip that came of it stays."""
        await self._book.remove(upload.upload_id)
        if upload.kind != SPAN:  # its bytes lie where those of the others do
            await self._completer.abort(upload)

    async def _lacks_room(self, length_bytes: int) -> bool:
        return await asyncio.to_thread(self._parts.free_bytes) < length_bytes

    async def _waits(
        self, vehicle_id: str, request: UploadRequest, upload: Upload | None
    ) -> UploadAnswer | None:
        """The answer to a clip that has to wait; None when it may come."""
        value = value_of(request.safety, request.stream)
        held = 0 if upload is None else upload.stored_bytes
        wait_s: float | None = None
        reason = ""
        if await self._lacks_room(request.size_bytes - held):
            wait_s, reason = 60.0, NO_ROOM
        elif value != "safety" and upload is None:
            wait_s = await self._day.wait_s(vehicle_id, request.size_bytes)
            reason = NO_DAY
        if wait_s is None:
            try:
                await self.pressure.check(value)
                return None
            except PressureError as error:
                wait_s, reason = error.retry_after_s, error.message
        return UploadAnswer(
            answer="wait",
            clip_id=request.clip_id,
            retry_after_s=wait_s,
            reason=reason,
            advised_bytes_per_s=await self.pressure.advice(),
        )
