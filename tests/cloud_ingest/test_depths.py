"""What the load is made of: each depth that is real makes clips wait, and is told as a metric."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.label_schema import review_tasks
from cloud_ingest.schema import clips, outbox
from cloud_ingest.steps_schema import step_runs, webhook_deliveries, webhooks
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from contracts.clock import NS_PER_S, VirtualClock
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import RunningServer, Vehicle
from tests.cloud_ingest.test_commit import enrolled, rows
from tests.cloud_ingest.test_metrics import scraped
from tests.cloud_ingest.test_pressure import declare, some_clip

LOAD = "longtail_cloud_load"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server(start_cloud: StartCloud, clock: VirtualClock) -> RunningServer:
    return start_cloud({"clock": clock}, unfinished_clips=10, review_backlog=10)


@pytest.fixture
def car(server: RunningServer) -> Iterator[Vehicle]:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield enrolled(http)


def answer(vehicle: Vehicle, clock: VirtualClock, number: int) -> str:
    """What an ordinary clip is told, after the depths were looked at again."""
    clock.set_mono_ns(clock.mono_ns() + 6 * NS_PER_S)
    told: str = declare(vehicle, *some_clip(number), "ordinary").json()["answer"]
    return told


def test_commits_that_nobody_took_up_are_a_depth(
    car: Vehicle, clock: VirtualClock, tables: sa.Engine
) -> None:
    for number in range(7):
        car.upload(*some_clip(number))
    with tables.begin() as connection:  # indexed, but for the entries
        connection.execute(sa.update(clips).values(caption="x"))
    assert (len(rows(tables, outbox)), rows(tables, step_runs)) == (7, [])
    assert answer(car, clock, 50) == "wait"
    assert scraped(car.http)[LOAD]["clips",] == pytest.approx(0.7)
    with tables.begin() as connection:
        connection.execute(sa.delete(outbox))
    assert answer(car, clock, 50) == "upload"


def test_clips_that_no_search_finds_yet_are_a_depth(
    car: Vehicle, clock: VirtualClock, tables: sa.Engine
) -> None:
    for number in range(7):
        car.upload(*some_clip(number))
    with tables.begin() as connection:
        connection.execute(sa.delete(outbox))
    assert answer(car, clock, 50) == "wait"
    with tables.begin() as connection:
        connection.execute(sa.update(clips).values(caption="x"))
    assert answer(car, clock, 50) == "upload"


def test_labels_that_wait_are_a_depth(car: Vehicle, clock: VirtualClock, tables: sa.Engine) -> None:
    now = sa.func.now()
    task = {
        "clip_id": "0" * 64, "proposal_digest": "d", "class_name": "car", "tier": "t", "round": 1,
        "priority": 1.0, "excluded": [], "task": {}, "proposal": {}, "review": {},
        "added_utc": now, "changed_utc": now,
    }  # fmt: skip
    with tables.begin() as connection:
        for number in range(9):
            state = "queued" if number < 7 else "accepted"
            own = {"task_id": f"t{number}", "track": number, "state": state}
            connection.execute(sa.insert(review_tasks).values(task | own))
    assert answer(car, clock, 50) == "wait"
    assert scraped(car.http)[LOAD]["review",] == pytest.approx(0.7)
    with tables.begin() as connection:
        connection.execute(sa.update(review_tasks).values(state="accepted"))
    assert answer(car, clock, 50) == "upload"


class SmallDisk(LocalParts):
    """A real part store on a disk of `left` bytes."""

    left = 100_000

    def free_bytes(self) -> int:
        return self.left


def test_without_a_limit_the_disk_is_the_buffers(
    start_cloud: StartCloud, clock: VirtualClock, tmp_path: Path
) -> None:
    parts = SmallDisk(tmp_path / "parts", LocalObjects(tmp_path / "cloud" / "objects"))
    server = start_cloud({"clock": clock, "parts": parts})
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = enrolled(http)
        url = vehicle.create(80_000).headers["Location"]
        assert answer(vehicle, clock, 50) == "upload"
        assert vehicle.patch(url, 0, bytes(70_000)).status_code == 204
        parts.left -= 70_000
        assert answer(vehicle, clock, 51) == "wait"
        found = scraped(http)
        assert found[LOAD]["buffer",] == pytest.approx(0.7)
        assert found["longtail_cloud_buffer_bytes"][()] == 70_000
        assert found["longtail_cloud_advised_bytes_per_s"][()] > 0


def test_what_waits_is_told(server: RunningServer, car: Vehicle, tables: sa.Engine) -> None:
    now = sa.func.now()
    run = {"clip_id": "a" * 64, "state": "open", "due_utc": now, "changed_utc": now}
    hook = {"webhook_id": "w", "url": "http://x", "secret": "s", "created_utc": now}
    owed = {
        "delivery_id": "d", "webhook_id": "w", "topic": "t", "clip_id": "a", "body": "{}",
        "state": "open", "created_utc": now, "due_utc": now,
    }  # fmt: skip
    with tables.begin() as connection:
        connection.execute(sa.insert(step_runs).values(run))
        connection.execute(sa.insert(webhooks).values(hook))
        connection.execute(sa.insert(webhook_deliveries).values(owed))
    service = server.app.state.service
    service.after.runner.ended["video", "failed"] += 2
    with service.receiver.pressure.hold("safety", 12_345):
        found = scraped(car.http)
    assert found["longtail_cloud_step_runs_waiting"][()] == 1
    assert found["longtail_cloud_webhooks_owed"][()] == 1
    assert found["longtail_cloud_body_bytes"][()] == 12_345
    assert found[LOAD]["memory",] > 0
    assert found["longtail_cloud_steps_ended_total"]["failed", "video"] == 2


def test_failures_of_the_sweep_are_counted(
    start_cloud: StartCloud, clock: VirtualClock, tmp_path: Path
) -> None:
    class Unlisted(SmallDisk):
        def remains(self) -> list[object]:  # type: ignore[override]
            raise RuntimeError("nobody foresaw this")

    parts = Unlisted(tmp_path / "parts", LocalObjects(tmp_path / "cloud" / "objects"))
    server = start_cloud({"clock": clock, "parts": parts})
    failures = server.app.state.service.background.failures
    server.run(server.app.state.collector._round())
    assert failures["collector"] >= 1
    assert server.app.state.service.background.down() == []
