"""Heavy steps on a Ray cluster: found or not, dying or not, the same clip comes out."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.mining.picture_encoder import PictureEncoder
from cloud_ingest.schema import embeddings
from cloud_ingest.settings import Settings
from cloud_ingest.steps.answering import Product
from cloud_ingest.steps.driver import connected
from cloud_ingest.steps.far import encode, encode_request, performed, source_digest, vectors_of
from cloud_ingest.steps.on_ray import OnRay, RayDriver, encoding_by, ray_driver
from cloud_ingest.steps.work import Done, Ending, Work
from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import InputError, LongtailError, TransientError
from tests.cloud_ingest.after.clips import jpeg, picture_clip, run_steps, states, steps_of
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.mining.test_search import mean_colour_model
from tests.cloud_ingest.support import Vehicle
from tests.cloud_ingest.test_commit import enrolled, rows

ROOT = Path(__file__).parents[3]
WORK = "tests.cloud_ingest.after.far_work"
NOBODY = "127.0.0.1:9"
"""Port 9 is discard's, which nothing listens on."""


def ending(driver: RayDriver, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        try:
            return await work()
        finally:
            await driver.close()

    return asyncio.run(run())


@pytest.mark.parametrize("address", ["", "auto", "cluster", "http://x:1", "a b:1", "x:port"])
def test_what_is_no_address_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(InputError, match="LONGTAIL_STEPS_RAY: an address is HOST:PORT"):
        ray_driver(Settings(steps_ray=address))


def test_without_the_extra_the_service_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray: pip install 'longtail\[ray\]'"):
        ray_driver(Settings(steps_ray="10.0.0.1:6379"))
    # A replica that leaves the steps to others needs none.
    assert ray_driver(Settings(steps_ray="10.0.0.1:6379", steps_workers=0)) is None
    assert ray_driver(Settings()) is None


def test_where_nobody_answers_it_says_so(tmp_path: Path) -> None:
    for address in (NOBODY, f"ray://{NOBODY}"):
        with pytest.raises(TransientError, match="no Ray cluster: nobody answers"):
            connected(address)
    driver = RayDriver(NOBODY, Settings(folder=tmp_path))

    async def twice() -> None:
        for _ in range(2):  # the second time it is asked anew
            with pytest.raises(TransientError, match=f"{NOBODY}: no Ray cluster: nobody answers"):
                await driver.ask("any:thing", {})

    ending(driver, twice)


def test_other_code_on_the_cluster_is_refused(tmp_path: Path) -> None:
    answer = performed("another", "{}", "any:thing", "{}")
    assert "the cluster has other code than the service" in answer and "InputError" in answer
    assert len(source_digest()) == 64


def test_the_cluster_s_encoder_is_the_service_s(tmp_path: Path) -> None:
    model = tmp_path / "colours.onnx"
    mean_colour_model(model)
    here = PictureEncoder(model)
    pictures = [jpeg(1), jpeg(2)]
    asked = encode_request(here.path, here.space, pictures)
    assert vectors_of(encode(Settings(), asked)).tolist() == here.encode(pictures).tolist()
    with pytest.raises(InputError, match=r"colours\.onnx: the cluster has another model here"):
        encode(Settings(), asked | {"space": "0" * 64})


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RayDriver:
    """A driver whose Ray is the tests' own."""
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).with_name('stand_in')}:{ROOT}")
    return RayDriver("local", Settings(folder=tmp_path))


def test_questions_side_by_side_get_their_own_answers(stand_in: RayDriver, tmp_path: Path) -> None:
    async def ask() -> None:
        texts = [f"{k}" * 200_000 for k in range(9)]
        found = await asyncio.gather(*(stand_in.ask(f"{WORK}:echo", {"text": t}) for t in texts))
        assert found == [{"asked": text, "folder": str(tmp_path)} for text in texts]

    ending(stand_in, ask)


