"""The client against the real service: pages, details, broken downloads, errors, retries."""

from __future__ import annotations

import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from client import CloudClient
from client.download import partial_path
from client.http import Retries, problem_error
from cloud_ingest.stores.local_objects import LocalObjects
from contracts.clock import NS_PER_S
from contracts.errors import (
    ConflictError,
    CorruptError,
    ExhaustedError,
    InputError,
    LongtailError,
    RefusedError,
    TransientError,
)
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import RunningServer, Vehicle, make_clip, make_manifest

AT_ONCE = Retries(attempts=3, first_pause_s=0.001, longest_pause_s=0.002)


@pytest.fixture
def client(cloud: RunningServer) -> CloudClient:
    return CloudClient(cloud.url, retries=AT_ONCE)


def test_search_goes_through_all_pages(
    client: CloudClient, vehicle: Vehicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.cloud._PAGE", 2)
    ids = []
    for index in range(5):
        manifest = make_manifest(start_mono_ns=index * 20 * NS_PER_S)
        ids.append(vehicle.upload(make_clip(manifest), manifest))
    assert [row.clip_id for row in client.search("ORDER BY start_utc")] == ids
    assert [row.clip_id for row in client.search("ORDER BY start_utc", 3)] == ids[:3]
    assert list(client.search("weather = 'snow'")) == []
    assert list(client.search(limit=0)) == []
    with pytest.raises(InputError, match="did you mean 'weather'") as raised:
        list(client.search("wether = 'snow'"))
    assert raised.value.place == "where, column 1"


def test_quarantined_clips_are_shown_when_asked(client: CloudClient, vehicle: Vehicle) -> None:
    clip_id = vehicle.upload(b"not a clip", make_manifest())
    assert list(client.search()) == []
    (row,) = client.search(include_quarantined=True)
    assert (row.clip_id, row.state) == (clip_id, "quarantined")
    assert client.show(clip_id).manifest is None


def test_show_and_pull(client: CloudClient, vehicle: Vehicle, tmp_path: Path) -> None:
    manifest = make_manifest()
    content = make_clip(manifest, 100_000)
    clip_id = vehicle.upload(content, manifest)
    assert client.show(clip_id).manifest == manifest
    path = client.pull(clip_id, tmp_path)
    assert path == tmp_path / f"{clip_id}.mcap"
    assert path.read_bytes() == content
    assert client.pull(clip_id, tmp_path / "clips") == tmp_path / "clips" / f"{clip_id}.mcap"
    named = client.pull(clip_id, tmp_path / "new" / "my.mcap")
    assert named.read_bytes() == content
    assert client.pull(clip_id, named) == named, "there already"
    assert not partial_path(named).exists()
    for call in (client.show, lambda name: client.pull(name, tmp_path / "x")):
        with pytest.raises(InputError, match="no such clip"):
            call("0" * 64)
        with pytest.raises(InputError, match="not a SHA-256"):
            call("../../etc/passwd")


class BreaksOff(LocalObjects):
    """An object store whose reads end after `budgets.pop(0)` bytes, as a cut link does."""

    budgets: list[int]
    asked: list[int]

    async def read(self, clip_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        self.asked.append(start)
        left = self.budgets.pop(0) if self.budgets else length
        async for piece in super().read(clip_id, start, length):
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                raise TransientError("cut")


@contextmanager
def breaking(start_cloud: StartCloud, folder: Path) -> Iterator[tuple[CloudClient, BreaksOff, str]]:
    """A service whose downloads break, with one clip of about 2 MB."""
    objects = BreaksOff(folder / "objects")
    objects.budgets, objects.asked = [], []
    server = start_cloud({"objects": objects})
    with httpx.Client(base_url=server.url) as plain:
        vehicle = Vehicle(plain)
        vehicle.enrol()
        vehicle.authenticate()
        manifest = make_manifest()
        clip_id = vehicle.upload(make_clip(manifest, 2_000_000), manifest)
    yield CloudClient(server.url, retries=AT_ONCE), objects, clip_id


def test_a_broken_download_goes_on(start_cloud: StartCloud, tmp_path: Path) -> None:
    with breaking(start_cloud, tmp_path) as (client, objects, clip_id):
        objects.budgets = [300_000, 500_000, 200_000, 100_000, 1]
        path = client.pull(clip_id, tmp_path / "clip.mcap")
        assert objects.asked == [0, 300_000, 800_000, 1_000_000, 1_100_000, 1_100_001]
        assert path.stat().st_size > 2_000_000


def test_a_download_gives_up_and_is_taken_up_later(start_cloud: StartCloud, tmp_path: Path) -> None:
    with breaking(start_cloud, tmp_path) as (client, objects, clip_id):
        objects.budgets = [300_000, 0, 0, 0]
        target = tmp_path / "clip.mcap"
        with pytest.raises(TransientError):
            client.pull(clip_id, target)
        assert not target.exists()
        assert partial_path(target).stat().st_size == 300_000
        client.pull(clip_id, target)
        assert objects.asked[-1] == 300_000
        assert target.exists()


def test_wrong_bytes_never_get_the_name(
    client: CloudClient, vehicle: Vehicle, tmp_path: Path
) -> None:
    manifest = make_manifest()
    content = make_clip(manifest, 50_000)
    clip_id = vehicle.upload(content, manifest)
    target = tmp_path / "clip.mcap"
    for rubbish in (b"rubbish", bytes(len(content)), bytes(len(content) + 5)):
        partial_path(target).write_bytes(rubbish)
        with pytest.raises(CorruptError):
            client.pull(clip_id, target)
        assert not target.exists()
        assert not partial_path(target).exists()
    assert client.pull(clip_id, target).read_bytes() == content
    with pytest.raises(InputError, match="cannot write"):
        client.pull(clip_id, Path("/proc/nowhere.mcap"))
    for folder in (Path("/proc/nowhere"), target / "under-a-file"):
        with pytest.raises(InputError, match="cannot make this folder"):
            client.pull(clip_id, folder)


def test_events_and_enrolment(client: CloudClient, vehicle: Vehicle) -> None:
    manifest = make_manifest()
    record = {
        "event": manifest.event.model_dump(),
        "utc_ns": 5,
        "cause": manifest.causes[0].model_dump(),
        "outcome": "captured",
    }
    vehicle.http.post("/v1/events", json=record, headers=vehicle.bearer)
    (row,) = client.events(vehicle_id="car-1", outcome="captured")
    assert row.record.event == manifest.event
    assert list(client.events(outcome="lost")) == []
    token = client.create_enrolment_token("car-9")
    assert Vehicle(vehicle.http, "car-9").enrol(token.token).status_code == 200
    with pytest.raises(InputError):
        client.create_enrolment_token("no name/at all")


def test_operators_token(start_cloud: StartCloud) -> None:
    token = "operator-token-0123456789"
    server = start_cloud(operator_token=token)
    assert list(CloudClient(server.url, token).search()) == []
    for wrong in (None, "something-else"):
        with pytest.raises(RefusedError, match="bearer"):
            list(CloudClient(server.url, wrong).search())


@pytest.mark.parametrize("url", ["", "ftp://x", "localhost:8080", "file:///etc/passwd"])
def test_a_base_url_is_http(url: str) -> None:
    with pytest.raises(InputError):
        CloudClient(url)


def test_a_service_that_is_away_is_transient() -> None:
    with pytest.raises(TransientError, match="cannot be reached"):
        list(CloudClient("http://127.0.0.1:9", retries=AT_ONCE).search())


@contextmanager
def scripted(script: list[tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers what the script says, and notes the paths it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = script.pop(0)
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


EMPTY = b'{"clips": [], "cursor": null}'


def test_what_changes_nothing_is_tried_again() -> None:
    with scripted([(503, b""), (502, b"<html>"), (200, EMPTY)]) as (url, asked):
        assert list(CloudClient(url, retries=AT_ONCE).search()) == []
        assert len(asked) == 3
    with scripted([(503, b"")] * 4) as (url, asked):
        with pytest.raises(TransientError):
            list(CloudClient(url, retries=AT_ONCE).search())
        assert len(asked) == 3
        with pytest.raises(TransientError):
            CloudClient(url, retries=AT_ONCE).create_enrolment_token()
        assert len(asked) == 4, "a call that changes something is sent once"


def test_strange_answers_are_told() -> None:
    with (
        scripted([(200, b"<html>hello</html>"), (302, b"")]) as (url, _),
        pytest.raises(CorruptError, match="not the answer"),
    ):
        list(CloudClient(url, retries=AT_ONCE).search())
    with scripted([(302, b"")]) as (url, asked):
        with pytest.raises(LongtailError):
            list(CloudClient(url, "secret", retries=AT_ONCE).search())
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InputError), (401, RefusedError), (403, RefusedError), (404, InputError),
        (409, ConflictError), (413, InputError), (429, TransientError), (460, CorruptError),
        (500, TransientError), (503, TransientError), (507, ExhaustedError),
    ],
)  # fmt: skip
def test_statuses_become_errors(status: int, kind: type[LongtailError]) -> None:
    assert type(problem_error(status, b"")) is kind
    told = problem_error(status, b'{"error": "x", "message": "words", "place": "here"}')
    assert (told.message, told.place) == ("words", "here")
