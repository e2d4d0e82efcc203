"""The loops beside the requests: none ends unseen, none takes another down, all end in order."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest import completion
from cloud_ingest.app import clip_manifest_reader, create_app
from cloud_ingest.background import FIRST_PAUSE_S, LONGEST_PAUSE_S, MOST_IN_A_ROW, Background
from cloud_ingest.schema import clips
from cloud_ingest.settings import Settings
from cloud_ingest.steps.chores import Chores
from cloud_ingest.steps.work import Ending, Work
from cloud_ingest.steps_schema import clip_steps, step_runs
from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S, VirtualClock
from tests.cloud_ingest.after.clips import run_steps
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import make_clip, make_manifest, running
from tests.cloud_ingest.test_commit import enrolled, rows
from tests.cloud_ingest.test_metrics import scraped

MANIFEST = make_manifest()
CLIP = make_clip(MANIFEST, 1000)


class Loop:
    """Fails as often as it is told, then lives."""

    def __init__(self, failures: int) -> None:
        self.left, self.begun = failures, 0

    async def run(self) -> None:
        self.begun += 1
        if self.left:
            self.left -= 1
            raise ZeroDivisionError("nobody foresaw this")
        await asyncio.Event().wait()


def test_a_loop_that_fails_is_counted_and_begun_anew() -> None:
    async def go() -> None:
        clock = VirtualClock()
        background, loop, other = Background(clock), Loop(MOST_IN_A_ROW), Loop(0)
        background.start("bad", loop.run)
        background.start("good", other.run)
        pause_s = 0.0
        for number in range(1, MOST_IN_A_ROW + 1):
            assert background.down() == []
            await clock.advance_ns(int(pause_s * NS_PER_S))
            assert background.failures == {"bad": number, "good": 0}
            pause_s = 2 * pause_s or FIRST_PAUSE_S
        assert background.down() == ["bad"]
        assert background.states() == {"bad": False, "good": True}
        await clock.advance_ns(int(LONGEST_PAUSE_S * NS_PER_S))
        assert loop.begun == MOST_IN_A_ROW + 1
        await clock.advance_ns(int(LONGEST_PAUSE_S * NS_PER_S))
        assert background.down() == []  # it has lived for a while
        assert (other.begun, loop.begun) == (1, MOST_IN_A_ROW + 1)
        await background.close()

    asyncio.run(go())


def test_a_loop_that_returns_has_nothing_to_do_and_a_cancelled_one_is_down() -> None:
    async def go() -> None:
        background = Background(VirtualClock())

        async def returns() -> None:
            return

        async def ends() -> None:
            raise asyncio.CancelledError

        background.start("returns", returns)
        background.start("ends", ends)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert background.down() == ["ends"]
        await background.close()

    asyncio.run(go())


def test_a_chore_that_nobody_foresaw_to_fail_holds_up_no_other() -> None:
    done, failed = [], []

    async def bad() -> None:
        raise FileNotFoundError(2, "gone")

    async def worse() -> None:
        raise RuntimeError("oh")

    async def good() -> None:
        done.append("good")

    chores = Chores(VirtualClock(), 1, {"bad": bad, "worse": worse, "good": good}, failed.append)
    asyncio.run(chores.once())
    assert (done, failed) == (["good"], ["bad", "worse"])


def test_a_loop_that_is_down_makes_the_replica_unready(start_cloud: StartCloud) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock})
    background = server.app.state.service.background

    async def fall() -> None:
        background.start("extra", Loop(1000).run)
        for _ in range(MOST_IN_A_ROW):
            await clock.advance_ns(int(LONGEST_PAUSE_S * NS_PER_S))

    with httpx.Client(base_url=server.url) as http:
        assert http.get("/readyz").json()["parts"]["loops"] == "ok"
        server.run(fall())
        answer = http.get("/readyz")
        assert (answer.status_code, answer.json()["parts"]["loops"]) == (503, "down: extra")
        assert http.get("/healthz").status_code == 200


def test_a_manifest_of_another_version_fails_its_clip_alone(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    server = start_cloud()
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = enrolled(http)
        bad = vehicle.upload(CLIP, MANIFEST)
        other = make_manifest(start_mono_ns=99 * NS_PER_S)
        good = vehicle.upload(make_clip(other), other)
        with tables.begin() as connection:
            told = MANIFEST.model_dump(mode="json") | {"stream": 7}
            changed = sa.update(clips).where(clips.c.clip_id == bad).values(manifest=told)
            connection.execute(changed)
        assert run_steps(server) == 2
        steps = {(row.clip_id, row.step): row for row in rows(tables, clip_steps)}
        assert steps[good, "read"].state == "done"
        assert {row.state for (clip, _), row in steps.items() if clip == bad} == {"failed"}
        assert "cannot read the stored manifest: stream" in steps[bad, "read"].reason
        assert {row.state for row in rows(tables, step_runs)} == {"ended"}
        # The captions come to it as well, and go on behind it.
        captioner = server.app.state.service.mining.captioner
        assert server.run(captioner.new_clips()) <= 2
        assert [row.caption for row in rows(tables, clips) if row.clip_id == bad] == [""]


def test_a_run_that_nobody_foresaw_to_fail_is_failed_and_counted(
    start_cloud: StartCloud, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_cloud()
    after = server.app.state.service.after

    async def broken(*_: object) -> set[str]:
        raise ZeroDivisionError("oh")

    with httpx.Client(base_url=server.url) as http:
        enrolled(http).upload(CLIP, MANIFEST)
    monkeypatch.setattr(after.book, "ended_steps", broken)
    assert run_steps(server) == 1
    found = {(row.state, row.reason) for row in rows(tables, clip_steps)}
    assert found == {("failed", "ZeroDivisionError: oh")}
    assert server.app.state.service.background.failures["steps"] == 1


def test_a_run_that_the_database_let_down_is_taken_up_after_its_lease(
    start_cloud: StartCloud, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is not renewed for ever by the very worker that has left it."""
    clock = VirtualClock()
    server = start_cloud({"clock": clock}, steps_lease_s=60)
    runner = server.app.state.service.after.runner

    async def away(*_: object) -> set[str]:
        raise sa.exc.OperationalError("select", {}, Exception("the connection is cut"))

    async def wait_out() -> None:
        renewing = asyncio.create_task(runner._renew())
        for _ in range(5):
            await asyncio.sleep(0)
            await clock.advance_ns(20 * NS_PER_S)
        renewing.cancel()
        await asyncio.wait({renewing})

    with httpx.Client(base_url=server.url) as http:
        enrolled(http).upload(CLIP, MANIFEST)
    with monkeypatch.context() as patch:
        patch.setattr(server.app.state.service.after.book, "ended_steps", away)
        assert run_steps(server) == 1
    assert [row.state for row in rows(tables, step_runs)] == ["open"]
    server.run(wait_out())
    assert run_steps(server) == 1
    assert [row.state for row in rows(tables, step_runs)] == ["ended"]


