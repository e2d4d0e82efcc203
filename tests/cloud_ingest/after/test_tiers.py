"""Tiers: what goes cold, what comes back, what stays; and never the last copy lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.steps_schema import clip_storage
from cloud_ingest.tiers.rules import TierRules, lifecycle_policy
from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.errors import TransientError
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import RunningServer, Vehicle, make_clip, make_manifest
from tests.cloud_ingest.test_commit import enrolled, rows

RULES = TierRules(least_bytes=4000)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server(start_cloud: StartCloud, clock: VirtualClock) -> RunningServer:
    return start_cloud({"clock": clock}, tiers=RULES)


def days(server: RunningServer, clock: VirtualClock, count: float) -> None:
    server.run(clock.advance_ns(int(count * NS_PER_DAY)))


def settle(server: RunningServer) -> None:
    """Sweep by the rules, then move all that is marked."""
    storage = server.app.state.service.after.storage

    async def go() -> None:
        await storage.write_uses()
        await storage.sweep()
        while await storage.move_one():
            pass

    server.run(go())


def uploaded(vehicle: Vehicle, number: int, size_bytes: int = 5000) -> tuple[str, bytes]:
    manifest = make_manifest(vehicle.vehicle_id, number * 20 * NS_PER_S)
    assert vehicle.authenticate().status_code == 200
    clip = make_clip(manifest, size_bytes, number)
    return vehicle.upload(clip, manifest), clip


def where(folder: Path, clip_id: str) -> list[str]:
    """The shelves that hold a clip."""
    names = (("objects", "hot"), ("cold", "cold"))
    return [
        tier for name, tier in names if (folder / name / clip_id[:2] / f"{clip_id}.mcap").exists()
    ]


def report(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/v1/tiers").json()
    return {each["tier"]: each for each in found["tiers"]} | {"all": found}


def test_the_tail_goes_cold_and_comes_back_when_used(
    server: RunningServer, clock: VirtualClock, tmp_path: Path
) -> None:
    folder = tmp_path / "cloud"
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = enrolled(http)
        (old, content), (small, _) = uploaded(vehicle, 1), uploaded(vehicle, 2, 0)
        settle(server)
        assert where(folder, old) == ["hot"]
        days(server, clock, 31)
        (pinned, _), (fresh, _) = uploaded(enrolled(http, "car-2"), 3), uploaded(vehicle, 4)
        answer = http.put("/v1/pins/dataset_version/d1", json={"clip_ids": [pinned]})
        assert answer.json() == {
            "kind": "dataset_version", "name": "d1", "clips": 1, "erased_clips": 0,
        }  # fmt: skip
        settle(server)
        assert [where(folder, each) for each in (old, small, pinned, fresh)] == [
            ["cold"], ["hot"], ["hot"], ["hot"],
        ]  # fmt: skip
        days(server, clock, 31)
        settle(server)
        assert [where(folder, each) for each in (pinned, fresh)] == [["hot"], ["cold"]]
        told = report(http)
        assert (told["cold"]["clips"], told["hot"]["clips"]) == (2, 2)
        assert told["hot"]["pinned_clips"] == 1
        assert told["cold"]["cost_per_month"] == told["cold"]["size_bytes"] / 1e9 * 0.004
        assert told["all"]["all_hot_per_month"] > told["all"]["cost_per_month"]
        # Whoever reads a cold clip gets it, whole or in part, and has it back in the hot tier.
        assert http.get(f"/clips/{old}.mcap").content == content
        part = http.get(f"/clips/{old}.mcap", headers={"Range": "bytes=10-29"})
        assert (part.status_code, part.content) == (206, content[10:30])
        settle(server)
        assert where(folder, old) == ["hot"]
        assert http.get(f"/clips/{old}.mcap").content == content
        settle(server)
        days(server, clock, 10)
        settle(server)
        assert where(folder, old) == ["hot"]  # used lately
        days(server, clock, 10)
        settle(server)
        assert where(folder, old) == ["cold"]
        # Pinned while it is cold it comes back, and unpinned it goes again.
        http.put("/v1/pins/label_set/l1", json={"clip_ids": [old]})
        settle(server)
        assert where(folder, old) == ["hot"]
        assert http.delete("/v1/pins/label_set/l1").json()["clips"] == 1
        assert http.delete("/v1/pins/label_set/l1").status_code == 404
        days(server, clock, 1)
        settle(server)
        assert where(folder, old) == ["cold"]
        assert http.put("/v1/pins/label_set/l1", json={"clip_ids": ["0" * 64]}).status_code == 400
        assert [pin["name"] for pin in http.get("/v1/pins").json()["pins"]] == ["d1"]


def test_no_use_is_lost_however_many_and_whatever_fails(
    server: RunningServer, clock: VirtualClock, tmp_path: Path, tables: sa.Engine
) -> None:
    storage = server.app.state.service.after.storage
    with httpx.Client(base_url=server.url, timeout=30) as http:
        clip_id, content = uploaded(enrolled(http), 1)
        days(server, clock, 31)
        settle(server)
        assert where(tmp_path / "cloud", clip_id) == ["cold"]
        assert http.get(f"/clips/{clip_id}.mcap").content == content
    # More than a statement of PostgreSQL has parameters; the store knows nothing of them.
    for number in range(70_000):
        storage._on_use(f"{number:064x}")
    with tables.begin() as connection:
        connection.execute(sa.text("ALTER TABLE clip_storage RENAME TO elsewhere"))
    try:
        with pytest.raises(sa.exc.SQLAlchemyError):
            server.run(storage.write_uses())
    finally:
        with tables.begin() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO clip_storage"))
    server.run(storage.write_uses())
    assert [(row.clip_id, row.wanted) for row in rows(tables, clip_storage)] == [(clip_id, "hot")]


@pytest.mark.parametrize("step", ["publish", "remove"])
def test_a_move_that_is_cut_off_is_gone_on_with(
    server: RunningServer, clock: VirtualClock, tmp_path: Path, tables: sa.Engine, step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "cloud"
    storage = server.app.state.service.after.storage
    with httpx.Client(base_url=server.url, timeout=30) as http:
        clip_id, content = uploaded(enrolled(http), 1)
        days(server, clock, 31)
        server.run(storage.sweep())
        shelf = storage._objects._shelves["cold" if step == "publish" else "hot"]

        async def dies(*_: object) -> None:
            raise (
                KeyboardInterrupt if step == "remove" else TransientError("the cold store is away")
            )

        with monkeypatch.context() as patch:
            patch.setattr(shelf, step, dies)
            if step == "remove":
                with pytest.raises(BaseException):  # noqa: B017 - as a kill ends it
                    server.run(_shielded(storage.move_one()))
            else:
                assert server.run(storage.move_one()) == clip_id
        assert http.get(f"/clips/{clip_id}.mcap").content == content
        settle(server)
        assert where(folder, clip_id) in (["cold"], ["hot"])
        days(server, clock, 31)
        settle(server)
        settle(server)
        assert where(folder, clip_id) == ["cold"]
        assert [row.wanted for row in rows(tables, clip_storage)] == [None]
        assert http.get(f"/clips/{clip_id}.mcap").content == content


async def _shielded(step: Any) -> None:
    """A kill ends the step, not the test's event loop."""
    try:
        await step
    except KeyboardInterrupt:
        raise RuntimeError("killed") from None


