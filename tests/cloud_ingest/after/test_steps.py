"""What happens to a clip after its commit: each step once, visible, and never half."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import httpx
import numpy as np
import pytest
import simplejpeg
import sqlalchemy as sa

from cloud_ingest.schema import outbox
from cloud_ingest.steps import video
from cloud_ingest.steps.pictures import as_jpeg
from cloud_ingest.steps.runner import MOST_ATTEMPTS
from cloud_ingest.steps.work import Done, Ending, Work
from cloud_ingest.steps_schema import clip_steps, step_runs
from contracts.clip import ChannelSummary, ClipEmbedding, ClipManifest
from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import CorruptError, TransientError
from contracts.samples import ImageSample
from edge_agent.clips.summary import summarise_channels
from kernels.clip import schemas
from kernels.clip.writer import write_clip
from tests.cloud_ingest.after.clips import image, jpeg, picture_clip, run_steps, states, steps_of
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import RunningServer, Vehicle, make_clip, make_manifest
from tests.cloud_ingest.test_commit import enrolled, rows


def test_a_clip_goes_through_all_steps(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle, tables: sa.Engine
) -> None:
    clip, manifest = picture_clip(embedding=ClipEmbedding(model_digest="a" * 64, vector=(0.6, 0.8)))
    clip_id = vehicle.upload(clip, manifest)
    assert set(states(steps_of(http, clip_id)).values()) == {"waiting"}
    assert run_steps(cloud) == 1
    found = steps_of(http, clip_id)
    assert found.ended
    assert states(found) == {
        "read": "done", "frames": "done", "video": "done", "embedding": "done",
        "scene": "skipped", "caption": "done",
    }  # fmt: skip
    told = {each.step: each for each in found.steps}
    assert told["read"].product == {"messages": 32, "channels": 2}
    assert told["caption"].product["by"] == "captions"
    assert told["embedding"].product == {"spaces": ["a" * 64], "by": "vehicle"}
    frames: Any = told["frames"].product["frames"]
    assert [(each["channel"], each["at"]) for each in frames] == [
        (channel, at)
        for channel in ("/camera/front", "/camera/left")
        for at in ("begin", "fire", "end")
    ]
    first = http.get(f"/v1/clips/{clip_id}/views/{frames[0]['name']}")
    assert (first.headers["Content-Type"], first.content) == ("image/jpeg", jpeg(0))
    assert simplejpeg.decode_jpeg(first.content).shape == (64, 96, 3)
    film = http.get(f"/v1/clips/{clip_id}/views/preview.mp4")
    assert film.headers["Content-Type"] == "video/mp4"
    with av.open(io.BytesIO(film.content)) as container:
        (stream,) = container.streams.video
        assert stream.codec_context.name == "h264"
        shown = [(frame.width, frame.height, frame.time) for frame in container.decode(stream)]
    assert len(shown) == 21
    assert shown[0] == (96, 64, 0.0)
    assert shown[-1][2] == pytest.approx(10.0, abs=0.01)
    # The outbox is empty, and nothing is done twice.
    assert rows(tables, outbox) == []
    assert run_steps(cloud) == 0


def test_a_run_that_ends_while_it_is_read_is_told_at_one_moment(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle, tables: sa.Engine
) -> None:
    clip_id = vehicle.upload(*picture_clip(frames=2))
    run_steps(cloud)

    def write(step: str, run: str) -> None:
        with tables.begin() as connection:
            connection.execute(
                sa.update(clip_steps).where(clip_steps.c.step == "caption").values(state=step)
            )
            connection.execute(sa.update(step_runs).values(state=run))

    def end_at_once(*_: object) -> None:
        write("done", "ended")

    write("running", "open")
    engine = cloud.app.state.service.engine.sync_engine
    sa.event.listen(engine, "after_cursor_execute", end_at_once)
    try:
        found = steps_of(http, clip_id)
    finally:
        sa.event.remove(engine, "after_cursor_execute", end_at_once)
    assert (found.ended, states(found)["caption"]) == (False, "running")
    found = steps_of(http, clip_id)
    assert (found.ended, states(found)["caption"]) == (True, "done")


def test_views_are_the_operators_or_by_link(start_cloud: StartCloud, http: httpx.Client) -> None:
    server = start_cloud(operator_token="0123456789abcdef0", allow_demo_keys=True)
    with httpx.Client(base_url=server.url) as stranger:
        path = f"/v1/clips/{'0' * 64}"
        assert stranger.get(f"{path}/views/preview.mp4").status_code == 401
        assert stranger.get(f"{path}/steps").status_code == 401
        assert stranger.post(f"{path}/steps/redo").status_code == 401
    assert http.get(f"{path}/views/preview.mp4").status_code == 404
    assert http.get(f"{path}/views/..%2f..%2fsecret").status_code in (400, 404)
    assert http.get(f"{path}/views/key.pem").status_code == 400
    assert http.get(f"{path}/steps").status_code == 404


def test_a_clip_that_breaks_off_is_quarantined(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle
) -> None:
    promised = ChannelSummary(
        name="/camera/front", schema_name=schemas.IMAGE, messages=300, payload_bytes=1
    )
    clip, manifest = picture_clip(channels=(promised,))
    clip_id = vehicle.upload(clip, manifest)
    run_steps(cloud)
    row = http.get(f"/v1/clips/{clip_id}").json()["clip"]
    assert row["state"] == "quarantined"
    assert row["state_reason"] == ("cannot be read: /camera/front: holds 21 of 300 messages")
    found = steps_of(http, clip_id)
    assert found.ended
    assert states(found) == dict.fromkeys(
        ("frames", "video", "embedding", "scene", "caption"), "skipped"
    ) | {"read": "failed"}
    assert http.get("/v1/clips").json()["clips"] == []


def test_a_clip_that_was_set_aside_at_the_commit_is_left_alone(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle
) -> None:
    clip_id = vehicle.upload(b"this is no clip", make_manifest())
    run_steps(cloud)
    (reason,) = {each.reason for each in steps_of(http, clip_id).steps}
    assert reason.startswith("the clip is quarantined: cannot be read")


def test_a_broken_picture_is_counted_and_costs_nothing_else(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle
) -> None:
    messages = [image("/camera/a", 10 + k, jpeg(k) if k else b"torn") for k in range(5)]
    channels = summarise_channels(messages)
    manifest = make_manifest(utc_minus_mono_ns=0, channels=channels)
    stream = io.BytesIO()
    write_clip(stream, manifest, messages, {})
    clip_id = vehicle.upload(stream.getvalue(), manifest)
    run_steps(cloud)
    told = {each.step: each for each in steps_of(http, clip_id).steps}
    assert (told["frames"].state, told["frames"].product["broken"]) == ("done", 1)
    assert (told["video"].product["frames"], told["video"].product["broken"]) == (4, 1)


def test_without_the_extra_the_film_is_skipped_with_the_reason(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    clip_id = vehicle.upload(*picture_clip())
    run_steps(cloud)
    told = {each.step: each for each in steps_of(http, clip_id).steps}
    assert (told["video"].state, told["frames"].state) == ("skipped", "done")
    assert "extra `camera`" in told["video"].reason
    monkeypatch.undo()
    # Once it is there, what was skipped is done anew, and what is done stays.
    assert http.post(f"/v1/clips/{clip_id}/steps/redo").json()["round"] == 2
    run_steps(cloud)
    again = {each.step: each for each in steps_of(http, clip_id).steps}
    assert (again["video"].state, again["video"].product["name"]) == ("done", video.NAME)
    assert again["frames"] == told["frames"]


class Steps:
    """Steps that count their calls and fail as told."""

    def __init__(self, errors: list[Exception]) -> None:
        self.calls: list[str] = []
        self._errors = errors

    async def first(self, work: Work) -> Ending:
        self.calls.append("first")
        if self._errors:
            raise self._errors.pop(0)
        return Done({"n": len(self.calls)})

    async def second(self, work: Work) -> Ending:
        self.calls.append("second")
        return Done()


def with_steps(server: RunningServer, steps: Steps) -> None:
    server.app.state.service.after.runner._steps = {"first": steps.first, "second": steps.second}


def test_a_store_that_fails_is_waited_for_and_then_told(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock})
    steps = Steps([TransientError("away")] * (MOST_ATTEMPTS + 5))
    with_steps(server, steps)
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        vehicle.upload(make_clip(make_manifest()), make_manifest())
        run_steps(server)
        run_steps(server)
        assert steps.calls == ["first"]
        (row,) = rows(tables, clip_steps)
        assert (row.state, row.reason, row.attempts) == ("waiting", "away", 1)
        for _ in range(MOST_ATTEMPTS):
            server.run(clock.advance_ns(1000 * NS_PER_S))
            run_steps(server)
    assert steps.calls == ["first"] * MOST_ATTEMPTS + ["second"]
    assert {row.step: row.state for row in rows(tables, clip_steps)} == {
        "first": "failed", "second": "done",
    }  # fmt: skip
    assert [row.state for row in rows(tables, step_runs)] == ["ended"]


def test_what_nobody_foresaw_fails_its_step_alone(
    cloud: RunningServer, vehicle: Vehicle, tables: sa.Engine
) -> None:
    steps = Steps([ZeroDivisionError("oh")])
    with_steps(cloud, steps)
    vehicle.upload(make_clip(make_manifest()), make_manifest())
    run_steps(cloud)
    found = {row.step: (row.state, row.reason) for row in rows(tables, clip_steps)}
    assert found == {"first": ("failed", "ZeroDivisionError: oh"), "second": ("done", "")}


def test_many_clips_over_two_replicas_are_done_once_each(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    first, second = start_cloud(steps_workers=0), start_cloud(steps_workers=0)
    steps = Steps([])
    for server in (first, second):
        with_steps(server, steps)
        server.app.state.service.after.runner._workers = 4
    with httpx.Client(base_url=first.url) as http:
        vehicle = enrolled(http)
        for k in range(20):
            manifest = make_manifest(start_mono_ns=k * 20 * NS_PER_S)
            vehicle.upload(make_clip(manifest), manifest)
    futures = [
        asyncio.run_coroutine_threadsafe(
            server.app.state.service.after.runner.run_until_idle(), server.loop
        )
        for server in (first, second)
    ]
    assert sum(future.result(30) for future in futures) == 20
    assert sorted(steps.calls) == ["first"] * 20 + ["second"] * 20
    assert {row.state for row in rows(tables, clip_steps)} == {"done"}


def test_a_worker_that_lost_its_lease_writes_nothing(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    clock = VirtualClock()
    server = start_cloud({"clock": clock})
    after = server.app.state.service.after
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        vehicle.upload(make_clip(make_manifest()), make_manifest())
    slow, quick = Steps([]), Steps([])

    async def overtaken(work: Work) -> Ending:
        await clock.advance_ns(120 * NS_PER_S)  # it slept through its lease
        (run,) = await after.book.claim("another", 1)
        assert await after.book.begin(run, "first") == 2
        return Done({"by": "the one that slept"})

    after.runner._steps = {"first": overtaken, "second": slow.second}
    run_steps(server)
    assert (slow.calls, quick.calls) == ([], [])
    (row,) = rows(tables, clip_steps)
    assert (row.state, row.attempts, row.product) == ("running", 2, {})


class OneNumber:
    name = "encoder-1"

    async def embed(self, clip_id: str, frames: Sequence[bytes]) -> str:
        assert len(frames) == 6
        return "e" * 64


class Sayer:
    name = "captioner-1"

    async def caption(self, clip_id: str, manifest: ClipManifest) -> str:
        return f"{len(manifest.causes)} cause"


def test_an_encoder_and_a_captioner_are_asked_where_there_are_any(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle
) -> None:
    runner = cloud.app.state.service.after.runner
    runner._means = replace(runner._means, encoder=OneNumber(), captioner=Sayer())
    clip_id = vehicle.upload(*picture_clip())
    run_steps(cloud)
    told = {each.step: each.product for each in steps_of(http, clip_id).steps}
    assert told["embedding"] == {"spaces": ["e" * 64], "by": "encoder-1"}
    assert told["caption"] == {"caption": "1 cause", "by": "captioner-1"}


def test_pictures_in_png_become_jpeg() -> None:
    pixels = np.full((32, 48, 3), 128, np.uint8)
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 48, 32, "rgb24"
    encoder.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    png = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    made = as_jpeg(ImageSample("c", 0, "png", png, 0, 0, "c"))
    assert simplejpeg.decode_jpeg(made).shape == (32, 48, 3)
    with pytest.raises(CorruptError):
        as_jpeg(ImageSample("c", 0, "png", b"no picture", 0, 0, "c"))
