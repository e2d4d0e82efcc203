"""Plain pgvector HNSW beside the mining index: the same vectors and conditions."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa

from bench.figures import Figure, figure
from bench.mining_world import DIMENSIONS
from contracts.samples import Float32s

_MOST_EF = 1000


class Hnsw:
    """A table of the first `count` clips with an index of pgvector's defaults (m 16, ef 64)."""

    def __init__(self, url: str, count: int) -> None:
        self._engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        self._count = count

    def figures(
        self, asked: Float32s, shares: Sequence[float], depths: Sequence[int]
    ) -> list[Figure]:
        """Build the index, then recall and time of each share and depth."""
        with self._engine.connect() as connection:
            built_s = self._build(connection)
            found = [
                figure(
                    f"pgvector HNSW over {self._count} vectors built",
                    self._count / built_s / 1000, "1000 vectors/s",
                )
            ]  # fmt: skip
            for share in shares:
                for k in depths:
                    found += self._cell(connection, asked, share, k)
        self._engine.dispose()
        return found

    def _build(self, connection: sa.Connection) -> float:
        connection.execute(
            sa.text(
                "CREATE UNLOGGED TABLE plain AS SELECT c.mining_row, c.min_ttc_s,"
                f" e.vector::vector({DIMENSIONS}) AS vector FROM clips c"
                " JOIN embeddings e USING (clip_id) WHERE c.mining_row <= :count"
            ),
            {"count": self._count},
        )
        connection.execute(sa.text("CREATE INDEX ON plain (min_ttc_s) INCLUDE (mining_row)"))
        start = time.perf_counter()
        connection.execute(sa.text("CREATE INDEX ON plain USING hnsw (vector vector_cosine_ops)"))
        built_s = time.perf_counter() - start
        connection.execute(sa.text("VACUUM (ANALYZE) plain"))
        return built_s

    def _cell(
        self, connection: sa.Connection, asked: Float32s, share: float, k: int
    ) -> list[Figure]:
        where = "" if share >= 1 else f"WHERE min_ttc_s < {share}"
        statement = sa.text(
            f"SELECT mining_row FROM plain {where} ORDER BY vector <=> CAST(:query AS vector)"
            f" LIMIT {k}"
        )
        connection.execute(sa.text("SET hnsw.iterative_scan = relaxed_order"))
        connection.execute(sa.text(f"SET hnsw.ef_search = {min(max(k, 40), _MOST_EF)}"))
        spent, recalls = [], []
        for query in asked:
            words = {"query": str(query.tolist())}
            connection.execute(sa.text("RESET enable_indexscan"))
            start = time.perf_counter()
            found = set(connection.execute(statement, words).scalars())
            spent.append((time.perf_counter() - start) * 1000)
            # The truth: HNSW is an index scan, and the only one that tells an order.
            connection.execute(sa.text("SET enable_indexscan = off"))
            truth = set(connection.execute(statement, words).scalars())
            recalls.append(len(found & truth) / len(truth) if truth else 1.0)
        name = f"pgvector HNSW, {share:g} of {self._count}, k = {k}"
        return [
            figure(f"recall of {name}", float(np.mean(recalls)), "ratio"),
            figure(f"p50 of {name}", float(np.median(spent)), "ms"),
        ]