def test_a_damaged_object_stays_where_it_is(
    server: RunningServer, clock: VirtualClock, tmp_path: Path
) -> None:
    folder = tmp_path / "cloud"
    with httpx.Client(base_url=server.url, timeout=30) as http:
        clip_id, content = uploaded(enrolled(http), 1)
        path = folder / "objects" / clip_id[:2] / f"{clip_id}.mcap"
        path.chmod(0o600)
        path.write_bytes(content[:-1] + b"?")
        days(server, clock, 31)
        settle(server)
        assert where(folder, clip_id) == ["hot"]
        assert report(http)["hot"]["moving_clips"] == 0


def test_a_clip_is_read_to_its_end_while_it_is_moved(
    server: RunningServer, clock: VirtualClock, tmp_path: Path
) -> None:
    objects = server.app.state.service.after.objects
    with httpx.Client(base_url=server.url, timeout=30) as http:
        clip_id, content = uploaded(enrolled(http), 1, 2_000_000)

    async def read() -> bytes:
        pieces = []
        async for piece in objects.read(clip_id, 0, len(content)):
            pieces.append(piece)
            if len(pieces) == 1:
                await objects.copy_to("cold", clip_id)
                await objects.keep_only("cold", clip_id)
        return b"".join(pieces)

    assert server.run(read()) == content
    assert where(tmp_path / "cloud", clip_id) == ["cold"]
    with pytest.raises(Exception, match="does not hold it"):
        server.run(objects.keep_only("hot", clip_id))
    assert where(tmp_path / "cloud", clip_id) == ["cold"]


def test_the_bucket_policy_says_what_the_service_does(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as http:
        policy = http.get("/v1/tiers/lifecycle").json()
    assert policy == lifecycle_policy(RULES, "", 7)
    cold, unfinished = policy["Rules"]
    assert cold["Filter"]["And"]["Prefix"] == "cold/"
    assert cold["Transitions"] == [{"Days": 0, "StorageClass": "GLACIER_IR"}]
    assert unfinished["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 8}
