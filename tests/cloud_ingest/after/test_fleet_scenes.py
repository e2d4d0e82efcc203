"""Quotas of scenes: a crowd past one ramp gives a handful of clips; what is new gets through."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.database import open_engine
from cloud_ingest.scenes.book import FleetScenes
from cloud_ingest.scenes.full import REMEMBERED_S
from cloud_ingest.steps_schema import scene_clips, scenes
from contracts.clip import Window
from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.ids import EventKey
from contracts.ota import TimeStatement
from contracts.scenes import Scene, SceneObject
from contracts.upload import UploadRequest
from edge_agent.selection.clip_gate import read_scenes
from edge_agent.selection.scenes import SceneBook
from tests.cloud_ingest.after.clips import cause, picture_clip, run_steps, steps_of
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.fleet_support import FleetVehicle
from tests.cloud_ingest.support import Vehicle, declaration, make_clip, make_manifest
from tests.cloud_ingest.test_commit import enrolled, rows

QUOTA = 5
CAR_1 = "car-1"
METRE_DEG = 1 / 111_320
Result = TypeVar("Result")
RAIL = SceneObject(name="barrier", x=12.0, y=-3.0)
CAR = SceneObject(name="car", x=25.0, y=3.0)
DEBRIS = SceneObject(name="debris", x=18.0, y=0.2)


def ramp(source: random.Random | None = None, **changes: object) -> Scene:
    """The ramp as one of many sees it: GNSS to 2 m, another picture each time, other traffic."""
    noise = source or random.Random(0)
    picture = 0x0F1E2D3C4B5A6978
    for _ in range(noise.randrange(7)):
        picture ^= 1 << noise.randrange(64)
    rail = SceneObject(name="barrier", x=12 + noise.gauss(0, 0.3), y=-3 + noise.gauss(0, 0.2))
    values: dict[str, object] = {
        "trigger_id": "rare", "model_digest": "a" * 64,
        "lat_deg": 48.1 + noise.gauss(0, 2) * METRE_DEG,
        "lon_deg": 11.5 + noise.gauss(0, 2) * METRE_DEG,
        "bearing_rad": 1.0 + noise.gauss(0, 0.03), "picture": picture,
        "objects": (rail,), "maybe": (rail, CAR),
    }  # fmt: skip
    return Scene.model_validate(values | changes)


def request(number: int, *found: Scene, **changes: object) -> UploadRequest:
    values: dict[str, object] = {
        "clip_id": hashlib.sha256(str(number).encode()).hexdigest(), "size_bytes": 1,
        "part_digests": ("0" * 64,),
        "event": EventKey(
            vehicle_id=f"car-{number}", boot_id="b", start_mono_ns=0, end_mono_ns=1
        ),
        "window": Window(start_mono_ns=0, end_mono_ns=1),
        "trigger_ids": tuple(scene.trigger_id for scene in found), "scenes": found,
    }  # fmt: skip
    return UploadRequest.model_validate(values | changes)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


With = Callable[[Callable[[FleetScenes, FleetScenes], Awaitable[Result]]], Result]


@pytest.fixture
def replicas(database_url: str, clock: VirtualClock) -> With[object]:
    """Runs a coroutine with the scenes of two replicas on one database."""

    def run(body: Callable[[FleetScenes, FleetScenes], Awaitable[object]]) -> object:
        async def both() -> object:
            engines = [open_engine(database_url) for _ in range(2)]
            try:
                return await body(*(FleetScenes(each, clock, QUOTA, 3600) for each in engines))
            finally:
                for each in engines:
                    await each.dispose()

        return asyncio.run(both())

    return run


async def wanted(book: FleetScenes, asked: list[UploadRequest]) -> int:
    return sum([await book.refusal(CAR_1, each) is None for each in asked])


def test_100000_passes_of_one_ramp_yield_its_quota_and_new_debris_gets_through(
    replicas: With[int], clock: VirtualClock, tables: sa.Engine
) -> None:
    source = random.Random(7)
    passes = 100_000

    async def crowd(first: FleetScenes, second: FleetScenes) -> int:
        # The first come at once, over both replicas; the rest within two hours.
        early = [request(k, ramp(source)) for k in range(200)]
        answers = await asyncio.gather(
            *((first, second)[k % 2].refusal(CAR_1, each) for k, each in enumerate(early))
        )
        asked_for = sum(answer is None for answer in answers)
        for each, answer in zip(early, answers, strict=True):
            if answer is None:
                await second.register(each.clip_id, each.scenes)  # the clip comes
        for k in range(len(early), passes):
            await clock.advance_ns(NS_PER_DAY // 12 // passes)
            asked = request(k, ramp(source))
            if await (first, second)[k % 2].refusal(CAR_1, asked) is None:
                asked_for += 1
                await first.register(asked.clip_id, asked.scenes)
        new = request(passes, ramp(source, objects=(RAIL, DEBRIS), maybe=(RAIL, DEBRIS)))
        assert await first.refusal(CAR_1, new) is None
        # Of the debris there are enough soon, too.
        later = [
            request(passes + 1 + k, ramp(source, objects=(DEBRIS,), maybe=(DEBRIS, RAIL)))
            for k in range(20)
        ]
        assert await wanted(second, later) == QUOTA - 1
        await first.write_counts()
        await second.write_counts()
        return asked_for

    assert replicas(crowd) == QUOTA
    assert [row.turned_away for row in rows(tables, scenes)] == [passes - QUOTA, 21 - QUOTA]
    assert len(rows(tables, scene_clips)) == 2 * QUOTA


def test_what_is_exempt_is_never_turned_away(replicas: With[None]) -> None:
    async def body(first: FleetScenes, _: FleetScenes) -> None:
        full = [request(k, ramp()) for k in range(20)]
        assert await wanted(first, full) == QUOTA
        for k, changes in enumerate(
            [
                {"safety": True}, {"stream": "random"}, {"scenes": ()},
                {"trigger_ids": ("rare", "another-cause")}, {"trigger_ids": ()},
            ]
        ):  # fmt: skip
            assert await first.refusal(CAR_1, request(100 + k, ramp(), **changes)) is None
        for changes in (
            {"bearing_rad": 2.0}, {"trigger_id": "other"}, {"model_digest": "b" * 64},
            {"lat_deg": 48.1 + 30 * METRE_DEG}, {"picture": 0}, {"lat_deg": 200.0},
        ):  # fmt: skip
            k += 1
            assert await first.refusal(CAR_1, request(100 + k, ramp(**changes))) is None, changes
        # With two causes a clip is wanted for the one of which there is not enough.
        both = request(200, ramp(), ramp(trigger_id="third"))
        assert await first.refusal(CAR_1, both) is None

    replicas(body)


def test_a_clip_keeps_its_seat_and_gives_it_back(replicas: With[None], clock: VirtualClock) -> None:
    async def body(first: FleetScenes, second: FleetScenes) -> None:
        asked = [request(k, ramp()) for k in range(QUOTA + 1)]
        assert await wanted(first, asked) == QUOTA
        # Declared again, by resuming: on both replicas, full or remembered full.
        assert await wanted(first, asked) == await wanted(second, asked) == QUOTA
        await first.register(asked[0].clip_id, asked[0].scenes)
        assert await second.refusal(CAR_1, asked[0]) is None
        await clock.advance_ns(3601 * NS_PER_S)  # the others never came
        assert await wanted(second, [request(50 + k, ramp()) for k in range(9)]) == QUOTA - 1
        await second.give_back(request(50, ramp()).clip_id)
        await clock.advance_ns(REMEMBERED_S * NS_PER_S)
        assert await wanted(first, [request(60 + k, ramp()) for k in range(9)]) == 1

    replicas(body)


def test_after_some_weeks_a_scene_is_asked_for_again(
    replicas: With[None], clock: VirtualClock
) -> None:
    async def body(first: FleetScenes, _: FleetScenes) -> None:
        for k in range(QUOTA):
            asked = request(k, ramp())
            assert await first.refusal(CAR_1, asked) is None
            await first.register(asked.clip_id, asked.scenes)
        assert await wanted(first, [request(k, ramp()) for k in range(9, 20)]) == 0
        await clock.advance_ns(14 * NS_PER_DAY)
        # Five clips weigh as two and a half, so that two or three more are wanted.
        assert await wanted(first, [request(k, ramp()) for k in range(20, 40)]) == 2

    replicas(body)


def test_the_receiver_answers_not_wanted_and_waits_cost_no_seat(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    server = start_cloud(scene_quota=1)
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = enrolled(http)
        clip, manifest = picture_clip(scenes=(ramp(),))
        told = {"scenes": [ramp().model_dump(mode="json")], "trigger_ids": ["rare"]}

        def declare(content: bytes, of: Vehicle, **changes: object) -> dict[str, object]:
            made = manifest.model_copy(
                update={"event": manifest.event.model_copy(update={"vehicle_id": of.vehicle_id})}
            )
            body = declaration(content, made) | told | changes
            answer = http.post("/v1/uploads", json=body, headers=of.bearer)
            assert answer.status_code == 200, answer.text
            found: dict[str, object] = answer.json()
            return found

        first = declare(clip, vehicle)
        assert first["answer"] == "upload"
        other = Vehicle(http, "car-2")
        other.enrol()
        other.authenticate()
        second = declare(b"another clip", other)
        assert (second["answer"], second["reason"]) == (
            "not_wanted", "the fleet has 1 clips of this scene",
        )  # fmt: skip
        assert declare(b"another clip", other, safety=True)["answer"] == "upload"
        # A vehicle cannot speak for another, not even to take a seat.
        forged = declaration(b"x", manifest) | told
        assert http.post("/v1/uploads", json=forged, headers=other.bearer).status_code == 403
        vehicle.patch(str(first["upload_url"]), 0, clip)
        run_steps(server)
        told_steps = {each.step: each for each in steps_of(http, str(first["clip_id"])).steps}
        assert told_steps["scene"].state == "done"
        assert [row.expires_utc for row in rows(tables, scene_clips)] == [None]
        assert declare(clip, vehicle)["answer"] == "have_it"
    crowded = start_cloud(scene_quota=1, free_bytes_kept=2**60)
    with httpx.Client(base_url=crowded.url) as http:
        vehicle = Vehicle(http, key=vehicle.key, token=vehicle.token)
        elsewhere = ramp(lat_deg=10.0).model_dump(mode="json")
        assert declare(b"elsewhere", vehicle, scenes=[elsewhere])["answer"] == "wait"
    assert len(rows(tables, scene_clips)) == 1


def test_a_clip_without_a_scene_says_so(
    start_cloud: StartCloud,
) -> None:
    server = start_cloud()
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        manifest = make_manifest(causes=(cause(),))
        clip_id = vehicle.upload(make_clip(manifest), manifest)
        run_steps(server)
        told = {each.step: each for each in steps_of(http, clip_id).steps}
        assert told["scene"].reason.startswith("the clip tells no scene")


def test_full_scenes_go_to_the_vehicles_by_the_director_s_signed_word(
    start_cloud: StartCloud, tmp_path: Path
) -> None:
    server = start_cloud(scene_quota=2)
    after = server.app.state.service.after
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = FleetVehicle(http, "car-7")
        assert vehicle.enrol().status_code == 200
        assert vehicle.authenticate().status_code == 200

        def named() -> str | None:
            after.scene_lists._newest = None  # as it is some seconds later
            signed = vehicle.check_in().time
            assert signed is not None
            return TimeStatement.model_validate_json(signed.statement).fleet_scenes

        assert server.run(after.scene_lists.make()) is None
        assert named() is None
        for k in range(3):
            asked = request(k, ramp())
            if server.run(after.scenes.refusal(CAR_1, asked)) is None:
                server.run(after.scenes.register(asked.clip_id, asked.scenes))
        server.run(after.scenes.register("f" * 64, [ramp(lat_deg=10.0)]))  # known, not full
        digest = server.run(after.scene_lists.make())
        assert digest == named() is not None
        assert server.run(after.scene_lists.make()) == digest  # nothing has changed
        found = http.get(f"/v1/fleet-scenes/{digest}", headers=vehicle.bearer)
        assert hashlib.sha256(found.content).hexdigest() == digest
        path = tmp_path / "fleet-scenes.json"
        path.write_bytes(found.content)
        (known,) = read_scenes(path)
        assert (known.weight, known.scene) == (2.0, ramp())
        assert SceneBook(fleet=[known]).is_enough(ramp(random.Random(3)), known.day, 2)
        assert http.get(f"/v1/fleet-scenes/{'0' * 64}", headers=vehicle.bearer).status_code == 404
