"""From a full upload to a clip: joined, identified, published, committed, cleared up.

Guarantees: each step may be done twice and by several replicas at once. A completion goes on
when the request that asked for it has gone, and what a crash leaves of one the next request or
the sweep of any replica takes up. The clip's id is folded from digests of parts that were
verified in memory before they were stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from cloud_ingest.body_writer import BodyWriter
from cloud_ingest.commit import Committer
from cloud_ingest.piece_book import PieceBook, whole_parts
from cloud_ingest.ports import DamagedPieceError, LostPiecesError, PartStore
from cloud_ingest.problems import AbsentError, GoneError
from cloud_ingest.schema import COMMITTED, FINAL, OPEN, PARTIAL, REFUSED, SPAN
from cloud_ingest.shelf import Shelf
from cloud_ingest.tus.protocol import Body
from cloud_ingest.upload_book import Upload, UploadBook
from contracts.errors import ConflictError, InputError, LongtailError
from contracts.ids import clip_id_of

LOOP = "collector"
PATIENCE_S = 25.0
"""How long a request waits for a completion; clients give up after a minute."""

CLOSE_S = 5.0
"""How long the service's end waits for completions under way."""

_log = structlog.get_logger(__name__)


class Completer:
    """Completes uploads of all vehicles."""

    def __init__(
        self,
        book: UploadBook,
        pieces: PieceBook,
        parts: PartStore,
        committer: Committer,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._book = book
        self._pieces = pieces
        self._parts = parts
        self._committer = committer
        self._failed = failed
        # Completions under way in this process: a second request for one waits for the first.
        self._completing: dict[str, asyncio.Task[None]] = {}

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

    async def complete(self, upload: Upload) -> None:
        """Turn a full upload into a clip. Again and again is as good as once.

        Returns after `PATIENCE_S` when it takes longer, and goes on: the status tells.

        Raises `CorruptError` when stored bytes are not what was acknowledged (they are forgotten
        from that part on), `ConflictError` when they are lost, `InputError` when they are not
        the clip that was named.
        """
        if upload.kind in (PARTIAL, SPAN) or upload.state == COMMITTED:
            return
        task = self._completing.get(upload.upload_id)
        if task is None:
            task = asyncio.create_task(self._complete(upload))
            self._completing[upload.upload_id] = task
            task.add_done_callback(lambda done: self._completed(upload, done))
        # A client that goes away does not end what others wait for.
        await asyncio.wait({task}, timeout=PATIENCE_S)
        if task.done():
            task.result()

    async def close(self) -> None:
        """Let what is under way end, or end it: another replica takes it up."""
        tasks = set(self._completing.values())
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in left:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep(self) -> None:
        """Complete what is full and forget bytes of uploads that are over: after a crash.

        What one upload meets keeps no other from being swept.
        """
        for upload in await self._book.full():
            try:
                await self.complete(upload)
            except (LongtailError, SQLAlchemyError) as error:
                _log.warning("could not complete", upload_id=upload.upload_id, error=str(error))
                self._failed(LOOP)
            except Exception:  # noqa: BLE001 - one upload's trouble is not the others'
                _log.exception("could not complete", upload_id=upload.upload_id)
                self._failed(LOOP)
        found = await asyncio.to_thread(self._parts.remains)
        # Asked after the listing: what is held for an upload that begins now is not in it.
        live = await self._book.live_owners(
            {remains.owner for remains in found if remains.kind == "upload"},
            {remains.owner for remains in found if remains.kind == "clip"},
        )
        for remains in found:
            if remains.owner in live:
                continue
            try:
                await asyncio.to_thread(self._parts.clear, remains)
            except LongtailError as error:
                _log.warning("could not clear", what=remains.name, error=str(error))

    async def partial(self, vehicle_id: str, upload_id: str) -> Upload:
        """A partial upload that can be joined. Raises `InputError`, `AbsentError`."""
        upload = await self.find(vehicle_id, upload_id)
        if upload.kind != PARTIAL:
            raise InputError(f"{upload_id} is no partial upload", "Upload-Concat")
        if upload.state == COMMITTED:
            raise GoneError(f"{upload_id} is part of another upload by now", "Upload-Concat")
        if not upload.is_full:
            raise InputError(f"{upload_id} is not finished", "Upload-Concat")
        return upload

    async def reconcile(self, upload: Upload) -> int:
        """The offset, moved back to what the store really holds."""
        place = upload.where
        if place is None:
            return upload.stored_bytes
        pieces = upload.in_clip(await self._pieces.pieces(upload.upload_id))
        end = await asyncio.to_thread(self._parts.held_bytes, place, pieces)
        held = max(0, end - upload.first_byte)
        if held >= upload.stored_bytes:
            return upload.stored_bytes
        _log.warning("the store has lost bytes", upload_id=upload.upload_id, held_bytes=held)
        if held == 0 and upload.kind != SPAN:
            await self._pieces.unsettle(place)
        else:
            await self._pieces.cut(upload.upload_id, upload.stored_bytes, held)
        return held

    async def abort(self, upload: Upload) -> None:
        """Forget the bytes of an upload."""
        if upload.where is not None:
            await asyncio.to_thread(self._parts.abort, upload.where)

    async def _complete(self, upload: Upload) -> None:
        present = await self._book.find(upload.vehicle_id, upload.upload_id)
        if present is None or present.state != OPEN:
            return
        if present.kind == FINAL and not present.is_full:
            present = await self._fill(present)
            if present.state != OPEN:
                return
        place = present.where
        if place is None or not present.is_full:
            raise ConflictError(f"the upload is at {present.stored_bytes}", "Upload-Offset")
        pieces = await self._pieces.pieces(present.upload_id)
        clip_id = clip_id_of(whole_parts(pieces))
        if present.clip_id is not None and clip_id != present.clip_id:
            reason = f"the bytes are clip {clip_id}, not {present.clip_id} as was said"
            await self._book.refuse(present.upload_id, reason)
            await self.abort(present)
            raise InputError(reason, "clip_id")
        if present.clip_id is None and not await self._book.identify(present.upload_id, clip_id):
            # Nothing is published that nobody would know of after a crash.
            raise GoneError("this upload was ended while it was being completed")
        try:
            await self._parts.complete(place, pieces, clip_id)
        except DamagedPieceError as error:
            await self._pieces.cut(present.upload_id, present.stored_bytes, error.start_bytes)
            raise
        except LostPiecesError:
            again = await self._book.find(present.vehicle_id, present.upload_id)
            if again is None or again.state == COMMITTED:
                return  # another replica was faster, and has cleared up
            await self.reconcile(present)
            raise
        await self._committer.commit(present, clip_id)
        await asyncio.to_thread(self._parts.abort, place, is_complete=True)
        for partial_id in present.joined:
            partial = await self._book.find(present.vehicle_id, partial_id)
            if partial is not None:
                await self.abort(partial)

    def _completed(self, upload: Upload, task: asyncio.Task[None]) -> None:
        self._completing.pop(upload.upload_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever waits is told; when nobody does any more, the log is.
            _log.info("not completed", upload_id=upload.upload_id, error=str(error))

    async def _fill(self, final: Upload) -> Upload:
        """Copy the bytes of partial uploads into parts of their final one, and read it again.

        Another replica may be at it too: both copy the same bytes, and each goes on from
        wherever the row is. When the other commits, the partial uploads are over, and so is this.
        """
        while not final.is_full:
            shelf = Shelf(self._parts, self._pieces, final)
            writer = BodyWriter(shelf.put, final.length_bytes, final.stored_bytes)
            failed: LongtailError | None = None
            try:
                body = Body(final.stored_bytes, None, None)
                await writer.write(self._bytes_of(final), body)
            except LongtailError as error:
                failed = error
            found = await self._book.find(final.vehicle_id, final.upload_id)
            if found is None:
                raise ConflictError("this upload has been terminated", "Upload-Concat")
            if found.state != OPEN:
                return found
            has_moved = found.stored_bytes > final.stored_bytes
            if failed is not None and not (has_moved and isinstance(failed, ConflictError)):
                raise failed
            final = found
        return final

    async def _bytes_of(self, final: Upload) -> AsyncIterator[bytes]:
        """The bytes of a final upload's partial ones, from where it is."""
        skipped = final.stored_bytes
        for partial_id in final.joined:
            partial = await self.partial(final.vehicle_id, partial_id)
            if skipped >= partial.length_bytes:
                skipped -= partial.length_bytes
                continue
            if partial.where is None:
                raise ConflictError(f"{partial_id} holds nothing", "Upload-Concat")
            pieces = await self._pieces.pieces(partial_id)
            views = self._parts.read(partial.where, pieces, skipped)
            skipped = 0
            try:
                while (view := await asyncio.to_thread(next, views, None)) is not None:
                    yield bytes(view)
            except LostPiecesError:
                await self._pieces.unsettle(partial.where)
                raise
