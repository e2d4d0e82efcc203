"""Erasure: nothing of a clip is left, what held it is flagged, and it does not come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.erasure.rows import KEPT
from cloud_ingest.fleet_schema import audit_log
from cloud_ingest.steps.frames import frames
from cloud_ingest.steps.work import Ending, Work
from cloud_ingest.steps_schema import metadata, scenes
from contracts.clip import ClipEmbedding
from contracts.clock import NS_PER_S
from contracts.errors import TransientError
from contracts.storage import ErasureRequest
from tests.cloud_ingest.after.clips import cause, picture_clip, run_steps
from tests.cloud_ingest.after.test_fleet_scenes import ramp
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import (
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)
from tests.cloud_ingest.test_commit import enrolled, rows

WHO = {"actor": "ann@desk", "reason": "asked for by the owner"}


class KilledError(Exception):
    """What nobody catches."""


def full_clip(vehicle: Vehicle, server: RunningServer, start_s: int = 10) -> str:
    """A clip with all that may derive from it; several sets hold it."""
    clip, manifest = picture_clip(
        vehicle.vehicle_id, start_s, scenes=(ramp(lat_deg=48 + start_s / 100),),
        causes=(cause(at_s=start_s + 4),),
        embedding=ClipEmbedding(model_digest="a" * 64, vector=(0.6, 0.8)),
    )  # fmt: skip
    clip_id = vehicle.upload(clip, manifest)
    event = {
        "event": manifest.event.model_dump(), "utc_ns": 1, "cause": manifest.causes[0].model_dump(),
        "outcome": "captured", "lat_deg": 48.0, "lon_deg": 11.0,
    }  # fmt: skip
    assert vehicle.http.post("/v1/events", json=event, headers=vehicle.bearer).is_success
    run_steps(server)
    for kind in ("label_set", "dataset_version"):
        vehicle.http.put(f"/v1/pins/{kind}/of-{vehicle.vehicle_id}", json={"clip_ids": [clip_id]})
    return clip_id


def remains(tables: sa.Engine, clip_id: str) -> dict[str, int]:
    """Rows that name a clip, by table."""
    found = {}
    with tables.connect() as connection:
        for name, table in metadata.tables.items():
            if "clip_id" in table.c:
                count = sa.select(sa.func.count()).select_from(table)
                number = connection.execute(count.where(table.c.clip_id == clip_id)).scalar_one()
                if number:
                    found[name] = number
    return found


def bytes_of(folder: Path, clip_id: str) -> list[str]:
    return sorted(str(path) for path in folder.rglob(f"*{clip_id}*"))


def erase(http: httpx.Client, kind: str, subject: str, request_id: str = "r1") -> dict[str, Any]:
    body = {"request_id": request_id, "kind": kind, "subject": subject} | WHO
    answer = http.post("/v1/erasures", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_clip_is_erased_with_all_that_derives_from_it(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle, other_vehicle: Vehicle,
    tables: sa.Engine, tmp_path: Path,
) -> None:  # fmt: skip
    clip_id, other = full_clip(vehicle, cloud), full_clip(other_vehicle, cloud, 50)
    before = remains(tables, clip_id)
    assert {"clips", "embeddings", "clip_steps", "step_runs", "scene_clips", "clip_pins"} <= set(
        before
    )
    assert remains(tables, other) == before
    told = erase(http, "clip", clip_id)
    assert (told["clips"], told["left"], told["ended_utc_ns"]) == (1, 1, None)
    assert [row["clip_id"] for row in http.get("/v1/clips").json()["clips"]] == [other]
    assert erase(http, "clip", clip_id) == told
    assert cloud.run(cloud.app.state.service.after.erasures.go_on()) == 1
    assert set(remains(tables, clip_id)) <= KEPT
    assert bytes_of(tmp_path / "cloud", clip_id) == []
    assert http.get(f"/v1/clips/{clip_id}").status_code == 404
    assert http.get(f"/clips/{clip_id}.mcap").status_code == 404
    assert remains(tables, other) == before
    assert len(bytes_of(tmp_path / "cloud", other)) == 2
    assert [row.scene["lat_deg"] for row in rows(tables, scenes)] == [pytest.approx(48.5, abs=1e-3)]
    assert len(http.get("/v1/events").json()["events"]) == 1
    told = http.get("/v1/erasures/r1").json()
    assert (told["left"], told["ended_utc_ns"] is not None) == (0, True)
    assert told["flags"] == [
        {"kind": kind, "name": "of-car-1", "clips": 1} for kind in ("dataset_version", "label_set")
    ]
    pins = {pin["name"]: pin for pin in http.get("/v1/pins").json()["pins"]}
    assert (pins["of-car-1"]["clips"], pins["of-car-1"]["erased_clips"]) == (0, 1)
    assert (pins["of-car-2"]["clips"], pins["of-car-2"]["erased_clips"]) == (1, 0)
    audited = [row for row in rows(tables, audit_log) if row.action.startswith("eras")]
    assert [(row.action, row.subject, row.actor) for row in audited] == [
        ("erase", f"clip {clip_id}", "ann@desk"), ("erased", f"clip {clip_id}", "ann@desk"),
    ]  # fmt: skip
    assert http.get("/v1/erasures").json()["erasures"] == [told]


def test_an_erased_clip_does_not_come_back(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle, tables: sa.Engine, tmp_path: Path
) -> None:
    manifest = make_manifest()
    clip = make_clip(manifest, 3000)
    under_way = vehicle.declare(clip, manifest).json()["upload_url"]
    clip_id = vehicle.upload(clip, manifest)
    erase(http, "clip", clip_id)
    cloud.run(cloud.app.state.service.after.erasures.go_on())
    # Declared it is not wanted; sent without asking, or by an upload under way, it is refused.
    answer = vehicle.declare(clip, manifest).json()
    assert (answer["answer"], "erased" in answer["reason"]) == ("not_wanted", True)
    url = vehicle.create(len(clip)).headers["Location"]
    assert vehicle.patch(url, 0, clip).status_code == 410
    assert vehicle.head(url).status_code == 410
    assert vehicle.patch(under_way, 0, clip).status_code in (404, 410)
    assert set(remains(tables, clip_id)) <= KEPT | {"uploads"}
    assert bytes_of(tmp_path / "cloud" / "objects", clip_id) == []
    # A clip that the service never saw is barred as well.
    unseen = make_clip(make_manifest(start_mono_ns=99 * NS_PER_S))
    other = make_manifest(start_mono_ns=99 * NS_PER_S)
    unseen_id = vehicle.declare(unseen, other).json()["clip_id"]
    erase(http, "clip", unseen_id, "r2")
    assert vehicle.declare(unseen, other).json()["answer"] == "not_wanted"
    assert http.put("/v1/pins/label_set/l", json={"clip_ids": [clip_id]}).status_code == 400


def test_a_vehicle_is_erased(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle, other_vehicle: Vehicle,
    tables: sa.Engine, tmp_path: Path,
) -> None:  # fmt: skip
    mine = [full_clip(vehicle, cloud, start) for start in (10, 50, 90)]
    # One of its clips that another vehicle has delivered, and that was set aside.
    stray, _ = picture_clip("car-1", 130)
    url = other_vehicle.create(len(stray)).headers["Location"]
    assert other_vehicle.patch(url, 0, stray).status_code == 204
    mine.append(clip_id_of_bytes(stray))
    other = full_clip(other_vehicle, cloud, 170)
    vehicle.create(1000)
    assert erase(http, "vehicle", "car-1")["clips"] == 4
    assert cloud.run(cloud.app.state.service.after.erasures.go_on()) == 4
    for clip_id in mine:
        assert set(remains(tables, clip_id)) <= KEPT
        assert bytes_of(tmp_path / "cloud", clip_id) == []
    assert [row["clip_id"] for row in http.get("/v1/clips").json()["clips"]] == [other]
    (event,) = http.get("/v1/events").json()["events"]
    assert event["record"]["event"]["vehicle_id"] == "car-2"
    told = http.get("/v1/erasures/r1").json()
    assert {flag["name"]: flag["clips"] for flag in told["flags"]} == {"of-car-1": 3}
    conflict = {"request_id": "r1", "kind": "vehicle", "subject": "car-2"} | WHO
    assert http.post("/v1/erasures", json=conflict).status_code == 409
    wrong = {"request_id": "r2", "kind": "clip", "subject": "../x"} | WHO
    assert http.post("/v1/erasures", json=wrong).status_code == 400


@pytest.mark.parametrize("stage", ["rows", "object", "views", "tick"])
def test_an_erasure_that_is_killed_is_gone_on_with_by_another(
    start_cloud: StartCloud, tables: sa.Engine, tmp_path: Path, stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server = start_cloud()
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = enrolled(http)
        clip_ids = [full_clip(vehicle, server, start) for start in (10, 50)]
        erase(http, "vehicle", "car-1")
        erasures = server.app.state.service.after.erasures
        calls = 0

        def dies(*_: object) -> Any:
            nonlocal calls
            calls += 1
            raise KilledError

        with monkeypatch.context() as patch:
            match stage:
                case "rows":
                    patch.setattr(erasures, "_flag", dies)
                case "object":
                    patch.setattr(erasures._objects, "_shelves", {"hot": None, "cold": None})
                case "views":
                    patch.setattr(type(erasures._views), "remove_all", dies)
                case _:
                    patch.setattr("cloud_ingest.erasure.erasures.announce", dies)
            with pytest.raises((KilledError, AttributeError)):
                server.run(erasures.go_on())
        assert http.get("/v1/clips").json()["clips"] == []
        assert http.get("/v1/erasures/r1").json()["left"] == 2
        other = start_cloud()
        other.run(other.app.state.service.after.erasures.go_on())
        for clip_id in clip_ids:
            assert set(remains(tables, clip_id)) <= KEPT
            assert bytes_of(tmp_path / "cloud", clip_id) == []
        told = http.get("/v1/erasures/r1").json()
        assert (told["left"], len(told["flags"])) == (0, 2)
        assert told["flags"][0]["clips"] == 2


def test_an_erasure_that_a_store_refuses_holds_up_no_other(
    start_cloud: StartCloud, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_cloud()
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = enrolled(http)
        refused, other = (full_clip(vehicle, server, start) for start in (10, 50))
        erase(http, "clip", refused, "r1")
        erase(http, "clip", other, "r2")
        erasures = server.app.state.service.after.erasures
        remove = type(erasures._views).remove_all

        def refuses(self: Any, clip_id: str) -> None:
            if clip_id == refused:
                raise TransientError("not now")
            remove(self, clip_id)

        with monkeypatch.context() as patch:
            patch.setattr(type(erasures._views), "remove_all", refuses)
            assert server.run(erasures.go_on()) == 1
        left = [http.get(f"/v1/erasures/{name}").json()["left"] for name in ("r1", "r2")]
        assert left == [1, 0]
        assert server.run(erasures.go_on()) == 1
        assert http.get("/v1/erasures/r1").json()["left"] == 0
        assert set(remains(tables, refused)) <= KEPT


def test_steps_that_are_under_way_leave_no_views_behind(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle, tables: sa.Engine, tmp_path: Path
) -> None:
    after = cloud.app.state.service.after
    clip_id = vehicle.upload(*picture_clip())

    async def overtaken(work: Work) -> Ending:
        erase_body = {"request_id": "r1", "kind": "clip", "subject": clip_id} | WHO
        made = await frames(work)
        await after.erasures.ask(ErasureRequest.model_validate(erase_body))
        await after.erasures.go_on()
        after.views.put(clip_id, "frame-99-01.jpg", b"late")
        return made

    after.runner._steps = {"frames": overtaken}
    run_steps(cloud)
    assert set(remains(tables, clip_id)) <= KEPT
    assert bytes_of(tmp_path / "cloud", clip_id) == []
