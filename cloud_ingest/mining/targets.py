"""From what a search names (a clip, a picture, a sentence) to the vector that clips are compared
with. Errors carry the place in the search."""

from __future__ import annotations

import asyncio
import re

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.embeddings import Embeddings
from cloud_ingest.mining.similar import Target
from cloud_ingest.mining.text_ports import TextEncoder
from cloud_ingest.mining_schema import CAPTION, embedding_spaces, pictures
from cloud_ingest.query.lexer import fail
from cloud_ingest.query.tree import Similarity
from cloud_ingest.schema import clips
from contracts.errors import InputError

_ID = re.compile("[0-9a-f]{4,64}")
_WHOLE = 64


class Targets:
    """Makes targets. `encoders` are the text models of this process by their space."""

    def __init__(
        self, engine: AsyncEngine, embeddings: Embeddings, encoders: dict[str, TextEncoder]
    ) -> None:
        self._engine, self._embeddings, self._encoders = engine, embeddings, encoders

    async def target(self, order: Similarity) -> Target:
        """What `order` names. Raises `InputError` with its place."""
        try:
            match order.kind:
                case "clip":
                    clip_id = await self._whole_id(clips.c.clip_id, order.text, "clip")
                    return await self._embeddings.target(clip_id, order.space)
                case "picture":
                    return await self._picture(order)
                case "sentence":
                    return await self._sentence(order)
        except InputError as error:
            raise fail(error.message, order.position) from error

    async def _whole_id(self, column: sa.Column[str], text: str, what: str) -> str:
        if not _ID.fullmatch(text):
            raise InputError(f"a {what} is named by at least 4 hex digits of its id")
        if len(text) == _WHOLE:
            return text
        statement = sa.select(column).where(column.startswith(text)).limit(2)
        async with self._engine.connect() as connection:
            found = (await connection.execute(statement)).scalars().all()
        if len(found) != 1:
            raise InputError(f"no such {what}" if not found else f"several {what}s begin so")
        return str(found[0])

    async def _picture(self, order: Similarity) -> Target:
        picture_id = await self._whole_id(pictures.c.picture_id, order.text, "picture")
        statement = sa.select(pictures).where(pictures.c.picture_id == picture_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(statement)).one_or_none()
        if row is None:
            raise InputError("no such picture")
        if order.space is not None and not row.space.startswith(order.space):
            raise InputError(f"this picture is of space {row.space[:12]}, not {order.space}")
        return Target(row.space, np.asarray(row.vector, np.float32))

    async def _sentence(self, order: Similarity) -> Target:
        statement = sa.select(embedding_spaces.c.space, embedding_spaces.c.encoder).where(
            embedding_spaces.c.kind == CAPTION
        )
        if order.space is None:
            statement = statement.where(embedding_spaces.c.is_default)
        else:
            statement = statement.where(embedding_spaces.c.space.startswith(order.space))
        async with self._engine.connect() as connection:
            found = (await connection.execute(statement.limit(2))).all()
        if len(found) > 1:
            raise InputError(f"several spaces of captions begin with {order.space}")
        if not found:
            if order.space is not None:
                raise InputError(f"there is no space of captions {order.space}")
            if self._encoders:
                raise InputError("no clip has a caption yet")
            raise InputError(
                "this service has no text model, so that no clip has a caption vector:"
                " install longtail[text] or set LONGTAIL_TEXT_MODEL"
            )
        encoder = self._encoders.get(found[0].space)
        if encoder is None:
            raise InputError(
                f"this service has no text model {found[0].encoder}, in whose space the captions"
                " lie: install longtail[text] or set LONGTAIL_TEXT_MODEL"
            )
        (vector,) = await asyncio.to_thread(encoder.encode, [order.text])
        return Target(found[0].space, vector)
