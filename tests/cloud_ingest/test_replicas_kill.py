"""Two replicas on one PostgreSQL and one S3, killed at random while many clients upload.

Requests of one upload go through either replica, whichever the client draws. Sent are declared
clips as a whole and in spans, clips of stock clients in chunks of any size, and clips joined from
partial uploads. At the end every clip is there once, bit by bit, and after expiry nothing else is.

The S3 is our own strict one, or moto in a process of its own, which does not check digests.
"""

from __future__ import annotations

import queue
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.app import create_app
from cloud_ingest.database import migrate
from cloud_ingest.ports import OWNED
from cloud_ingest.postgres import EmbeddedPostgres
from cloud_ingest.schema import clips, uploads
from cloud_ingest.settings import Settings
from cloud_ingest.stores.s3_client import Bucket, open_bucket
from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.ids import PART_BYTES
from tests.cloud_ingest.s3_fake import serving
from tests.cloud_ingest.s3_support import CREDENTIALS, OPERATOR, enrolled
from tests.cloud_ingest.server_process import ServerProcess
from tests.cloud_ingest.support import Vehicle, clip_id_of_bytes, make_clip, make_manifest, running
from tests.cloud_ingest.test_spans import open_span
from tests.cloud_ingest.test_tus_concat import join

MOST_TRIES = 200
LONGEST_PAUSE_S = 1.0
BUCKET = "s3://clips/fleet"


@dataclass(frozen=True)
class Size:
    """How much is sent. `large` of the clips have more than one part.

    At least so many `kills`, each after up to `calm` requests with both replicas up.
    """

    clients: int
    clips: int
    large: int
    kills: int
    calm: int


SMALL = Size(clients=5, clips=15, large=3, kills=2, calm=15)
LEAST = Size(clients=3, clips=6, large=1, kills=1, calm=9)
FULL = Size(clients=50, clips=1000, large=40, kills=20, calm=200)


S3 = Callable[[], AbstractContextManager[str]]


class UnavailableError(Exception):
    """The replica that was asked has gone, or could not do it now."""


@dataclass
class Replicas:
    """Two service processes, one of which is killed and started again now and then."""

    processes: list[ServerProcess]
    environment: dict[str, str]
    calm: int
    source: random.Random
    kills: int = 0
    _to_come: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _orders: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    _killer: threading.Thread | None = None

    def start(self) -> None:
        for process in self.processes:
            process.start(**self.environment)
        self._to_come = self.source.randrange(self.calm)
        self._killer = threading.Thread(target=self._kill, daemon=True)
        self._killer.start()

    def url(self, source: random.Random) -> str:
        return source.choice(self.processes).url

    def count(self) -> None:
        """A request is about to go out: perhaps a kill is due while it runs."""
        with self._lock:
            self._to_come -= 1
            if self._to_come == -1:
                self._orders.put("kill")

    def _kill(self) -> None:
        """One after the other: clients go on with the other replica, or fail at this one.

        The next one is drawn when both are up again: requests that fail at a replica that starts
        are many, and would have it killed as soon as it is there, so that there was only one.
        """
        while self._orders.get() == "kill":
            victim = self.source.choice(self.processes)
            victim.kill()
            self.kills += 1
            victim.start(**self.environment)
            with self._lock:
                self._to_come = self.source.randrange(self.calm)

    def stop(self) -> None:
        self._orders.put("stop")
        if self._killer is not None:
            self._killer.join()
        for process in self.processes:
            process.kill()


