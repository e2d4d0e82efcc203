"""Searches by likeness over a million clips: time and recall, at any selectivity.

A real embedded PostgreSQL is filled with a million clips and vectors of 256 values; each search
is the service's own, from a vector to the ids of clips. Beside it, in the same run and on the
same queries: the ids that match, from a covering index, and a NumPy gather over their vectors
(the floor, which also tells what is right). Then searches go on while clips come in. At last the
same by plain pgvector HNSW with iterative scans, whose index alone takes most of the run to build.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.figures import Figure, figure
from bench.mining_hnsw import Hnsw
from bench.mining_world import (
    DIMENSIONS,
    SPACE,
    add_clips,
    copy_vectors,
    settle,
    start_database,
    vectors,
)
from cloud_ingest.database import for_single_reads, open_engine
from cloud_ingest.mining.matrix_index import MatrixIndex
from cloud_ingest.mining.ports import Int64s
from cloud_ingest.mining.similar import Matches, SimilarClips, Target, matching_rows
from cloud_ingest.query.compile import compile_where
from cloud_ingest.query.parser import parse_query
from cloud_ingest.query.tree import Expression
from contracts.samples import Float32s

Result = TypeVar("Result")
COUNT = 1_000_000
QUERIES = 30
SHARES = (1.0, 0.1, 0.01, 0.001, 0.0001)
DEPTHS = (100, 5000)
CONDITIONS = {
    "two columns of one covering index": "weather = 'rain' AND tod = 'night'",
    "a list, through the heap": "'cyclist' = ANY(detected_objects)",
    "half of all, by a column without an index": "mean_speed_mps > 10.5 AND size_bytes > 1",
}
_BATCH = 500
_SCAN, _GATHER = "NumPy scan", "ids from SQL + NumPy gather"
_INGEST_S = 10.0


@dataclass
class Cell:
    """What one selectivity and depth has taken and found: milliseconds, shares of the truth."""

    ours_ms: list[float] = field(default_factory=list)
    floor_ms: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    roads: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Store:
    """A filled database, and the service's search over it."""

    url: str
    engine: AsyncEngine
    index: MatrixIndex
    similar: SimilarClips
    matrix: Float32s
    row_of: Int64s
    slot_of: Int64s

    async def ours(self, query: Float32s, k: int, where: Expression | None) -> Matches:
        """The search of the service, from a vector to clip ids."""
        return await self.similar.nearest(Target(SPACE, query), k, where)

    async def floor(self, query: Float32s, k: int, where: Expression | None) -> Int64s:
        """Ids from the covering index and a gather; all vectors in order without a condition."""
        rows: Int64s | None = None
        if where is not None:
            async with for_single_reads(self.engine).connect() as connection:
                rows = self.slot_of[await matching_rows(connection, compile_where(where), None)]
        cosines = (self.matrix if rows is None else self.matrix[rows]) @ query
        best = np.argpartition(cosines, cosines.size - k)[-k:] if k < cosines.size else slice(None)
        chosen = np.arange(cosines.size)[best] if rows is None else rows[best]
        return self.row_of[chosen]


@asynccontextmanager
async def opened(url: str, folder: Path, count: int) -> AsyncIterator[tuple[Store, float]]:
    """The search over a filled database, and in how many seconds its index was built."""
    engine = open_engine(url)
    index = MatrixIndex(engine, folder)
    try:
        start = time.perf_counter()
        await index.catch_up(SPACE)
        await index.built(SPACE)
        built_s = time.perf_counter() - start
        path = next(folder.glob(f"*/{SPACE}/vectors"))
        mapped = np.memmap(path, np.float32, "r").reshape(-1, DIMENSIONS)[:count]
        row_of = np.fromfile(path.with_name("rows"), np.int64, count)
        slot_of = np.zeros(row_of.max() + 1, np.int64)
        slot_of[row_of] = np.arange(count)
        similar = SimilarClips(engine, index)
        # As the service has it: thousands of results would else set off passes over the whole heap.
        gc.collect()
        gc.freeze()
        yield Store(url, engine, index, similar, mapped, row_of, slot_of), built_s
    finally:
        gc.unfreeze()
        await index.close()
        await engine.dispose()


