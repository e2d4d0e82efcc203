"""The commit: a verified upload becomes an object and a row, together and once.

Order: the part store makes the object first, under its content address; then one transaction
writes identity, clip row, embedding, outbox entry, delivery and the upload's end. A crash
between the two leaves an object without a row and an upload that is full, which the next
request or sweep completes again.
Racing commits meet at the identity row: the second waits for the first, and finds it done. An
upload that was ended meanwhile (by its vehicle, or by the vehicle's erasure) becomes no clip, and
its object goes unless it is somebody else's too; where a crash comes first, by `ended`.

Rows are locked in one order here and in `erasure`: uploads (`hold_uploads`), identity, clip.

Decisions that lose nothing:
- A clip that another vehicle has delivered before stays one clip. When that one was set aside
  and this sender is whom the manifest names, the row becomes this vehicle's.
- A second clip of an event that is catalogued already (the vehicle packed it twice with
  different software, say) is stored and *quarantined* with the other's id as the reason. A
  refusal would have the vehicle send it for ever, or lose it.
- A store that fails while the manifest is read says nothing of the clip: nothing is written, and
  the completion is tried again. What was set aside can be read again (`read_again`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.clip_row import Reading, bare, clip_row, quarantined
from cloud_ingest.database import to_ns, to_time
from cloud_ingest.ended import note_ended
from cloud_ingest.ports import ManifestReader, ObjectStore
from cloud_ingest.problems import GoneError
from cloud_ingest.schema import (
    COMMITTED,
    QUARANTINED,
    READY,
    REFUSED,
    clip_identity,
    clips,
    deliveries,
    embeddings,
    outbox,
    uploads,
)
from cloud_ingest.upload_book import Upload
from contracts.clip import ClipManifest
from contracts.clock import Clock
from contracts.errors import CorruptError, ExhaustedError, InputError, TransientError

COMMITTED_TOPIC = "clip.committed"
ERASED = "this clip was erased, and does not come back"
ENDED = "this upload was ended while it was being completed"
_log = structlog.get_logger(__name__)


def read_quietly(reader: ManifestReader, source: Path | IO[bytes]) -> Reading:
    """The manifest, or why there is none. Blocks.

    Raises `TransientError` or `ExhaustedError` when the store has failed, and not the clip.
    """
    try:
        return Reading(reader(source))
    except (CorruptError, InputError) as error:
        return Reading(None, f"cannot be read: {error.message}")
    except (TransientError, ExhaustedError):
        raise
    except OSError as error:
        raise _store_failed(error) from error
    except Exception as error:  # noqa: BLE001 - hostile bytes must not keep a clip from arriving
        _log.exception("the manifest reader failed")
        return Reading(None, f"cannot be read: {type(error).__name__}")


class Committer:
    """Writes clips into store and catalog."""

    def __init__(
        self,
        engine: AsyncEngine,
        objects: ObjectStore,
        reader: ManifestReader,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._objects = objects
        self._reader = reader
        self._clock = clock

    async def commit(self, upload: Upload, clip_id: str) -> None:
        """Write the rows of an upload whose object, verified to be `clip_id`, is there."""
        reading = await asyncio.to_thread(self._read, clip_id)
        now_ns = self._clock.utc_ns()
        row = clip_row(clip_id, upload.length_bytes, upload.vehicle_id, now_ns, reading)
        async with self._engine.begin() as connection:
            refusal = await self._write(connection, upload, row, reading.manifest)
        if refusal == ENDED:
            await self._forget_object(row)
        elif refusal is not None:
            await self._objects.remove(clip_id)
        if refusal is not None:
            raise GoneError(refusal)
        _log.info("committed", clip_id=clip_id, vehicle_id=upload.vehicle_id, state=row["state"])

    async def read_again(self, clip_id: str) -> None:
        """Catalogue a clip that was set aside by what it says now, where that is better.

        Nothing to do for any other clip. Raises `TransientError` when the store fails.
        """
        columns = (clips.c.vehicle_id, clips.c.size_bytes, clips.c.received_utc)
        aside = clips.c.state == QUARANTINED
        query = sa.select(*columns).where(clips.c.clip_id == clip_id, aside)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None:
            return
        reading = await asyncio.to_thread(self._read, clip_id)
        received_ns = to_ns(found.received_utc)
        row = clip_row(clip_id, found.size_bytes, found.vehicle_id, received_ns, reading)
        identity = sa.select(clip_identity.c.erased_utc).where(clip_identity.c.clip_id == clip_id)
        async with self._engine.begin() as connection:
            erased = (await connection.execute(identity.with_for_update())).scalar_one()
            if erased is None and row["state"] == READY:
                await self._write_clip(connection, row, reading.manifest)
        _log.info("read again", clip_id=clip_id, state=row["state"])

    def _read(self, clip_id: str) -> Reading:
        try:
            with self._objects.open(clip_id) as stream:
                return read_quietly(self._reader, stream)
        except OSError as error:
            raise _store_failed(error) from error

    async def _write(
        self,
        connection: AsyncConnection,
        upload: Upload,
        row: dict[str, Any],
        manifest: ClipManifest | None,
    ) -> str | None:
        """Why nothing of the clip is written: its upload was ended, or the clip erased."""
        own = sa.or_(
            uploads.c.upload_id.in_([upload.upload_id, *upload.joined]),
            uploads.c.parent_id == upload.upload_id,
        )
        if upload.upload_id not in await hold_uploads(connection, own):
            return ENDED
        identity = {name: row[name] for name in ("clip_id", "size_bytes", "received_utc")}
        delivery = {
            "vehicle_id": upload.vehicle_id,
            "clip_id": row["clip_id"],
            "received_utc": row["received_utc"],
        }
        held = await _hold_identity(connection, identity)
        if held.erased_utc is not None:
            await connection.execute(
                sa.update(uploads)
                .where(uploads.c.upload_id == upload.upload_id)
                .values(state=REFUSED, reason=ERASED)
            )
            await note_ended(connection, row["clip_id"], self._clock.utc_ns())
            return ERASED
        if not held.is_new and await self._is_lost(connection, row["clip_id"]):
            raise TransientError("the object has gone with another upload of the clip")
        await self._write_clip(connection, row, manifest)
        await connection.execute(insert(deliveries).values(delivery).on_conflict_do_nothing())
        # Partial uploads end with the one that they are joined to.
        ended = (upload.upload_id, *upload.joined)
        await connection.execute(
            sa.update(uploads)
            .where(uploads.c.upload_id.in_(ended))
            .values(state=COMMITTED, clip_id=row["clip_id"])
        )
        # So do spans that the whole clip has overtaken: their bytes went to the same place.
        await connection.execute(sa.delete(uploads).where(uploads.c.parent_id == upload.upload_id))
        return None

    async def _forget_object(self, row: dict[str, Any]) -> None:
        """Remove the object of an upload that was ended, unless it has become a clip by another.

        The identity stays without a clip: who commits this clip next looks whether its object is
        still there (`_is_lost`).
        """
        identity = {name: row[name] for name in ("clip_id", "size_bytes", "received_utc")}
        async with self._engine.begin() as connection:
            await _hold_identity(connection, identity)
            if not await _is_catalogued(connection, row["clip_id"]):
                await self._objects.remove(row["clip_id"])

    async def _is_lost(self, connection: AsyncConnection, clip_id: str) -> bool:
        """Whether an identity has neither clip nor object."""
        if await _is_catalogued(connection, clip_id):
            return False
        return await self._objects.size_bytes(clip_id) is None

    async def _write_clip(
        self, connection: AsyncConnection, row: dict[str, Any], manifest: ClipManifest | None
    ) -> None:
        present = (
            await connection.execute(
                sa.select(clips.c.state).where(clips.c.clip_id == row["clip_id"]).with_for_update()
            )
        ).one_or_none()
        if present is not None and (present.state == READY or row["state"] != READY):
            return
        row = await self._insert(connection, row)
        if manifest is not None and manifest.embedding is not None and row["state"] == READY:
            await self._write_embedding(connection, row["clip_id"], manifest)
        await connection.execute(
            sa.insert(outbox).values(
                topic=COMMITTED_TOPIC,
                clip_id=row["clip_id"],
                payload={"vehicle_id": row["vehicle_id"], "state": row["state"]},
                created_utc=to_time(self._clock.utc_ns()),
            )
        )

    async def _insert(self, connection: AsyncConnection, row: dict[str, Any]) -> dict[str, Any]:
        """Write the row, set aside when the catalog cannot take it as it is."""
        try:
            await _upsert(connection, row)
        except IntegrityError:
            other = await self._clip_of_event(connection, row)
            row = quarantined(row, f"this event is catalogued already, as clip {other}")
            await _upsert(connection, row)
        except (DataError, UnicodeError, OverflowError) as error:
            row = bare(row, f"the manifest cannot be catalogued: {type(error).__name__}")
            await _upsert(connection, row)
        return row

    async def _clip_of_event(self, connection: AsyncConnection, row: dict[str, Any]) -> str | None:
        query = sa.select(clips.c.clip_id).where(
            clips.c.vehicle_id == row["vehicle_id"],
            clips.c.event_key == row["event_key"],
            clips.c.state == READY,
        )
        return (await connection.execute(query)).scalar_one_or_none()

    async def _write_embedding(
        self, connection: AsyncConnection, clip_id: str, manifest: ClipManifest
    ) -> None:
        embedding = manifest.embedding
        if embedding is None or not 1 <= len(embedding.vector) <= 16_000:
            return
        row = {
            "clip_id": clip_id,
            "model_digest": embedding.model_digest,
            "vector": list(embedding.vector),
        }
        try:
            async with connection.begin_nested():
                await connection.execute(insert(embeddings).values(row).on_conflict_do_nothing())
        except DataError:
            # Values beyond single precision. The clip is good without; its manifest keeps them.
            _log.warning("an embedding cannot be indexed", clip_id=clip_id)


async def hold_uploads(connection: AsyncConnection, which: sa.ColumnElement[bool]) -> set[str]:
    """Lock these uploads' rows till the transaction ends; the ids of those that are there.

    Always in one order, spans behind what they belong to, so that two that do it never lock up.
    """
    query = (
        sa.select(uploads.c.upload_id)
        .where(which)
        .order_by(uploads.c.parent_id.is_not(None), uploads.c.upload_id)
        .with_for_update()
    )
    return set((await connection.execute(query)).scalars())


async def _hold_identity(connection: AsyncConnection, identity: dict[str, Any]) -> sa.Row[Any]:
    """The identity's row, made when there is none: `erased_utc`, and whether it `is_new`.

    Here racing commits of one clip wait for each other, and for an erasure of it.
    """
    mine = insert(clip_identity).values(identity)
    held = await connection.execute(
        mine.on_conflict_do_update(
            index_elements=[clip_identity.c.clip_id],
            set_={"size_bytes": mine.excluded.size_bytes},
        ).returning(clip_identity.c.erased_utc, sa.text("clip_identity.xmax = 0 AS is_new"))
    )
    return held.one()


async def _is_catalogued(connection: AsyncConnection, clip_id: str) -> bool:
    query = sa.select(sa.exists().where(clips.c.clip_id == clip_id))
    return bool((await connection.execute(query)).scalar_one())


def _store_failed(error: OSError) -> TransientError:
    return TransientError(f"the object store failed: {error.strerror or type(error).__name__}")


async def _upsert(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert in a savepoint; a row that was set aside before gives way."""
    statement = insert(clips).values(row)
    async with connection.begin_nested():
        await connection.execute(
            statement.on_conflict_do_update(index_elements=[clips.c.clip_id], set_=row)
        )
