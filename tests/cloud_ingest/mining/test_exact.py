"""The exact top-k against a plain sort, for any rows, depth, page and gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.mining import exact
from cloud_ingest.mining.vector_file import Arrived, Origin, VectorFile
from kernels.nearest import dots_of_rows
from tests.cloud_ingest.mining.support import SPACE, unit_vectors

COUNT, DIMENSIONS = 60, 5


def test_dot_products_are_numpys() -> None:
    matrix, query = unit_vectors(200, 37), unit_vectors(1, 37, seed=4)[0]
    rows = np.array([0, 199, 3, 3, 120], np.int32)
    out = np.zeros(rows.size, np.float32)
    dots_of_rows(matrix, query, rows, out)
    assert out == pytest.approx(matrix[rows] @ query, abs=1e-6)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    removed=st.sets(st.integers(0, COUNT + 5), max_size=40),
    rows=st.none() | st.sets(st.integers(-1, 2 * COUNT), max_size=COUNT),
    k=st.integers(1, COUNT + 3),
    page=st.none() | st.floats(-1, 1, width=32),
    seed=st.integers(0, 3),
)
def test_the_nearest_are_those_of_a_plain_sort(
    tmp_path: Path, removed: set[int], rows: set[int] | None, k: int, page: float | None, seed: int
) -> None:
    vectors = unit_vectors(COUNT, DIMENSIONS, seed)
    vectors[COUNT // 2 :] = vectors[: COUNT - COUNT // 2]  # all tie with another
    ids = np.random.default_rng(seed).integers(0, 256, (COUNT, 32), dtype=np.uint8)
    file = VectorFile(tmp_path / str(seed), Origin("db", SPACE, DIMENSIONS))
    file.add(Arrived(np.arange(COUNT, dtype=np.int64), ids, vectors))
    file.remove(np.array(sorted(removed), np.int64))
    query = 3 * unit_vectors(1, DIMENSIONS, seed + 10)[0]
    told = None if rows is None else np.array(sorted(rows), np.int64)
    found = exact.nearest(file.view(), query, k, told, page)
    file.close()

    kept = [row for row in range(COUNT) if row not in removed and (rows is None or row in rows)]
    assert found.compared == len(kept)
    cosines = np.round((vectors @ (query / np.linalg.norm(query))).astype(float), 6)
    order = sorted(kept, key=lambda row: (-cosines[row], ids[row].tobytes()))
    if page is not None:
        order = [row for row in order if cosines[row] <= page]
    # The index may tell more than was asked: what ties, or differs by rounding only.
    assert len(found.rows) >= min(k, len(order))
    names = dict(zip(found.rows.tolist(), found.clip_ids, strict=True))
    assert all(names[row] == ids[row].tobytes().hex() for row in found.rows.tolist())
    assert list(found.cosines) == sorted(found.cosines, reverse=True)
    assert found.cosines == pytest.approx(cosines[found.rows], abs=2e-6)
    best = [cosines[row] for row in order[:k]]
    told_best = [value for value in found.cosines if page is None or value <= page + 1e-6]
    assert told_best[: len(best)] == pytest.approx(best, abs=2e-6)


def test_a_query_of_another_length_or_without_direction_is_near_nothing(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "file", Origin("db", SPACE, DIMENSIONS))
    view = file.view()
    assert exact.nearest(view, unit_vectors(1, DIMENSIONS)[0], 3, None, None).compared == 0
    file.add(Arrived(np.array([4]), np.zeros((1, 32), np.uint8), unit_vectors(1, DIMENSIONS)))
    view = file.view()
    for query in (np.zeros(DIMENSIONS, np.float32), unit_vectors(1, 3)[0]):
        assert exact.nearest(view, query, 3, None, None).clip_ids == ()
    assert (
        exact.nearest(view, unit_vectors(1, DIMENSIONS)[0], 3, np.empty(0, np.int64), None).clip_ids
        == ()
    )
    file.close()
