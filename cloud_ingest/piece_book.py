"""How far each upload has come: the row that decides when several replicas take its bytes.

Guarantees, with no lock but a row's and no memory between requests:
- The offset moves by a compare-and-swap on the upload's row, in the statement that names the
  new piece, and only after the store has acknowledged the bytes. Of two replicas that take
  bytes at one offset one moves it; the other's bytes are named nowhere, so they count nowhere.
- Pieces never overlap and leave no gap. What a clip consists of is what the rows name, whatever
  else a store holds.
- Nothing moves on an upload that has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import for_single_reads
from cloud_ingest.ports import Piece, Place
from cloud_ingest.receiver_schema import upload_pieces
from cloud_ingest.schema import OPEN, uploads
from contracts.errors import ConflictError

_COLUMNS = [
    upload_pieces.c.upload_id,
    upload_pieces.c.start_bytes,
    upload_pieces.c.length_bytes,
    upload_pieces.c.sha256,
    upload_pieces.c.token,
]


class PieceBook:
    """Rows of acknowledged pieces."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._single = for_single_reads(engine)

    async def pieces(self, upload_id: str, from_bytes: int = 0) -> list[Piece]:
        """Pieces in order, from the one that starts at `from_bytes`."""
        query = (
            sa.select(upload_pieces)
            .where(
                upload_pieces.c.upload_id == upload_id, upload_pieces.c.start_bytes >= from_bytes
            )
            .order_by(upload_pieces.c.start_bytes)
        )
        async with self._single.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [_piece(row) for row in rows]

    async def settle(self, upload_id: str, name: str) -> str:
        """Take `name` as the upload's place unless it has one; returns the one it has.

        Raises `ConflictError` when the upload has ended.
        """
        change = (
            sa.update(uploads)
            .where(uploads.c.upload_id == upload_id, uploads.c.state == OPEN)
            .values(place=sa.func.coalesce(uploads.c.place, name))
            .returning(uploads.c.place)
        )
        async with self._single.connect() as connection:
            place: str | None = (await connection.execute(change)).scalar_one_or_none()
        if place is None:
            raise _moved()
        return place

    async def append(self, upload_id: str, place: Place, at_bytes: int, piece: Piece) -> None:
        """Move an upload's offset from `at_bytes` to the end of `piece`, which lies at `place`.

        A piece that starts before `at_bytes` takes the place of those from its start on. Raises
        `ConflictError` when offset or place is another by now.
        """
        if piece.start_bytes < at_bytes:
            moved = (
                _move(upload_id, at_bytes, piece.end_bytes)
                .where(uploads.c.place == place.name)
                .returning(uploads.c.upload_id)
            )
            async with self._engine.begin() as connection:
                if (await connection.execute(moved)).one_or_none() is None:
                    raise _moved()
                await connection.execute(_forget(upload_id, piece.start_bytes))
                await connection.execute(sa.insert(upload_pieces).values(_row(upload_id, piece)))
            return
        row = {f"new_{name}": value for name, value in _row(upload_id, piece).items()}
        moves = {"from_bytes": at_bytes, "to_bytes": piece.end_bytes, "at_place": place.name}
        async with self._single.connect() as connection:
            if (await connection.execute(_APPEND, row | moves)).one_or_none() is None:
                raise _moved()

    async def cut(self, upload_id: str, at_bytes: int, to_bytes: int) -> None:
        """Move the offset back, when it is still `at_bytes`."""
        moved = _move(upload_id, at_bytes, to_bytes).returning(uploads.c.upload_id)
        async with self._engine.begin() as connection:
            if (await connection.execute(moved)).one_or_none() is not None:
                await connection.execute(_forget(upload_id, to_bytes))

    async def unsettle(self, place: Place) -> None:
        """The store has lost this place: the upload starts over, and its spans are forgotten."""
        change = (
            sa.update(uploads)
            .where(
                uploads.c.upload_id == place.upload_id,
                uploads.c.state == OPEN,
                uploads.c.place == place.name,
            )
            .values(place=None, stored_bytes=0)
            .returning(uploads.c.upload_id)
        )
        async with self._engine.begin() as connection:
            if (await connection.execute(change)).one_or_none() is not None:
                await connection.execute(_forget(place.upload_id, 0))
                await connection.execute(
                    sa.delete(uploads).where(uploads.c.parent_id == place.upload_id)
                )


def _move(
    upload_id: str | sa.BindParameter[str],
    from_bytes: int | sa.BindParameter[int],
    to_bytes: int | sa.BindParameter[int],
) -> sa.Update:
    return (
        sa.update(uploads)
        .where(
            uploads.c.upload_id == upload_id,
            uploads.c.stored_bytes == from_bytes,
            uploads.c.state == OPEN,
        )
        .values(stored_bytes=to_bytes)
    )


def _appending() -> sa.sql.expression.Executable:
    """Move the offset and name the piece that it moves over, in one statement."""
    names = [column.name for column in _COLUMNS]
    new = {
        column.name: sa.bindparam(f"new_{column.name}", type_=column.type) for column in _COLUMNS
    }
    moved = (
        _move(new["upload_id"], sa.bindparam("from_bytes"), sa.bindparam("to_bytes"))
        .where(uploads.c.place == sa.bindparam("at_place"))
        .returning(uploads.c.upload_id)
        .cte("moved")
    )
    row = sa.select(moved.c.upload_id, *(new[name] for name in names[1:]))
    insert = sa.insert(upload_pieces).from_select(names, row)
    return insert.returning(upload_pieces.c.start_bytes)


_APPEND = _appending()
"""Made once, for making it costs more than running it."""


def _forget(upload_id: str, from_bytes: int) -> sa.Delete:
    return sa.delete(upload_pieces).where(
        upload_pieces.c.upload_id == upload_id, upload_pieces.c.start_bytes >= from_bytes
    )


def _moved() -> ConflictError:
    return ConflictError("another request has moved this upload on", "Upload-Offset")


def _row(upload_id: str, piece: Piece) -> dict[str, Any]:
    return {
        "upload_id": upload_id,
        "start_bytes": piece.start_bytes,
        "length_bytes": piece.length_bytes,
        "sha256": piece.sha256,
        "token": piece.token,
    }


def _piece(row: Any) -> Piece:
    return Piece(
        start_bytes=row.start_bytes,
        length_bytes=row.length_bytes,
        token=row.token,
        sha256=None if row.sha256 is None else bytes(row.sha256),
    )


def whole_parts(pieces: Sequence[Piece]) -> list[bytes]:
    """Digests of the parts of a full upload, in order."""
    digests = [piece.sha256 for piece in pieces if piece.sha256 is not None]
    if len(digests) != len(pieces):
        raise ConflictError("a part of this upload is not full", "Upload-Offset")
    return digests
