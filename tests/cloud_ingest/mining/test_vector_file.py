"""The file of vectors by itself: what it was told it holds, what was persisted outlasts a crash."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.mining.vector_file import Arrived, Origin, VectorFile
from contracts.samples import Float32s
from tests.cloud_ingest.mining.support import SPACE, unit_vectors

ORIGIN = Origin("db", SPACE, 4)


def arrived(rows: list[int], vectors: Float32s) -> Arrived:
    ids = np.zeros((len(rows), 32), np.uint8)
    ids[:, 0] = rows
    return Arrived(np.array(rows, np.int64), ids, vectors)


def held(file: VectorFile) -> dict[int, bytes]:
    view = file.view()
    alive = np.flatnonzero(view.rows >= 0)
    assert (view.ids[alive, 0] == view.rows[alive]).all()
    return {int(view.rows[slot]): view.matrix[slot].tobytes() for slot in alive}


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(1, 40), min_size=1, max_size=6)),
        st.tuples(st.just("remove"), st.lists(st.integers(1, 40), max_size=6)),
        st.tuples(st.sampled_from(["persist", "crash", "reopen"]), st.just([])),
    ),
    max_size=12,
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=_STEPS)
def test_a_file_holds_what_it_was_told_and_after_a_crash_what_was_persisted(
    tmp_path: Path, steps: list[tuple[str, list[int]]]
) -> None:
    folder = tmp_path / os.urandom(8).hex()
    file = VectorFile(folder, ORIGIN)
    rng = np.random.default_rng(0)
    truth: dict[int, bytes] = {}
    persisted: dict[int, bytes] = {}
    since: set[int] = set()
    for step, rows in steps:
        if step == "add":
            vectors = rng.normal(size=(len(rows), 4)).astype(np.float32)
            file.add(arrived(rows, vectors))
            truth |= {row: vector.tobytes() for row, vector in zip(rows, vectors, strict=True)}
            since |= set(rows)
        elif step == "remove":
            assert file.remove(np.array(rows, np.int64)) == len(set(rows) & set(truth))
            truth = {row: truth[row] for row in truth if row not in rows}
            since |= set(rows)
        else:
            if step != "crash":
                file.persist()
                persisted, since = dict(truth), set()
            if step != "persist":
                file.close()
                file = VectorFile(folder, ORIGIN)
            if step == "crash":
                # What changed since may be gone too; it is told again behind the cursor.
                found = held(file)
                assert set(found) <= set(persisted)
                assert all(found[row] == persisted[row] for row in found)
                assert set(persisted) - set(found) <= since
                truth, persisted = dict(found), dict(found)
        assert held(file) == truth
        assert file.live == len(truth)
    file.close()


def test_files_of_another_database_or_damaged_ones_are_dropped(tmp_path: Path) -> None:
    def made(origin: Origin) -> VectorFile:
        return VectorFile(tmp_path / "file", origin)

    file = made(ORIGIN)
    file.add(arrived([1, 2], unit_vectors(2, 4)))
    file.cursor = "5:5:"
    file.persist()
    file.close()
    file = made(ORIGIN)
    assert (file.live, file.cursor) == (2, "5:5:")
    file.close()
    os.truncate(tmp_path / "file" / "rows", 8)
    file = made(ORIGIN)
    assert (file.live, file.cursor) == (0, None)
    file.add(arrived([1], unit_vectors(1, 4)))
    file.persist()
    file.close()
    (tmp_path / "file" / "state.json").write_text("{")
    file = made(ORIGIN)
    assert file.live == 0
    file.close()
    other = made(Origin("restored", SPACE, 4))
    assert other.live == 0
    other.close()