@dataclass
class Client:
    """A vehicle that does not give up. `source` draws all that it does."""

    replicas: Replicas
    vehicle: Vehicle
    source: random.Random

    def deliver(self, content: bytes, manifest: ClipManifest) -> None:
        """Send one clip by one of the ways, until the service says that it has it."""
        way = self.source.choice([self._declared, self._in_spans, self._stock, self._joined])
        state: dict[str, str] = {}
        clip_id = clip_id_of_bytes(content)
        for tries in range(MOST_TRIES):
            with suppress(httpx.HTTPError, UnavailableError):
                way(content, manifest, state)
                if self._at_any().status(clip_id)["state"] == "committed":
                    return
            # While one replica starts, half of the requests fail, and a clip in spans wants seven
            # of them to get through: patience has to outlast the start.
            threading.Event().wait(min(0.02 * (tries + 1), LONGEST_PAUSE_S))
        pytest.fail(f"{way.__name__} of {len(content)} bytes never ended; {state}")

    def _at_any(self) -> Vehicle:
        self.replicas.count()
        self.vehicle.http.base_url = httpx.URL(self.replicas.url(self.source))
        return self.vehicle

    def _here(self, url: str) -> str:
        return f"/v1/tus/{url.rsplit('/', 1)[1]}"

    def _declared(self, content: bytes, manifest: ClipManifest, state: dict[str, str]) -> None:
        answer = self._at_any().declare(content, manifest)
        if not answer.is_success:
            raise UnavailableError(answer.text)
        if answer.json()["answer"] == "upload":
            self._send(answer.json()["upload_url"], content)

    def _in_spans(self, content: bytes, manifest: ClipManifest, state: dict[str, str]) -> None:
        answer = self._at_any().declare(content, manifest)
        if not answer.is_success:
            raise UnavailableError(answer.text)
        if answer.json()["answer"] != "upload":
            return
        borders = [*range(0, len(content), PART_BYTES), len(content)]
        runs, urls = list(pairwise(borders)), {}
        for begin, end in self.source.sample(runs, len(runs)):
            made = open_span(self._at_any(), begin, end, clip_id_of_bytes(content))
            if not made.is_success:
                raise UnavailableError(made.text)
            urls[begin] = self._here(made.headers["Location"])
            self._send(made.headers["Location"], content[begin:end])
        joined = join(self._at_any(), [urls[begin] for begin, _ in runs])
        if not joined.is_success:
            raise UnavailableError(joined.text)

    def _stock(self, content: bytes, manifest: ClipManifest, state: dict[str, str]) -> None:
        self._send(self._created(state, "url", content), content)

    def _joined(self, content: bytes, manifest: ClipManifest, state: dict[str, str]) -> None:
        middle = int(state.setdefault("middle", str(self.source.randrange(1, len(content)))))
        urls = []
        for name, piece in (("first", content[:middle]), ("second", content[middle:])):
            url = self._created(state, name, piece, **{"Upload-Concat": "partial"})
            self._send(url, piece)
            urls.append(self._here(url))
        answer = join(self._at_any(), urls)
        if not answer.is_success:
            raise UnavailableError(answer.text)

    def _created(self, state: dict[str, str], name: str, content: bytes, **headers: str) -> str:
        if name not in state:
            made = self._at_any().create(len(content), **headers)
            if not made.is_success:
                raise UnavailableError(made.text)
            state[name] = made.headers["Location"]
        return state[name]

    def _send(self, url: str, content: bytes) -> None:
        head = self._at_any().head(self._here(url))
        if head.status_code in (404, 410):
            return  # ended by an earlier request; the status tells how
        if not head.is_success:
            raise UnavailableError(str(head.status_code))
        at = int(head.headers["Upload-Offset"])
        while at < len(content):
            length = self.source.choice([3000, 70_000, 2_500_000, PART_BYTES, len(content)])
            sent = self._at_any().patch(self._here(url), at, content[at : at + length])
            if not sent.is_success:
                raise UnavailableError(sent.text)
            at = int(sent.headers["Upload-Offset"])


@contextmanager
def strict_s3() -> Iterator[str]:
    with serving() as fake:
        yield fake.url


@contextmanager
def moto_s3() -> Iterator[str]:
    pytest.importorskip("moto")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with suppress(httpx.HTTPError):
                    httpx.put(f"{url}/clips", timeout=5).raise_for_status()
                    break
                threading.Event().wait(0.05)
            yield url
        finally:
            process.kill()
            process.wait(20)


@contextmanager
def database() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="lt-two-"))
    server = EmbeddedPostgres(folder / "pg")
    try:
        server.start()
        migrate(server.url)
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(folder)


def keys(bucket: Bucket) -> list[str]:
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    found = [str(each["Key"]) for page in pages for each in page.get("Contents", [])]
    return sorted(key for key in found if OWNED not in key)


