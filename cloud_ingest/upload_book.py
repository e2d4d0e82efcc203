"""Declared and unfinished uploads, and what each vehicle has delivered, in the database.

Every look-up names the vehicle, so that nobody reaches or learns of another's uploads. How an
upload comes on is in `piece_book`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import among, for_single_reads, to_ns, to_time
from cloud_ingest.ended import end_uploads
from cloud_ingest.ports import Piece, Place
from cloud_ingest.pressure import Value
from cloud_ingest.problems import BusyError
from cloud_ingest.schema import (
    FINAL,
    OPEN,
    PARTIAL,
    REFUSED,
    SPAN,
    WHOLE,
    clip_identity,
    deliveries,
    uploads,
)
from cloud_ingest.steps_schema import clip_storage
from cloud_ingest.vehicle_day import VehicleDay
from contracts.clock import NS_PER_S, Clock
from contracts.upload import UploadRequest


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload session as it was when it was read.

    `digests` holds 32 bytes a part, or None when undeclared. `joined` names the partial uploads
    of a final one. `stored_bytes` is the offset, `place` the part store's name of where. A *span*
    is a run of whole parts of the declared upload `parent_id`, from its `first_byte` on; it has
    its own offset, from 0, and its bytes lie at the parent's place.
    """

    upload_id: str
    vehicle_id: str
    length_bytes: int
    clip_id: str | None
    digests: bytes | None
    metadata_header: str | None
    state: str
    reason: str | None
    expires_utc_ns: int
    kind: str = WHOLE
    joined: tuple[str, ...] = ()
    stored_bytes: int = 0
    place: str | None = None
    value: Value = "ordinary"
    parent_id: str | None = None
    first_byte: int = 0

    @property
    def is_full(self) -> bool:
        return self.stored_bytes == self.length_bytes

    @property
    def where(self) -> Place | None:
        return None if self.place is None else Place(self.parent_id or self.upload_id, self.place)

    def in_clip(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Pieces of this upload, where they lie in the clip."""
        first = self.first_byte
        return [replace(piece, start_bytes=first + piece.start_bytes) for piece in pieces]

    def digest_of(self, index: int) -> bytes | None:
        """Declared digest of part `index`."""
        return None if self.digests is None else self.digests[32 * index : 32 * index + 32]


# Made once: each PATCH asks, and making a statement costs as much as running it.
_OF_VEHICLE = sa.select(uploads).where(uploads.c.vehicle_id == sa.bindparam("vehicle"))
_FIND = _OF_VEHICLE.where(uploads.c.upload_id == sa.bindparam("upload"))
_OPEN_DECLARED = _OF_VEHICLE.where(
    uploads.c.clip_id == sa.bindparam("clip"),
    uploads.c.state == OPEN,
    uploads.c.part_digests.is_not(None),
)


class UploadBook:
    """Rows of uploads and deliveries."""

    def __init__(
        self, engine: AsyncEngine, clock: Clock, expiry_s: int, max_open_uploads: int,
        day: VehicleDay,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._reads = for_single_reads(engine)
        self._clock = clock
        self._expiry_ns = expiry_s * NS_PER_S
        self._max_open_uploads = max_open_uploads
        self._day = day

    async def declare(self, vehicle_id: str, request: UploadRequest) -> Upload:
        """An upload of this clip, which had none; another request may have made it meanwhile.

        Raises `BusyError` where the vehicle's day has no room; matters of safety need none.
        """
        row = self._row(vehicle_id, request.size_bytes) | {
            "clip_id": request.clip_id,
            "part_digests": b"".join(map(bytes.fromhex, request.part_digests)),
            "declaration": request.model_dump(mode="json", exclude={"part_digests"}),
        }
        made = await self._insert(row, counts=not request.safety)
        found = made or await self.open_declared(vehicle_id, request.clip_id)
        # Another request made and finished it in between; the caller asks again.
        if found is None:
            raise BusyError("this clip is being delivered right now", retry_after_s=1)
        return found

    async def create(
        self,
        vehicle_id: str,
        length_bytes: int,
        clip_id: str | None,
        metadata_header: str | None,
        kind: str = WHOLE,
    ) -> Upload:
        """A new undeclared upload, as stock tus clients make.

        Raises `BusyError` where the vehicle's day has no room.
        """
        row = self._row(vehicle_id, length_bytes) | {
            "clip_id": clip_id,
            "metadata_header": metadata_header,
            "kind": kind,
        }
        made = await self._insert(row)
        if made is None:
            raise BusyError("this upload exists", retry_after_s=1)
        return made

    async def find(self, vehicle_id: str, upload_id: str) -> Upload | None:
        return await self._one(_FIND, vehicle=vehicle_id, upload=upload_id)

    async def open_declared(self, vehicle_id: str, clip_id: str) -> Upload | None:
        return await self._one(_OPEN_DECLARED, vehicle=vehicle_id, clip=clip_id)

    async def join(
        self,
        vehicle_id: str,
        upload_id: str,
        partials: Sequence[Upload],
        clip_id: str | None,
        metadata_header: str | None,
    ) -> Upload:
        """The final upload of these partial ones, made when there is none."""
        row = self._row(vehicle_id, sum(partial.length_bytes for partial in partials)) | {
            "upload_id": upload_id,
            "kind": FINAL,
            "joined": [partial.upload_id for partial in partials],
            "clip_id": clip_id,
            "metadata_header": metadata_header,
        }
        made = await self._insert(row, counts=False)  # its parts have been counted
        found = made or await self.find(vehicle_id, upload_id)
        if found is None:
            raise BusyError("this upload is being ended right now", retry_after_s=1)
        return found

    async def full(self) -> list[Upload]:
        """Open uploads that hold all of their bytes and await their completion."""
        query = sa.select(uploads).where(
            uploads.c.state == OPEN,
            uploads.c.kind.not_in((PARTIAL, SPAN)),
            sa.or_(uploads.c.stored_bytes == uploads.c.length_bytes, uploads.c.kind == FINAL),
        )
        async with self._reads.connect() as connection:
            return [_upload(row) for row in await connection.execute(query)]

    async def live_owners(self, upload_ids: set[str], clip_ids: set[str]) -> set[str]:
        """Which of these uploads are open; which of these clips have an open upload, or are on
        their way between the tiers: both write at a clip's key."""
        query = sa.select(uploads.c.upload_id, uploads.c.clip_id).where(
            uploads.c.state == OPEN,
            sa.or_(among(uploads.c.upload_id, upload_ids), among(uploads.c.clip_id, clip_ids)),
        )
        moving = sa.select(clip_storage.c.clip_id).where(
            clip_storage.c.wanted.is_not(None), among(clip_storage.c.clip_id, clip_ids)
        )
        async with self._reads.connect() as connection:
            # Moves last: one that ends meanwhile has nothing unfinished any more.
            rows = (await connection.execute(query)).all()
            moved = (await connection.execute(moving)).scalars().all()
        open_clips = {row.clip_id for row in rows if row.clip_id}
        return {row.upload_id for row in rows} | open_clips | set(moved)

    async def identify(self, upload_id: str, clip_id: str) -> bool:
        """Record which clip an undeclared upload has turned out to be; whether it is still open."""
        return await self._change(upload_id, clip_id=clip_id)

    async def delivered_bytes(self, vehicle_id: str, clip_id: str) -> int | None:
        """Size of a clip that this vehicle has delivered; None when it has not."""
        query = (
            sa.select(clip_identity.c.size_bytes)
            .join(deliveries, deliveries.c.clip_id == clip_identity.c.clip_id)
            .where(deliveries.c.vehicle_id == vehicle_id, deliveries.c.clip_id == clip_id)
        )
        async with self._reads.connect() as connection:
            size: int | None = (await connection.execute(query)).scalar_one_or_none()
        return size

    async def refuse(self, upload_id: str, reason: str) -> None:
        """Record that this upload can never become a clip."""
        await self._change(upload_id, state=REFUSED, reason=reason)

    async def keep_alive(self, upload: Upload) -> None:
        """Put off the expiry of an upload in use, at most once in half of its lifetime."""
        now_ns = self._clock.utc_ns()
        if upload.expires_utc_ns - now_ns < self._expiry_ns // 2:
            expires_utc = to_time(now_ns + self._expiry_ns)
            await self._change(upload.upload_id, expires_utc=expires_utc)
            if upload.parent_id is not None:
                await self._change(upload.parent_id, expires_utc=expires_utc)

    async def remove(self, upload_id: str) -> None:
        async with self._engine.begin() as connection:
            which = uploads.c.upload_id == upload_id
            await end_uploads(connection, which, self._clock.utc_ns())

    def has_expired(self, upload: Upload) -> bool:
        return upload.expires_utc_ns <= self._clock.utc_ns()

    def _row(self, vehicle_id: str, length_bytes: int) -> dict[str, Any]:
        now_ns = self._clock.utc_ns()
        return {
            "upload_id": secrets.token_hex(16),
            "vehicle_id": vehicle_id,
            "length_bytes": length_bytes,
            "created_utc": to_time(now_ns),
            "expires_utc": to_time(now_ns + self._expiry_ns),
        }

    async def _insert(self, row: dict[str, Any], *, counts: bool = True) -> Upload | None:
        """None when the vehicle has an open upload of this clip already. `counts`: the vehicle's
        day needs room for it.
        """
        count = sa.select(sa.func.count()).where(
            uploads.c.vehicle_id == row["vehicle_id"], uploads.c.state == OPEN
        )
        statement = insert(uploads).values(row).on_conflict_do_nothing().returning(uploads)
        async with self._engine.begin() as connection:
            await self._day.count_alone(connection, row["vehicle_id"])
            if (await connection.execute(count)).scalar_one() >= self._max_open_uploads:
                raise BusyError(
                    f"{self._max_open_uploads} uploads of this vehicle are open; finish one first",
                    retry_after_s=60,
                )
            made = (await connection.execute(statement)).one_or_none()
            if made is not None and counts:
                await self._day.check(connection, row["vehicle_id"])
        return None if made is None else _upload(made)

    async def _one(self, query: sa.Select[Any], **words: str) -> Upload | None:
        async with self._reads.connect() as connection:
            row = (await connection.execute(query, words)).one_or_none()
        return None if row is None else _upload(row)

    async def _change(self, upload_id: str, **values: object) -> bool:
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                sa.update(uploads)
                .where(uploads.c.upload_id == upload_id, uploads.c.state == OPEN)
                .values(**values)
            )
        return changed.rowcount == 1


def value_of(safety: bool = False, stream: str = "triggered", **_: object) -> Value:
    """Who waits first: by what a declaration says."""
    if safety:
        return "safety"
    return "random" if stream == "random" else "ordinary"


def _upload(row: Any) -> Upload:
    return Upload(
        upload_id=row.upload_id,
        vehicle_id=row.vehicle_id,
        length_bytes=row.length_bytes,
        clip_id=row.clip_id,
        digests=None if row.part_digests is None else bytes(row.part_digests),
        metadata_header=row.metadata_header,
        state=row.state,
        reason=row.reason,
        expires_utc_ns=to_ns(row.expires_utc),
        kind=row.kind,
        joined=tuple(row.joined or ()),
        stored_bytes=row.stored_bytes,
        place=row.place,
        value=value_of(**(row.declaration or {})),
        parent_id=row.parent_id,
        first_byte=row.first_byte,
    )
