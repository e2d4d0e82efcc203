"""SIGKILL between and within steps of a real process: the next one goes on where it was."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contracts.clock import NS_PER_S, SystemClock
from contracts.steps import ClipSteps
from tests.cloud_ingest.after.clips import picture_clip, steps_of
from tests.cloud_ingest.server_process import ServerProcess
from tests.cloud_ingest.support import Vehicle

CLIPS, KILLS, FRAMES = 3, 2, 151
ENVIRONMENT = {
    "LONGTAIL_STEPS_POLL_S": "0.02", "LONGTAIL_STEPS_LEASE_S": "0.5", "LONGTAIL_STEPS_WORKERS": "2",
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    folder = Path(tempfile.mkdtemp(prefix="lt-steps-"))
    process = ServerProcess(folder / "cloud")
    try:
        process.start(LONGTAIL_STEPS_WORKERS="0")
        yield process
    finally:
        process.stop()
        shutil.rmtree(folder)


def progress(server: ServerProcess, clip_ids: list[str]) -> list[ClipSteps]:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        return [steps_of(http, clip_id) for clip_id in clip_ids]


def done(found: list[ClipSteps]) -> int:
    return sum(each.state in ("done", "skipped") for clip in found for each in clip.steps)


def wait_until_more(server: ServerProcess, clip_ids: list[str], than: int) -> list[ClipSteps]:
    """Ask until more steps than that have ended."""
    clock = SystemClock()
    end_ns = clock.mono_ns() + 60 * NS_PER_S
    while clock.mono_ns() < end_ns:
        found = progress(server, clip_ids)
        if done(found) > than:
            return found
    raise AssertionError(f"nothing moves: {server.log()[-2000:]}")


def test_killed_workers_lose_and_double_nothing(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = Vehicle(http)
        assert vehicle.enrol().status_code == 200
        assert vehicle.authenticate().status_code == 200
        clip_ids = [
            vehicle.upload(*picture_clip(start_s=10 + 30 * k, frames=FRAMES)) for k in range(CLIPS)
        ]
    server.stop()
    ended: dict[tuple[str, str], int | None] = {}
    midway = 0
    for kill in range(KILLS):
        server.start(**ENVIRONMENT)
        found = wait_until_more(server, clip_ids, done(progress(server, clip_ids)) + kill)
        server.kill()
        midway += 0 < done(found) < 6 * CLIPS
        for clip in found:
            for step in clip.steps:
                key = clip.clip_id, step.step
                # What had ended before a kill was not done again by who came after it.
                if key in ended:
                    assert step.changed_utc_ns == ended[key]
                if step.state in ("done", "skipped"):
                    ended[key] = step.changed_utc_ns
    assert midway, "no kill met a clip on its way"
    server.start(**ENVIRONMENT)
    found = wait_until_more(server, clip_ids, 6 * CLIPS - 1)
    for clip in found:
        assert clip.ended
        told = {each.step: each for each in clip.steps}
        assert (told["read"].state, told["frames"].state) == ("done", "done")
        assert told["video"].product["frames"] == FRAMES
        for step in clip.steps:
            key = clip.clip_id, step.step
            assert key not in ended or step.changed_utc_ns == ended[key]
    views = server.folder / "views"
    assert sorted(path.name for path in views.glob("*/*")) == sorted(clip_ids)
    with httpx.Client(base_url=server.url) as http:
        for clip_id in clip_ids:
            film = http.get(f"/v1/clips/{clip_id}/views/preview.mp4")
            assert film.content[4:8] == b"ftyp"
