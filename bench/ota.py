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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa
import uvicorn
import yaml

from bench.figures import Figure, figure
from bench.ota_peers import (
    BIN_BITS,
    SPECS,
    Check,
    Client,
    Peer,
    common_targets,
    hash_bins,
    vehicle_name,
)
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

VEHICLES = 10_000
SAMPLE = 60
_START_S = 60


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
        return _figures(
            ours, signing, common_targets(folder, count), hash_bins(folder, count), count
        )


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
    names = [vehicle_name(index) for index in range(count)]
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
    names = [vehicle_name(index * count // sample) for index in range(sample)]
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


def _figures(ours: Ours, signing: Signing, common: Peer, bins: Peer, count: int) -> list[Figure]:
    fleet = f"{count} vehicles"
    one, hashed = "one targets file for all", f"hash bins, {2**BIN_BITS}, one of them changed"

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
