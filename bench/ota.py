"""Update checks of a fleet: bytes, requests and time of a vehicle, and the director's signing.

Each vehicle has targets, snapshot and timestamp of its own. The peers hold the same orders for
the same vehicles in one TUF repository: with one common targets file, and with the hash bins
that TUF has for large repositories (succinct roles, 256 bins). There any vehicle's change makes
every vehicle fetch again. Bytes are those of the metadata files that a stock python-tuf client
fetches; the peers' come from memory, without HTTP.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa
import uvicorn
import yaml
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import (
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from bench.figures import Figure, figure
from client.releases import ReleaseClient
from client.signing import load_key
from cloud_ingest.app import create_app
from cloud_ingest.database import migrate
from cloud_ingest.fleet_schema import assignments
from cloud_ingest.ota.image import MetadataFile
from cloud_ingest.postgres import EmbeddedPostgres
from cloud_ingest.schema import vehicles
from cloud_ingest.service import Service
from cloud_ingest.settings import Settings
from contracts.clock import SystemClock
from contracts.errors import TransientError
from contracts.ota import TargetNote

VEHICLES = 10_000
SAMPLE = 60
SPECS = 6
"""Trigger specs that each vehicle is ordered to hold."""
_BIN_BITS = 8
_LIFE = dt.timedelta(days=7)
_START_S = 60


class Fetched(FetcherInterface):
    """Counts what a stock client fetches through `get`."""

    def __init__(self, get: Callable[[str], bytes | None]) -> None:
        self._get = get
        self.requests = 0
        self.size_bytes = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.requests += 1
        content = self._get(url)
        if content is None:
            raise DownloadHTTPError("absent", 404)
        self.size_bytes += len(content)
        return iter([content])


@dataclass(frozen=True, slots=True)
class Check:
    """One update check."""

    seconds: float
    requests: int
    size_bytes: int


class Client:
    """A stock client of one repository; its metadata stays between checks."""

    def __init__(
        self, folder: Path, url: str, root: bytes, get: Callable[[str], bytes | None]
    ) -> None:
        folder.mkdir(parents=True)
        self._folder, self._url, self._root, self._get = folder, url, root, get

    def check(self, path: str | None = None) -> Check:
        """Refresh, and look for a target where it matters in which role it stands."""
        fetched = Fetched(self._get)
        begin_s = time.perf_counter()
        updater = Updater(
            str(self._folder), self._url, fetcher=fetched, bootstrap=self._root,
            config=UpdaterConfig(targets_max_length=2**30, snapshot_max_length=2**30),
        )  # fmt: skip
        updater.refresh()
        if path is not None and updater.get_targetinfo(path) is None:
            raise TransientError("the peer does not hold its own file", path)
        return Check(time.perf_counter() - begin_s, fetched.requests, fetched.size_bytes)


@contextmanager
def serving(folder: Path, database_url: str) -> Iterator[tuple[str, Service]]:
    """The real service on a free loopback port, in a thread."""
    app = create_app(Settings(folder=folder), database_url)
    config = uvicorn.Config(
        app, port=0, http="httptools", ws="none", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end_s = time.monotonic() + _START_S
    while not server.started:
        thread.join(0.02)
        if not thread.is_alive() or time.monotonic() > end_s:
            raise TransientError("the service did not start")
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", app.state.service
    finally:
        server.should_exit = True
        thread.join(_START_S)


def run(count: int = VEHICLES, sample: int = SAMPLE) -> list[Figure]:
    """Figures for `count` vehicles, times as medians over `sample` of them."""
    with tempfile.TemporaryDirectory(prefix="lt-bench-ota-") as name:
        folder = Path(name)
        postgres = EmbeddedPostgres(folder / "pg")
        try:
            postgres.start()
            migrate(postgres.url)
            with serving(folder / "cloud", postgres.url) as (url, service):
                _publish(folder, url)
                _enrol(postgres.url, count)
                ours, signing = _ours(folder, url, postgres.url, service, count, sample)
        finally:
            postgres.stop()
        return _figures(ours, signing, _common(folder, count), _bins(folder, count), count)


def _publish(folder: Path, url: str) -> None:
    key = load_key(folder / "cloud" / "ota" / "offline" / "triggers-1.pem")
    publisher = ReleaseClient(url, "bench")
    for index in range(SPECS):
        path = folder / f"spec-{index}.yaml"
        document = {
            "apiVersion": "longtail/v1", "id": f"brake-{index}", "version": 1,
            "kind": "hard_brake", "owner": "bench",
        }  # fmt: skip
        path.write_text(yaml.safe_dump(document))
        publisher.publish_spec(path, key)


def _enrol(database_url: str, count: int) -> None:
    """Vehicles and their assignments, as many rows as the fleet has."""
    slots = {
        f"trigger:brake-{index}": {
            "kind": "trigger", "name": f"brake-{index}", "version": 1, "attempt": 1,
        }
        for index in range(SPECS)
    }  # fmt: skip
    names = [_name(index) for index in range(count)]
    now = dt.datetime.fromtimestamp(0, dt.UTC)
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        rows = [{"vehicle_id": n, "public_key": bytes(32), "enrolled_utc": now} for n in names]
        connection.execute(sa.insert(vehicles), rows)
        orders = [{"vehicle_id": n, "counter": 1, "slots": slots, "killed": []} for n in names]
        connection.execute(sa.insert(assignments), orders)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()


def _name(index: int) -> str:
    return f"car-{index:05d}"


@dataclass(frozen=True, slots=True)
class Ours:
    """Checks of the sampled vehicles' director repositories, and of the common image one."""

    first: list[Check]
    idle: list[Check]
    changed: list[Check]
    image: Check
    image_idle: Check


