"""Spans: runs of whole parts of one declared upload, sent side by side over several connections.

A long thin link carries several connections faster than one. To a client a span is a partial
upload of tus; here it is a row with an offset of its own, whose parts go to the very place of the
upload that it belongs to. So joining spans moves rows, not bytes.

Guarantees: the span that begins at a byte is one row, whoever asks and however often, so a vehicle
that has lost its memory finds what it had sent; spans are joined in one transaction, when together
they hold every byte once; bytes that came to the declared upload itself meanwhile are then named no
more, and were the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.problems import AbsentError, BusyError
from cloud_ingest.receiver_schema import upload_pieces
from cloud_ingest.schema import OPEN, SPAN, uploads
from cloud_ingest.upload_book import Upload
from contracts.errors import ConflictError, InputError
from contracts.ids import PART_BYTES


class SpanBook:
    """Rows of spans.

    Args:
        most: how many spans a clip may have.
    """

    def __init__(self, engine: AsyncEngine, most: int) -> None:
        self._engine = engine
        self.most = most

    async def open(self, parent: Upload, place: str, first_byte: int, length_bytes: int) -> str:
        """The id of the span of `length_bytes` from `first_byte` on, made when there is none.

        Raises `InputError` when that is no run of whole parts of the clip, or cuts another span;
        `BusyError` when the clip has been completed, or the store has lost it, just now.
        """
        check_span(parent, first_byte, length_bytes)
        async with self._engine.begin() as connection:
            present = await _locked(connection, parent.upload_id)
            if present is None or present.place != place:
                raise BusyError("this clip's upload has just changed", retry_after_s=1)
            await connection.execute(_lost(parent.upload_id, place))
            spans = await _spans_of(connection, parent.upload_id)
            for span in spans:
                if (span.first_byte, span.length_bytes) == (first_byte, length_bytes):
                    found: str = span.upload_id
                    return found
                if span.first_byte < first_byte + length_bytes and first_byte < _end(span):
                    raise InputError(
                        f"bytes {span.first_byte} to {_end(span)} are another span", "start_bytes"
                    )
            if len(spans) >= self.most:
                raise InputError(f"a clip has at most {self.most} spans", "start_bytes")
            return await _insert(connection, parent.upload_id, place, first_byte, length_bytes)

    async def join(self, vehicle_id: str, span_ids: Sequence[str]) -> str:
        """Make full spans what their upload consists of; returns that upload's id.

        Raises `AbsentError` where one is not there (any more: they end when they are joined),
        `InputError` when they are not full, or not all of one clip in its order.
        """
        async with self._engine.begin() as connection:
            parent_id = await _parent_of(connection, vehicle_id, span_ids)
            parent = await _locked(connection, parent_id)
            if parent is None:
                raise AbsentError("no such upload of this vehicle")
            spans = {span.upload_id: span for span in await _spans_of(connection, parent_id)}
            at_bytes = 0
            for span_id in span_ids:
                span = spans.get(span_id)
                if span is None:
                    raise AbsentError(f"{span_id} is no span of this clip")
                if span.first_byte != at_bytes:
                    raise InputError(f"the span at byte {at_bytes} is missing", "Upload-Concat")
                if span.stored_bytes != span.length_bytes:
                    raise InputError(f"{span_id} is not finished", "Upload-Concat")
                if span.place != parent.place:
                    raise ConflictError("the store has lost this upload", "Upload-Concat")
                at_bytes = _end(span)
            if at_bytes != parent.length_bytes:
                raise InputError(f"the span at byte {at_bytes} is missing", "Upload-Concat")
            await _move(connection, parent_id, parent.length_bytes, list(spans.values()))
        return parent_id


def check_span(parent: Upload, first_byte: int, length_bytes: int) -> None:
    """Whether this is a run of whole parts of the clip. Raises `InputError`."""
    end = first_byte + length_bytes
    if parent.digests is None or first_byte % PART_BYTES or end > parent.length_bytes:
        raise InputError("a span begins with a part and ends within its clip", "start_bytes")
    if end != parent.length_bytes and end % PART_BYTES:
        raise InputError("a span ends where a part does", "Upload-Length")


async def _locked(connection: AsyncConnection, upload_id: str) -> Any:
    """The open upload's row, which nobody else changes until the transaction ends."""
    query = (
        sa.select(uploads.c.place, uploads.c.length_bytes)
        .where(uploads.c.upload_id == upload_id, uploads.c.state == OPEN)
        .with_for_update()
    )
    return (await connection.execute(query)).one_or_none()


async def _spans_of(connection: AsyncConnection, parent_id: str) -> Sequence[Any]:
    query = (
        sa.select(uploads)
        .where(uploads.c.parent_id == parent_id)
        .order_by(uploads.c.first_byte)
        .with_for_update()
    )
    return (await connection.execute(query)).all()


def _lost(parent_id: str, place: str) -> sa.Delete:
    """Spans whose bytes went to a place that the store has lost since."""
    return sa.delete(uploads).where(uploads.c.parent_id == parent_id, uploads.c.place != place)


async def _parent_of(connection: AsyncConnection, vehicle_id: str, span_ids: Sequence[str]) -> str:
    query = sa.select(uploads.c.parent_id).where(
        uploads.c.upload_id == span_ids[0],
        uploads.c.vehicle_id == vehicle_id,
        uploads.c.kind == SPAN,
    )
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    if found is None:
        raise AbsentError(f"{span_ids[0]} is no span of this vehicle")
    return found


async def _insert(
    connection: AsyncConnection, parent_id: str, place: str, first_byte: int, length_bytes: int
) -> str:
    """Copies from its upload what the two have in common."""
    span_id = secrets.token_hex(16)
    parent = uploads.alias("parent")
    first_digest = 32 * (first_byte // PART_BYTES) + 1
    digests = 32 * (-(-length_bytes // PART_BYTES))
    values: dict[str, Any] = {
        "upload_id": sa.literal(span_id),
        "vehicle_id": parent.c.vehicle_id,
        "length_bytes": sa.literal(length_bytes, sa.BigInteger),
        "part_digests": sa.func.substring(parent.c.part_digests, first_digest, digests),
        "declaration": parent.c.declaration,
        "created_utc": parent.c.created_utc,
        "expires_utc": parent.c.expires_utc,
        "kind": sa.literal(SPAN),
        "place": sa.literal(place),
        "parent_id": parent.c.upload_id,
        "first_byte": sa.literal(first_byte, sa.BigInteger),
    }
    await connection.execute(
        insert(uploads).from_select(
            list(values), sa.select(*values.values()).where(parent.c.upload_id == parent_id)
        )
    )
    return span_id


async def _move(
    connection: AsyncConnection, parent_id: str, length_bytes: int, spans: Sequence[Any]
) -> None:
    await connection.execute(sa.delete(upload_pieces).where(upload_pieces.c.upload_id == parent_id))
    for span in spans:
        await connection.execute(
            sa.update(upload_pieces)
            .where(upload_pieces.c.upload_id == span.upload_id)
            .values(upload_id=parent_id, start_bytes=upload_pieces.c.start_bytes + span.first_byte)
        )
    await connection.execute(sa.delete(uploads).where(uploads.c.parent_id == parent_id))
    await connection.execute(
        sa.update(uploads).where(uploads.c.upload_id == parent_id).values(stored_bytes=length_bytes)
    )


def _end(span: Any) -> int:
    end: int = span.first_byte + span.length_bytes
    return end
