"""SIGKILL at seeded moments: every upload that was promised arrives once, nothing is half.

The server is a real process with its embedded PostgreSQL. A killer thread ends it when a drawn
number of bytes has been sent, over and over, while a vehicle uploads and resumes.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.ids import PART_BYTES, digest_file
from tests.cloud_ingest.server_process import ServerProcess
from tests.cloud_ingest.support import Vehicle, clip_id_of_bytes, make_clip, make_manifest

CLIPS = 2
KILLS = 2
MOST_TRIES = 60


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    folder = Path(tempfile.mkdtemp(prefix="lt-kill-"))
    process = ServerProcess(folder / "cloud")
    try:
        process.start()
        yield process
    finally:
        if process.stop() != 0:
            # A killed server leaves its database behind; a start and a stop end it in order.
            process.start()
            process.stop()
        shutil.rmtree(folder)


class Killer:
    """Kills the server when drawn counts of body bytes have been handed to the socket."""

    def __init__(self, server: ServerProcess, random_source: random.Random, total: int) -> None:
        self._server = server
        self._due = sorted(random_source.randrange(total) for _ in range(KILLS))
        self._sent = 0
        self.kills = 0

    def body(self, content: bytes) -> Iterator[bytes]:
        """The body in pieces, with the kills between them."""
        for at in range(0, len(content), 65_536):
            piece = content[at : at + 65_536]
            yield piece
            self._sent += len(piece)
            if self._due and self._sent >= self._due[0]:
                self._due.pop(0)
                self._server.kill()
                self.kills += 1


def try_once(
    server: ServerProcess, killer: Killer, key: Vehicle, clip: bytes, manifest: ClipManifest
) -> bool:
    """One connection's worth of work; True when the vehicle may drop the clip."""
    with httpx.Client(base_url=server.url, timeout=30) as http:
        vehicle = Vehicle(http, key.vehicle_id, key.key)
        assert vehicle.authenticate().status_code == 200
        answer = vehicle.declare(clip, manifest).json()
        if answer["answer"] == "have_it":
            return True
        offset = answer["offset_bytes"]
        vehicle.patch(answer["upload_url"], offset, killer.body(clip[offset:]))
        return bool(vehicle.status(answer["clip_id"])["state"] == "committed")


def run(server: ServerProcess, seed: int) -> None:
    source = random.Random(seed)
    name = f"car-{seed}"
    manifests = [make_manifest(name, index * 20 * NS_PER_S) for index in range(CLIPS)]
    sizes = [source.randrange(1000, 2 * PART_BYTES) for _ in manifests]
    clips = [make_clip(m, n, seed) for m, n in zip(manifests, sizes, strict=True)]
    killer = Killer(server, source, sum(map(len, clips)))
    with httpx.Client(base_url=server.url) as http:
        key = Vehicle(http, name)
        assert key.enrol().status_code == 200
    for clip, manifest in zip(clips, manifests, strict=True):
        for _ in range(MOST_TRIES):
            kills = killer.kills
            try:
                if try_once(server, killer, key, clip, manifest):
                    break
            except httpx.HTTPError:
                assert killer.kills > kills, server.log()
            if killer.kills > kills:
                server.start()
                check_nothing_is_half(server)
        else:
            pytest.fail(f"the clip never arrived: {server.log()}")
    assert killer.kills == KILLS
    server.kill()
    server.start()
    with httpx.Client(base_url=server.url) as http:
        where = f"vehicle_id = '{name}'"
        rows = http.get("/v1/clips", params={"where": where}).json()["clips"]
        assert sorted(row["clip_id"] for row in rows) == sorted(map(clip_id_of_bytes, clips))
        for clip in clips:
            found = http.get(f"/clips/{clip_id_of_bytes(clip)}.mcap").content
            assert hashlib.sha256(found).digest() == hashlib.sha256(clip).digest()


def check_nothing_is_half(server: ServerProcess) -> None:
    """Whatever is visible is whole: objects match their names, rows have their objects."""
    for path in (server.folder / "objects").glob("??/*.mcap"):
        assert digest_file(path).clip_id() == path.stem
    with httpx.Client(base_url=server.url) as http:
        for row in http.get("/v1/clips").json()["clips"]:
            head = http.head(f"/clips/{row['clip_id']}.mcap")
            assert head.headers["Content-Length"] == str(row["size_bytes"])


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 8))]
)
def test_a_killed_server_loses_and_doubles_nothing(server: ServerProcess, seed: int) -> None:
    run(server, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_a_killed_server_loses_and_doubles_nothing_at_length(
    server: ServerProcess, seed: int
) -> None:
    run(server, seed)