def settings(tmp_path: Path, **changes: Any) -> Settings:
    return Settings(folder=tmp_path / "cloud", free_bytes_kept=0, **changes)


def test_the_database_is_closed_when_all_loops_have_ended(
    database_url: str, tmp_path: Path, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that takes its time to end: the worker lets go of its clip before the pool closes."""
    began = threading.Event()

    async def slow(work: Work) -> Ending:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(200):
                await asyncio.sleep(0)
        raise AssertionError

    monkeypatch.setattr("cloud_ingest.steps.after.STEPS", {"slow": slow})
    with running(create_app(settings(tmp_path, steps_poll_s=0.01), database_url)) as server:
        engine = server.app.state.service.engine
        with httpx.Client(base_url=server.url) as http:
            enrolled(http).upload(CLIP, MANIFEST)
        assert began.wait(30)
    assert [row.worker for row in rows(tables, step_runs)] == [None]
    assert (engine.pool.checkedin(), engine.pool.checkedout()) == (0, 0)


def test_the_database_is_closed_whatever_the_others_ends_are(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: object) -> None:
        raise RuntimeError("the index cannot be closed")

    monkeypatch.setattr("cloud_ingest.mining.desk.Mining.close", fails)
    with running(create_app(settings(tmp_path), database_url)) as server:
        engine = server.app.state.service.engine
        before = engine.pool
    assert engine.pool is not before, "it was disposed of"
    assert (engine.pool.checkedin(), engine.pool.checkedout()) == (0, 0)


def test_the_service_ends_when_completions_under_way_have(
    database_url: str, tmp_path: Path, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, gate, real = threading.Event(), threading.Event(), clip_manifest_reader()

    def reader(source: Path | IO[bytes]) -> ClipManifest:
        reading.set()
        assert gate.wait(30)
        return real(source)

    loops_close = Background.close

    async def close(self: Background) -> None:
        await loops_close(self)
        gate.set()  # from here on only the completion is under way

    monkeypatch.setattr(Background, "close", close)
    monkeypatch.setattr(completion, "PATIENCE_S", 0.0)
    app = create_app(settings(tmp_path), database_url, reader=reader)
    with running(app) as server:
        engine = server.app.state.service.engine
        with httpx.Client(base_url=server.url) as http:
            vehicle = enrolled(http)
            url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
            assert vehicle.patch(url, 0, CLIP).status_code == 204
            assert reading.wait(30)
    assert [row.state for row in rows(tables, clips)] == ["ready"]
    assert (engine.pool.checkedin(), engine.pool.checkedout()) == (0, 0)


def test_failures_and_states_of_loops_are_told(start_cloud: StartCloud) -> None:
    server = start_cloud()
    server.app.state.service.background.failed("collector")
    with httpx.Client(base_url=server.url) as http:
        found = scraped(http)
    assert found["longtail_cloud_loop_failures_total"]["collector",] == 1
    assert found["longtail_cloud_loops"]["collector",] == 1