@dataclass(frozen=True, slots=True)
class Signing:
    """Seconds of the service's own work for one timestamp, without HTTP."""

    changed_s: float
    idle_s: float


def _ours(
    folder: Path, url: str, database_url: str, service: Service, count: int, sample: int
) -> tuple[Ours, Signing]:
    trust = folder / "cloud" / "ota" / "trust"
    root = (trust / "director.root.json").read_bytes()
    names = [_name(index * count // sample) for index in range(sample)]
    with httpx.Client(timeout=60) as http:

        def get(address: str) -> bytes | None:
            answer = http.get(address)
            return None if answer.status_code == 404 else answer.raise_for_status().content

        clients = [
            Client(folder / "d" / name, f"{url}/v1/ota/director/{name}/metadata/", root, get)
            for name in names
        ]
        first = [client.check() for client in clients]
        idle = [client.check() for client in clients]
        _change(database_url, names)
        changed = [client.check() for client in clients]
        image_root = (trust / "image.root.json").read_bytes()
        image = Client(folder / "i", f"{url}/v1/ota/image/metadata/", image_root, get)
        path = "triggers/brake-0/1/spec.yaml"
        checks = Ours(first, idle, changed, image.check(path), image.check(path))
    _change(database_url, names)
    return checks, asyncio.run(_signing(database_url, service, names))


def _change(database_url: str, names: list[str]) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        change = sa.update(assignments).where(assignments.c.vehicle_id.in_(names))
        connection.execute(change.values(counter=assignments.c.counter + 1))
    engine.dispose()


async def _signing(database_url: str, service: Service, names: list[str]) -> Signing:
    """Time the director itself, on an engine of this loop."""
    from cloud_ingest.database import open_engine
    from cloud_ingest.ota.start import open_ota

    engine = open_engine(database_url)
    director = (await open_ota(engine, service.settings, SystemClock())).director
    file = MetadataFile("timestamp", None)
    spent: dict[str, list[float]] = {"changed": [], "idle": []}
    for name in names:
        for kind in ("changed", "idle"):
            begin_s = time.perf_counter()
            await director.metadata(name, file)
            spent[kind].append(time.perf_counter() - begin_s)
    await engine.dispose()
    return Signing(statistics.median(spent["changed"]), statistics.median(spent["idle"]))


@dataclass(frozen=True, slots=True)
class Peer:
    """One repository for all: a check after any vehicle's change, and what signing it took."""

    idle: Check
    changed: Check
    signing_s: float


class _Repository:
    """A repository in memory, signed with one key."""

    def __init__(self) -> None:
        self._key = CryptoSigner.generate_ed25519()
        self._ends = dt.datetime.fromtimestamp(SystemClock().utc_ns() // 10**9, dt.UTC) + _LIFE
        self.files: dict[str, bytes] = {}
        root = Root(expires=self._ends)
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.add_key(self._key.public_key, role)
        self.root = self._sign(Metadata(root))

    def get(self, url: str) -> bytes | None:
        return self.files.get(url.rpartition("/")[2])

    def _sign(self, metadata: Metadata[Root]) -> bytes:
        metadata.sign(self._key)
        return metadata.to_bytes()

    def put(self, name: str, signed: Targets | Snapshot | Timestamp) -> None:
        signed.expires = self._ends
        metadata: Metadata[Targets] = Metadata(signed)  # type: ignore[arg-type]
        metadata.sign(self._key)
        self.files[name] = metadata.to_bytes()

    def publish(self, version: int, roles: dict[str, Targets]) -> float:
        """Sign the changed roles, the snapshot and the timestamp; seconds that it took."""
        begin_s = time.perf_counter()
        for role, signed in roles.items():
            self.put(f"{signed.version}.{role}.json", signed)
        meta = {f"{role}.json": MetaFile(self._versions(role)) for role in self._roles()}
        self.put(f"{version}.snapshot.json", Snapshot(version, meta=meta))
        self.put("timestamp.json", Timestamp(version, snapshot_meta=MetaFile(version)))
        return time.perf_counter() - begin_s

    def _roles(self) -> set[str]:
        names = (name.split(".") for name in self.files)
        return {parts[1] for parts in names if len(parts) == 3} - {"snapshot"}

    def _versions(self, role: str) -> int:
        return max(int(name.split(".")[0]) for name in self.files if f".{role}." in name)

    @property
    def key(self) -> CryptoSigner:
        return self._key


def _orders(index: int) -> dict[str, TargetFile]:
    """One vehicle's files in a repository of all."""
    found = {}
    for spec in range(SPECS):
        path = f"{_name(index)}/triggers/brake-{spec}/1/spec.yaml"
        note = TargetNote(slot=f"trigger:brake-{spec}").model_dump()
        found[path] = TargetFile(120, {"sha256": f"{spec:064x}"}, path, {"custom": note})
    return found


def _common(folder: Path, count: int) -> Peer:
    """One targets file that names all vehicles' files."""
    repository = _Repository()
    targets = {path: file for index in range(count) for path, file in _orders(index).items()}
    repository.publish(1, {"targets": Targets(1, targets=targets)})
    path = next(iter(targets))
    client = Client(folder / "common", "memory:/", repository.root, repository.get)
    client.check(path)
    idle = client.check(path)
    signing_s = repository.publish(2, {"targets": Targets(2, targets=targets)})
    return Peer(idle, client.check(path), signing_s)


def _bins(folder: Path, count: int) -> Peer:
    """Files spread over hash bins by path. Of the vehicle's bins one is counted."""
    repository = _Repository()
    bins = SuccinctRoles([repository.key.public_key.keyid], 1, _BIN_BITS, "bin")
    keys: dict[str, Key] = {repository.key.public_key.keyid: repository.key.public_key}
    roles = {name: Targets(1) for name in bins.get_roles()}
    paths = []
    for index in range(count):
        for path, file in _orders(index).items():
            roles[bins.get_role_for_target(path)].targets[path] = file
            paths.append(path)
    top = Targets(1, delegations=Delegations(keys, succinct_roles=bins))
    repository.publish(1, {"targets": top, **roles})
    client = Client(folder / "bins", "memory:/", repository.root, repository.get)
    mine = paths[0]
    client.check(mine)
    idle = client.check(mine)
    changed_bin = bins.get_role_for_target(mine)
    roles[changed_bin].version = 2
    signing_s = repository.publish(2, {changed_bin: roles[changed_bin]})
    return Peer(idle, client.check(mine), signing_s)


def _figures(ours: Ours, signing: Signing, common: Peer, bins: Peer, count: int) -> list[Figure]:
    fleet = f"{count} vehicles"
    one, hashed = "one targets file for all", f"hash bins, {2**_BIN_BITS}, one of them changed"

    def size(checks: list[Check]) -> float:
        return statistics.median(check.size_bytes for check in checks) / 1e3

    def ms(checks: list[Check]) -> float:
        return statistics.median(check.seconds for check in checks) * 1e3

    def requests(checks: list[Check]) -> float:
        return statistics.median(check.requests for check in checks)

    rows: list[tuple[str, float, str, str, float | None, str]] = [
        ("metadata of a check, nothing new", size(ours.idle), "kB", "", None, "<= 1"),
        (
            "metadata of a check after another vehicle's change", size(ours.idle), "kB", one,
            common.changed.size_bytes / 1e3, "ratio <= 0.001",
        ),
        (
            "metadata of a check after its own change", size(ours.changed), "kB", one,
            common.changed.size_bytes / 1e3, "ratio <= 0.001",
        ),
        (
            "metadata of a check after its own change, hash bins", size(ours.changed), "kB",
            hashed, bins.changed.size_bytes / 1e3, "ratio <= 0.1",
        ),
        ("image repository, nothing new", ours.image_idle.size_bytes / 1e3, "kB", "", None, ""),
        ("image repository, first check", ours.image.size_bytes / 1e3, "kB", "", None, ""),
        ("requests of a check, nothing new", requests(ours.idle), "requests", "", None, "<= 2"),
        ("requests of a check after its own change", requests(ours.changed), "requests", "", None,
         "<= 4"),
        (
            "time of a check, nothing new, over loopback", ms(ours.idle), "ms",
            f"{one}, from memory", common.idle.seconds * 1e3, "",
        ),
        (
            "time of a check after its own change, over loopback", ms(ours.changed), "ms",
            f"{one}, from memory", common.changed.seconds * 1e3, "ratio <= 0.1",
        ),
        ("time of a first check, over loopback", ms(ours.first), "ms", "", None, ""),
        (
            "director: sign one vehicle's change and store it", signing.changed_s * 1e3, "ms",
            f"{one}: sign it", common.signing_s * 1e3, "ratio <= 0.1",
        ),
        ("director: answer when nothing is new", signing.idle_s * 1e3, "ms",
         "its signing of a change", signing.changed_s * 1e3, "ratio <= 0.5"),
    ]  # fmt: skip
    return [
        figure(
            f"{name} ({fleet})", value, unit,
            reference=reference, reference_value=reference_value, goal=goal,
        )
        for name, value, unit, reference, reference_value, goal in rows
    ]  # fmt: skip
