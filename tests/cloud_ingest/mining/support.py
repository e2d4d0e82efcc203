"""What the mining tests share: clips with vectors straight in the tables, an index over them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from cloud_ingest.database import open_engine
from cloud_ingest.mining.matrix_index import MatrixIndex
from cloud_ingest.mining.similar import SimilarClips
from cloud_ingest.schema import clip_identity, clips, embeddings
from contracts.samples import Float32s

SPACE, OTHER = "a" * 64, "b" * 64
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
Result = TypeVar("Result")


def unit_vectors(count: int, dimensions: int = 8, seed: int = 3) -> Float32s:
    found = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def clip_name(number: int) -> str:
    return f"{number:064x}"


def add_clip(connection: sa.Connection, number: int, **columns: Any) -> None:
    """A ready clip without a vector."""
    own = {"clip_id": clip_name(number), "size_bytes": 1, "received_utc": NOW}
    rest = {"vehicle_id": "car-1", "event_key": f"e{number}", "state": "ready"}
    connection.execute(sa.insert(clip_identity).values(own))
    connection.execute(sa.insert(clips).values(own | rest | columns))


def add_vector(
    connection: sa.Connection, number: int, vector: Float32s, space: str = SPACE
) -> None:
    connection.execute(
        sa.insert(embeddings).values(
            clip_id=clip_name(number), model_digest=space, vector=vector.tolist()
        )
    )


def fill(tables: sa.Engine, vectors: Float32s, first: int = 0, **columns: Any) -> None:
    """Clips numbered from `first` on, with their vectors."""
    with tables.begin() as connection:
        for number, vector in enumerate(vectors, first):
            add_clip(connection, number, **columns)
            add_vector(connection, number, vector)


@asynccontextmanager
async def opened(
    url: str, folder: Path, at_once: int = 1000
) -> AsyncIterator[tuple[MatrixIndex, SimilarClips]]:
    """An index of its own, as a replica has it."""
    engine = open_engine(url)
    index = MatrixIndex(engine, folder, at_once)
    try:
        yield index, SimilarClips(engine, index)
    finally:
        await index.close()
        await engine.dispose()


def with_index(
    url: str, folder: Path, work: Callable[[MatrixIndex, SimilarClips], Awaitable[Result]],
    at_once: int = 1000,
) -> Result:  # fmt: skip
    """Run `work` with an index, then close it."""

    async def run() -> Result:
        async with opened(url, folder, at_once) as (index, similar):
            return await work(index, similar)

    return asyncio.run(run())