def run(
    count: int = COUNT, queries: int = QUERIES, hnsw_count: int = COUNT,
    ingest_s: float = _INGEST_S,
) -> list[Figure]:  # fmt: skip
    """Figures over `count` clips; about 8 GB of disk a million, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="lt-bench-mining-") as name:
        folder = Path(name)
        postgres = start_database(folder / "pg")
        try:
            add_clips(postgres.url, 1, count)
            copy_vectors(postgres.url, vectors(count))
            settle(postgres.url)
            return asyncio.run(_measure(postgres.url, folder, count, queries, hnsw_count, ingest_s))
        finally:
            postgres.stop()


async def _measure(
    url: str, folder: Path, count: int, queries: int, hnsw_count: int, ingest_s: float
) -> list[Figure]:
    asked = _queries(queries)
    figures: list[Figure] = []
    async with opened(url, folder / "index", count) as (store, built_s):
        name = f"index of {count} vectors built from SQL"
        figures.append(figure(name, count / built_s / 1000, "1000 vectors/s"))
        for share in SHARES:
            for k in DEPTHS:
                cell = await _cell(store, asked, _condition(share), k)
                name = f"{share * 100:g} % of {count}, k = {k}"
                floor = _SCAN if share >= 1 else _GATHER
                figures += _figures(cell, name, floor)
        for name, text in CONDITIONS.items():
            cell = await _cell(store, asked, parse_query(text).where, DEPTHS[0])
            figures += _figures(cell, f"{name}, k = {DEPTHS[0]}", _GATHER, goals=False)
        figures += await _under_ingest(store, asked, count, ingest_s)
    figures += Hnsw(url, min(hnsw_count, count)).figures(asked, SHARES, DEPTHS)
    return figures


def _queries(count: int) -> Float32s:
    """Vectors of the same kind that no clip has."""
    return next(vectors(count, seed=99))


def _condition(share: float) -> Expression | None:
    return None if share >= 1 else parse_query(f"min_ttc_s < {share}").where


async def _cell(store: Store, asked: Float32s, where: Expression | None, k: int) -> Cell:
    cell = Cell()
    for number, query in enumerate(asked):
        found, ours_ms = await _timed(partial(store.ours, query, k, where))
        truth, floor_ms = await _timed(partial(store.floor, query, k, where))
        if number == 0 and len(asked) > 1:
            continue  # compiles, and brings pages into memory
        cell.ours_ms.append(ours_ms)
        cell.floor_ms.append(floor_ms)
        right = len(_numbers(found) & set(truth.tolist()))
        cell.recall.append(right / truth.size if truth.size else 1.0)
        cell.roads.add(found.road)
    return cell


def _numbers(found: Matches) -> set[int]:
    """The clips' numbers, which the world has made their ids of."""
    return {int(match.clip_id, 16) for match in found.clips}


async def _timed(work: Callable[[], Awaitable[Result]]) -> tuple[Result, float]:
    start = time.perf_counter()
    found = await work()
    return found, (time.perf_counter() - start) * 1000


def _figures(cell: Cell, name: str, floor: str, *, goals: bool = True) -> list[Figure]:
    p50, p95 = np.percentile(cell.ours_ms, [50, 95])
    floor_p50, floor_p95 = np.percentile(cell.floor_ms, [50, 95])
    road = " and ".join(sorted(cell.roads))
    return [
        figure(
            f"recall, {name}", float(np.mean(cell.recall)), "ratio",
            goal=">= 0.99" if goals else "",
        ),
        figure(
            f"p50, {name} (road: {road})", float(p50), "ms",
            reference=floor, reference_value=float(floor_p50),
        ),
        figure(
            f"p95, {name}", float(p95), "ms",
            reference=f"1.5 x ({floor}: {floor_p95:.1f} ms) + 10 ms",
            reference_value=1.5 * float(floor_p95) + 10, goal="ratio <= 1" if goals else "",
        ),
    ]  # fmt: skip


async def _under_ingest(store: Store, asked: Float32s, count: int, seconds: float) -> list[Figure]:
    """Searches while clips with vectors are committed, `_BATCH` at a time, as fast as they go."""
    ended, added = threading.Event(), 0
    fresh = np.concatenate(list(vectors(_BATCH, seed=5)))

    def ingest() -> None:
        nonlocal added
        while not ended.is_set():
            first = count + added + 1
            add_clips(store.url, first, first + _BATCH - 1)
            copy_vectors(store.url, iter([fresh]), first)
            added += _BATCH

    writer = threading.Thread(target=ingest)
    spent: list[float] = []
    start = time.perf_counter()
    writer.start()
    number = 0
    try:
        while time.perf_counter() - start < seconds:
            query = asked[number % len(asked)]
            _, ms = await _timed(partial(store.ours, query, 100, _condition(0.01)))
            spent.append(ms)
            number += 1
    finally:
        ended.set()
        await asyncio.to_thread(writer.join)
    taken_s = time.perf_counter() - start
    if not any(number > count for number in _numbers(await store.ours(fresh[0], 1, None))):
        raise RuntimeError("a clip that was committed is not found")
    p50, p95 = np.percentile(spent, [50, 95])
    return [
        figure("clips taken in while searches run", added / taken_s, "clips/s"),
        figure("p50 of searches meanwhile, 1 %, k = 100", float(p50), "ms"),
        figure("p95 of searches meanwhile, 1 %, k = 100", float(p95), "ms"),
    ]