def test_what_goes_wrong_far_away_is_told_as_it_is(stand_in: RayDriver) -> None:
    async def ask() -> None:
        with pytest.raises(InputError, match="clip: is of no use"):
            await stand_in.ask(f"{WORK}:refuses", {})
        with pytest.raises(TransientError, match=r"task died: The worker died unexpectedly$"):
            await stand_in.ask("any:gone", {})
        with pytest.raises(TransientError, match="did not end it within 900 s"):
            await stand_in.ask("any:never", {})
        with pytest.raises(LongtailError, match="AttributeError"):
            await stand_in.ask(f"{WORK}:nothing", {})
        # The driver goes down with its cluster: who waits is told, who comes next gets a new one.
        both = (stand_in.ask("any:lost", {}), stand_in.ask("any:lost", {}))
        found = await asyncio.gather(*both, return_exceptions=True)
        assert [type(each) for each in found] == [TransientError] * 2
        assert "Ray's driver ended, with status 3" in str(found[0])
        assert (await stand_in.ask(f"{WORK}:echo", {"text": "on"}))["asked"] == "on"

    ending(stand_in, ask)


def test_only_the_heavy_steps_go_there(stand_in: RayDriver) -> None:
    class Near:
        asked: list[str] = []  # noqa: RUF012

        async def __call__(self, name: str, clip_id: str, manifest: ClipManifest) -> Product:
            self.asked.append(name)
            return {}

        async def close(self) -> None:
            self.asked.append("close")

    async def run() -> None:
        computing = OnRay(stand_in, Near())
        _, manifest = picture_clip()
        for name in ("read", "frames"):
            await computing(name, "0" * 64, manifest)
        with pytest.raises(TransientError, match="the store failed: No such file"):
            await computing("video", "0" * 64, manifest)
        await computing.close()
        assert Near.asked == ["read", "frames", "close"]

    ending(stand_in, run)


@pytest.fixture(params=["stand-in", pytest.param("Ray", marks=pytest.mark.interop)])
def some_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of this machine whose workers find this project and its tests."""
    found = [str(ROOT)]
    if request.param == "stand-in":
        found.insert(0, str(Path(__file__).with_name("stand_in")))
    monkeypatch.setenv("PYTHONPATH", ":".join(found))


@pytest.mark.usefixtures("some_ray")
def test_film_and_embedding_are_made_on_the_cluster(
    start_cloud: StartCloud, tables: sa.Engine, tmp_path: Path
) -> None:
    """And a task whose worker dies leaves its step waiting, to be begun again."""
    model, clock = tmp_path / "colours.onnx", VirtualClock()
    mean_colour_model(model)
    server = start_cloud({"clock": clock, "encoders": ()}, picture_model=model)
    service = server.app.state.service
    driver = RayDriver("local", service.settings)
    runner = service.after.runner
    pictures = encoding_by(driver, service.mining.pictures, PictureEncoder(model))
    near = runner._means.computing
    runner._means = replace(runner._means, computing=OnRay(driver, near), encoder=pictures)
    marker = {"marker": str(tmp_path / "died")}

    async def dying(work: Work) -> Ending:
        return Done(await driver.ask(f"{WORK}:dies_once", marker))

    try:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            vehicle: Vehicle = enrolled(http)
            runner._steps = {**runner._steps, "caption": dying}
            clip_id = vehicle.upload(*picture_clip())
            run_steps(server)
            found = steps_of(http, clip_id)
            told = {each.step: each for each in found.steps}
            assert states(found)["caption"] == "waiting"
            # The stand-in has no worker but the driver itself.
            assert re.search("its Ray task died|Ray's driver ended", told["caption"].reason)
            assert told["video"].product["frames"] == 21
            assert http.get(f"/v1/clips/{clip_id}/views/preview.mp4").status_code == 200
            assert told["embedding"].product["by"] == "colours"
            run_steps(server)
            assert states(steps_of(http, clip_id))["caption"] == "waiting"
            server.run(clock.advance_ns(10 * NS_PER_S))
            run_steps(server)
            told = {each.step: each for each in steps_of(http, clip_id).steps}
            assert told["caption"].state == "done"
            assert told["caption"].product == {"folder": str(service.settings.folder)}
            (row,) = rows(tables, embeddings)
            frames = [
                http.get(f"/v1/clips/{clip_id}/views/{each['name']}").content
                for each in told["frames"].product["frames"]
            ]  # fmt: skip
            wanted = PictureEncoder(model).encode(frames).mean(axis=0)
            assert list(row.vector) == pytest.approx(wanted.tolist(), abs=1e-3)
    finally:
        server.run(driver.close())