def check(sent: dict[str, bytes], database_url: str, endpoint: str) -> None:
    """Every clip once and as it was; and nothing else, once all that is open has expired."""
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        rows = connection.execute(sa.select(clips.c.clip_id, clips.c.state)).all()
        connection.execute(sa.update(uploads).values(expires_utc=sa.text("now() - interval '1 h'")))
    assert sorted(row.clip_id for row in rows) == sorted(sent)
    assert {row.state for row in rows} == {"ready"}
    folder = Path(tempfile.mkdtemp(prefix="lt-last-"))
    try:
        settings = Settings(
            folder=folder,
            object_store_url=BUCKET,
            object_store_endpoint=endpoint,
            operator_token=OPERATOR,
        )
        with running(create_app(settings, database_url)) as last:
            # The service's own collector may hold a batch just now, which this one skips.
            for _ in range(100):
                last.run(last.app.state.collector.collect_expired())
                with engine.connect() as connection:
                    if not connection.execute(sa.select(uploads)).all():
                        break
            last.run(last.app.state.collector.sweep())
    finally:
        shutil.rmtree(folder)
    bucket = open_bucket(BUCKET, endpoint, 8)
    expected = sorted(f"fleet/raw/{clip_id[:2]}/{clip_id}.mcap" for clip_id in sent)
    assert keys(bucket) == expected
    multiparts = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    assert multiparts.get("Uploads", []) == []
    for clip_id, content in sent.items():
        key = f"fleet/raw/{clip_id[:2]}/{clip_id}.mcap"
        found = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
        assert found == content
    with engine.connect() as connection:
        assert connection.execute(sa.select(uploads)).all() == []
    engine.dispose()


def run(size: Size, seed: int, endpoint: str) -> None:
    source = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="lt-rep-"))
    with database() as database_url:
        replicas = Replicas(
            [ServerProcess(folder / name) for name in ("a", "b")],
            {
                "DATABASE_URL": database_url,
                "OBJECT_STORE_URL": BUCKET,
                "LONGTAIL_OBJECT_STORE_ENDPOINT": endpoint,
                "LONGTAIL_OPERATOR_TOKEN": OPERATOR,
                "LONGTAIL_STEPS_WORKERS": "0",
            },
            size.calm,
            source,
        )
        replicas.start()
        sent: dict[str, bytes] = {}
        lock = threading.Lock()
        try:
            with httpx.Client(base_url=replicas.processes[0].url, timeout=60) as http:
                keys = [enrolled(http, f"car-{index}") for index in range(size.clients)]

            def drive(index: int) -> None:
                own = random.Random(seed * 1000 + index)
                with httpx.Client(timeout=60) as client:
                    car = Vehicle(
                        client, keys[index].vehicle_id, keys[index].key, keys[index].token
                    )
                    sender = Client(replicas, car, own)
                    for number in range(index, size.clips, size.clients):
                        is_large = number < size.large
                        extra = PART_BYTES if is_large else 0
                        manifest = make_manifest(car.vehicle_id, number * 20 * NS_PER_S)
                        content = make_clip(manifest, extra + own.randrange(1000, 300_000), number)
                        sender.deliver(content, manifest)
                        with lock:
                            sent[clip_id_of_bytes(content)] = content

            with ThreadPoolExecutor(size.clients) as pool:
                list(pool.map(drive, range(size.clients)))
        finally:
            replicas.stop()
            shutil.rmtree(folder)
        assert replicas.kills >= size.kills
        assert len(sent) == size.clips
        check(sent, database_url, endpoint)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in CREDENTIALS.items():
        monkeypatch.setenv(name, text)


@pytest.mark.parametrize(
    ("s3", "size"), [(strict_s3, SMALL), pytest.param(moto_s3, LEAST, marks=pytest.mark.soak)]
)
def test_two_killed_replicas_lose_and_double_nothing(s3: S3, size: Size) -> None:
    with s3() as endpoint:
        run(size, 1, endpoint)


@pytest.mark.soak
@pytest.mark.parametrize("s3", [strict_s3, moto_s3])
def test_two_killed_replicas_lose_and_double_nothing_at_length(s3: S3) -> None:
    with s3() as endpoint:
        run(FULL, 100, endpoint)
