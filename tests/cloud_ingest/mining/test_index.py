"""The matrix index: equal to the database's own answer, on every road, whatever happens to it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from cloud_ingest.mining.matrix_index import MatrixIndex
from cloud_ingest.mining.planner import Estimate, Plan, choose
from cloud_ingest.mining.similar import Match, Matches, SimilarClips, Target
from cloud_ingest.query.parser import parse_query
from cloud_ingest.schema import clips, embeddings
from contracts.samples import Float32s
from tests.cloud_ingest.mining.support import (
    OTHER,
    SPACE,
    add_clip,
    add_vector,
    clip_name,
    fill,
    opened,
    unit_vectors,
    with_index,
)

COUNT = 300


def nearest(
    url: str, folder: Path, query: Float32s, k: int, where: str = "", at_once: int = 1000
) -> Matches:
    async def ask(index: MatrixIndex, similar: SimilarClips) -> Matches:
        return await similar.nearest(Target(SPACE, query), k, parse_query(where).where)

    return with_index(url, folder, ask, at_once)


def expected(
    vectors: Float32s, query: Float32s, k: int, kept: np.ndarray | None = None
) -> list[str]:
    cosines = vectors @ query
    order = np.argsort(-cosines, kind="stable")
    if kept is not None:
        order = order[kept[order]]
    return [clip_name(int(number)) for number in order[:k]]


def names(found: Matches) -> list[str]:
    return [match.clip_id for match in found.clips]


def test_each_road_gives_the_exact_answer(
    database_url: str, tables: sa.Engine, tmp_path: Path
) -> None:
    vectors = unit_vectors(COUNT)
    fill(tables, vectors[:100], weather="rain")
    fill(tables, vectors[100:], first=100, weather="clear")
    query = unit_vectors(1, seed=9)[0]
    rain = np.arange(COUNT) < 100
    whole = nearest(database_url, tmp_path, query, 20)
    assert (whole.road, whole.compared) == ("scan", COUNT)
    assert names(whole) == expected(vectors, query, 20)
    assert [m.cosine for m in whole.clips] == pytest.approx(
        sorted(vectors @ query, reverse=True)[:20], abs=1e-6
    )
    narrow = nearest(database_url, tmp_path, query, 20, "weather = 'rain'")
    assert (narrow.road, narrow.compared) == ("rows", 100)
    assert names(narrow) == expected(vectors, query, 20, rain)
    database = nearest(database_url, tmp_path / "other", query, 20, "weather = 'rain'", at_once=10)
    assert (database.road, database.compared) == ("database", 100)
    assert names(database) == names(narrow)
    assert names(nearest(database_url, tmp_path, query, 20, "weather IN ('snow', 'a%b')")) == []


def test_the_planner_takes_the_cheapest_exact_road() -> None:
    million = 1_000_000
    assert choose(million, 256, 100, None) == Plan("scan")
    assert choose(million, 256, 100, Estimate(rows=100, cost=10)).road == "rows"
    # Half of all, by a condition that costs the database a scan: ask it about the best only.
    wide = choose(million, 256, 100, Estimate(rows=million / 2, cost=90_000))
    assert wide == Plan("check", 360)
    # So many are wanted that all would have to be asked about.
    assert choose(million, 256, 900_000, Estimate(million / 2, 90_000)).road == "rows"
    assert choose(0, 256, 5, Estimate(0, 0)).road == "rows"


def test_a_wide_condition_is_checked_on_the_best_only(
    database_url: str, tables: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = unit_vectors(COUNT)
    query = unit_vectors(1, seed=9)[0]
    near = np.argsort(-(vectors @ query))
    kept = np.ones(COUNT, bool)
    kept[near[:50]] = False
    with tables.begin() as connection:
        for number, vector in enumerate(vectors):
            add_clip(connection, number, weather="rain" if kept[number] else "fog")
            add_vector(connection, number, vector)
    where = "weather = 'rain'"
    for candidates, road in ((100, "check"), (30, "rows")):  # 30: all of them fog
        plan = Plan("check", candidates)
        monkeypatch.setattr("cloud_ingest.mining.similar.choose", lambda *_, plan=plan: plan)
        found = nearest(database_url, tmp_path, query, 10, where)
        assert found.road == road
        assert names(found) == expected(vectors, query, 10, kept)


def test_pages_go_on_behind_the_last_one_through_ties(
    database_url: str, tables: sa.Engine, tmp_path: Path
) -> None:
    vectors = np.concatenate([unit_vectors(20), np.repeat(unit_vectors(1, seed=5), 30, axis=0)])
    fill(tables, vectors)
    query = unit_vectors(1, seed=9)[0]

    async def pages(index: MatrixIndex, similar: SimilarClips) -> list[str]:
        seen: list[Match] = []
        while True:
            behind = seen[-1] if seen else None
            page = await similar.nearest(Target(SPACE, query), 7, behind=behind)
            seen += page.clips
            if len(page.clips) < 7:
                return [match.clip_id for match in seen]

    one = names(nearest(database_url, tmp_path, query, 100))
    assert with_index(database_url, tmp_path, pages) == one
    assert with_index(database_url, tmp_path / "other", pages, at_once=1) == one
    assert sorted(one) == [clip_name(number) for number in range(50)]


def test_what_others_commit_change_and_delete_is_seen_at_once(
    database_url: str, tables: sa.Engine, tmp_path: Path
) -> None:
    vectors = unit_vectors(30)
    fill(tables, vectors[:10])
    query = unit_vectors(1, seed=9)[0]

    async def story(index: MatrixIndex, similar: SimilarClips) -> None:
        async def now() -> list[str]:
            return names(await similar.nearest(Target(SPACE, query), 100))

        assert await now() == expected(vectors[:10], query, 100)
        # Two writers: the one that began first commits last.
        with tables.connect() as early, tables.connect() as late:
            add_clip(early, 10)
            add_vector(early, 10, vectors[10])
            add_clip(late, 11)
            add_vector(late, 11, vectors[11])
            late.commit()
            assert clip_name(11) in await now()
            early.commit()
        assert await now() == expected(vectors[:12], query, 100)
        with tables.begin() as connection:
            connection.execute(
                sa.update(embeddings).where(embeddings.c.clip_id == clip_name(3))
                .values(vector=(-vectors[3]).tolist())
            )  # fmt: skip
            connection.execute(sa.delete(embeddings).where(embeddings.c.clip_id == clip_name(4)))
            for table in (clips, embeddings):  # a clip may go before its vector does
                connection.execute(sa.delete(table).where(table.c.clip_id == clip_name(5)))
            connection.execute(
                sa.update(clips).where(clips.c.clip_id == clip_name(6)).values(state="quarantined")
            )
        changed = vectors[:12].copy()
        changed[3] *= -1
        kept = ~np.isin(np.arange(12), [4, 5, 6])
        assert await now() == expected(changed, query, 100, kept)
        with tables.begin() as connection:
            add_vector(connection, 4, vectors[4])
            add_vector(connection, 7, vectors[7], OTHER)  # never compared
        kept[4] = True
        assert await now() == expected(changed, query, 100, kept)

        with tables.begin() as connection:
            for number, state in ((6, "ready"), (8, "quarantined")):
                connection.execute(
                    sa.update(clips).where(clips.c.clip_id == clip_name(number))
                    .values(state=state)
                )  # fmt: skip
        kept[6], kept[8] = True, False
        assert await now() == expected(changed, query, 100, kept)

    with_index(database_url, tmp_path, story)
    kept = ~np.isin(np.arange(12), [5, 8])
    changed = vectors[:12].copy()
    changed[3] *= -1
    assert names(nearest(database_url, tmp_path, query, 100)) == expected(changed, query, 100, kept)
    # Nothing of a deleted vector is left in the file.
    left = np.fromfile(tmp_path / "index-0" / SPACE / "vectors", np.float32).reshape(-1, 8)
    assert np.abs(left - vectors[5]).max(axis=1).min() > 0.1
    assert np.abs(left - vectors[7]).max(axis=1).min() < 1e-6


def test_each_process_has_a_folder_of_its_own(
    database_url: str, tables: sa.Engine, tmp_path: Path
) -> None:
    vectors = unit_vectors(20)
    fill(tables, vectors[:10])
    query = unit_vectors(1, seed=9)[0]

    async def both(index: MatrixIndex, similar: SimilarClips) -> None:
        async with opened(database_url, tmp_path) as (_, other):
            for replica in (similar, other):
                found = await replica.nearest(Target(SPACE, query), 5)
                assert names(found) == expected(vectors[:10], query, 5)
            fill(tables, vectors[10:], first=10)
            for replica in (similar, other):
                found = await replica.nearest(Target(SPACE, query), 5)
                assert names(found) == expected(vectors, query, 5)

    with_index(database_url, tmp_path, both)
    assert {path.name for path in tmp_path.iterdir()} == {"index-0", "index-1"}


def test_what_is_erased_goes_from_files_that_nobody_searches(
    database_url: str, tables: sa.Engine, tmp_path: Path
) -> None:
    vectors = unit_vectors(4)
    fill(tables, vectors)
    query = unit_vectors(1, seed=9)[0]
    for name in ("index-0", "index-1"):  # a second process has run and ended
        nearest(database_url, tmp_path / "one", query, 9)
        (tmp_path / "one" / "index-0").rename(tmp_path / name)
    with tables.begin() as connection:
        connection.execute(sa.delete(embeddings))

    async def refreshed(index: MatrixIndex, similar: SimilarClips) -> None:
        await index.refresh()

    with_index(database_url, tmp_path, refreshed)
    assert not list(tmp_path.glob("index-*/*/*"))


def test_many_are_taken_in_beside_while_the_database_answers(
    database_url: str, tables: sa.Engine, tmp_path: Path
) -> None:
    vectors = unit_vectors(50)
    fill(tables, vectors)
    query = unit_vectors(1, seed=9)[0]

    async def story(index: MatrixIndex, similar: SimilarClips) -> list[str]:
        roads = []
        for _ in range(2):
            found = await similar.nearest(Target(SPACE, query), 5)
            assert names(found) == expected(vectors, query, 5)
            roads.append(found.road)
            await index.built(SPACE)
        return roads

    assert with_index(database_url, tmp_path, story, at_once=20) == ["database", "scan"]


def test_vectors_of_the_majoritys_length_count(
    database_url: str, tables: sa.Engine, tmp_path: Path
) -> None:
    """The first vector of a space may be a strange one."""
    vectors = unit_vectors(5)
    query = unit_vectors(1, seed=9)[0]
    with tables.begin() as connection:
        add_clip(connection, 90)
        add_vector(connection, 90, np.ones(2, np.float32))

    async def story(index: MatrixIndex, similar: SimilarClips) -> None:
        assert (await similar.nearest(Target(SPACE, query), 9)).clips == ()
        fill(tables, vectors)
        assert names(await similar.nearest(Target(SPACE, query), 9)) == expected(vectors, query, 9)

    with_index(database_url, tmp_path, story)


_KILLED = """
import asyncio, sys
from pathlib import Path
from tests.cloud_ingest.mining.support import SPACE, opened

async def main(url, folder):
    async with opened(url, Path(folder)) as (index, _):
        print(await index.catch_up(SPACE), flush=True)
        held = index._spaces[SPACE].file
        if len(sys.argv) > 3:
            held.persist()
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.parametrize("words", [(), ("persist",)])
def test_a_killed_process_leaves_an_index_that_goes_on(
    database_url: str, tables: sa.Engine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    vectors = unit_vectors(40)
    fill(tables, vectors[:20])
    command = [sys.executable, "-c", _KILLED, database_url, str(tmp_path), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"20\n"
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGKILL)
    with tables.begin() as connection:
        connection.execute(sa.delete(embeddings).where(embeddings.c.clip_id == clip_name(3)))
    fill(tables, vectors[20:], first=20)
    query = unit_vectors(1, seed=9)[0]
    kept = np.arange(40) != 3
    found = nearest(database_url, tmp_path, query, 40)
    assert names(found) == expected(vectors, query, 40, kept)
