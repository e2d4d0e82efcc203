"""Pictures that searches name, and key frames of clips, in one space of pictures."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256

import numpy as np
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import to_time
from cloud_ingest.mining.picture_encoder import PictureEncoder
from cloud_ingest.mining.spaces import Spaces
from cloud_ingest.mining_schema import PICTURE, pictures
from cloud_ingest.schema import embeddings
from contracts.clip import ClipEmbedding
from contracts.clock import Clock
from contracts.errors import InputError
from contracts.mining import Picture
from contracts.samples import Float32s

_MAX_VALUES = 16_000
Encode = Callable[[Sequence[bytes]], Awaitable[Float32s]]
"""JPEGs to unit vectors float32 [m, d]."""


class Pictures:
    """Keeps pictures' vectors, never the pictures. `encoder` is the service's own, or None."""

    def __init__(
        self, engine: AsyncEngine, clock: Clock, spaces: Spaces, encoder: PictureEncoder | None,
        elsewhere: Encode | None = None,
    ) -> None:  # fmt: skip
        self._engine, self._clock, self._spaces = engine, clock, spaces
        self._encoder, self._elsewhere = encoder, elsewhere

    def encoding(self, elsewhere: Encode) -> Pictures:
        """The same, but key frames of clips are encoded elsewhere, by the same encoder."""
        return Pictures(self._engine, self._clock, self._spaces, self._encoder, elsewhere)

    @property
    def name(self) -> str:
        """As the steps after a commit know the encoder."""
        return "none" if self._encoder is None else self._encoder.name

    async def put_jpeg(self, content: bytes) -> Picture:
        """Keep a picture by the service's own encoder. Raises `InputError` when it has none."""
        encoder = self._needed()
        (vector,) = await asyncio.to_thread(encoder.encode, [content])
        return await self.put(
            ClipEmbedding(model_digest=encoder.space, vector=tuple(map(float, vector)))
        )

    async def put(self, embedding: ClipEmbedding) -> Picture:
        """Keep a picture's vector in a model's space; the same one again is the same picture."""
        vector = embedding.vector
        if not 1 <= len(vector) <= _MAX_VALUES or not 0 < math.hypot(*vector) < math.inf:
            raise InputError(f"needs 1 to {_MAX_VALUES} values that are not all 0", "vector")
        space = embedding.model_digest
        content = np.asarray(vector, "<f8").tobytes()
        picture_id = sha256(bytes.fromhex(space) + content).hexdigest()
        row = {
            "picture_id": picture_id, "space": space, "vector": list(vector),
            "put_utc": to_time(self._clock.utc_ns()),
        }  # fmt: skip
        async with self._engine.begin() as connection:
            try:
                await connection.execute(insert(pictures).values(row).on_conflict_do_nothing())
            except DataError as error:
                raise InputError("holds values beyond single precision", "vector") from error
        return Picture(picture_id=picture_id, space=space)

    async def embed(self, clip_id: str, frames: Sequence[bytes]) -> str:
        """Give a clip the mean of its key frames' vectors; again is as good as once.

        Returns the space.
        """
        encoder = self._needed()
        if self._elsewhere is None:
            vectors = await asyncio.to_thread(encoder.encode, frames)
        else:
            vectors = await self._elsewhere(frames)
        mean = vectors.mean(axis=0)
        row = {"clip_id": clip_id, "model_digest": encoder.space, "vector": mean.tolist()}
        async with self._engine.begin() as connection:
            await self._spaces.register(connection, encoder.space, PICTURE, encoder.name)
            await connection.execute(insert(embeddings).values(row).on_conflict_do_nothing())
        return encoder.space

    def _needed(self) -> PictureEncoder:
        if self._encoder is None:
            raise InputError(
                "this service has no encoder of pictures: set LONGTAIL_PICTURE_MODEL, or send"
                " the picture's vector", "picture",
            )  # fmt: skip
        return self._encoder
