"""Small requests of a large fleet: tokens, check-ins and declarations a second, and their CPU.

A pool of vehicles with keys of their own speaks for the fleet, each with its own token, its own
manifest over all published specs and its own clips. What they send is made and signed beforehand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.figures import Figure, figure
from bench.receiver_peers.sender import Sender
from bench.receiver_peers.servers import Longtail, earn_token
from cloud_ingest.auth.keys import parse_public_key
from contracts.check_in import BudgetUse, CheckIn, Counters, QueueDepth, RunningTrigger
from contracts.clip import Window
from contracts.clock import ClockQuality, SystemClock
from contracts.ids import EventKey, PartHasher
from contracts.trigger_spec import LoadedSpec
from contracts.upload import UploadRequest
from edge_agent.identity import VehicleKey
from edge_agent.ota.manifest import sign
from sim_fleet.scale.rates import published_specs

CONNECTIONS = 8
POOL = 400
ROUNDS = 3
"""Check-ins, and declarations, of each vehicle of the pool that are measured."""
Each = TypeVar("Each")
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one kind of request. CPU is in seconds of one request."""

    per_s: float
    service_s: float
    database_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    path: str
    headers: dict[str, str]
    body: bytes


def fleet_figures(folder: Path, key: VehicleKey, vehicles: int, pool: int = POOL) -> list[Figure]:
    """Requests a second of a service with so many vehicles enrolled."""
    server = Longtail(folder, key)
    try:
        rates = measure(server, vehicles, pool)
    finally:
        server.stop()
    told = f"with {vehicles} vehicles enrolled, {CONNECTIONS} connections"
    figures = []
    for kind, rate in rates.items():
        figures += [
            figure(f"{kind}, {told}", rate.per_s, "/s"),
            figure(f"{kind}: CPU of one, service", 1e3 * rate.service_s, "ms"),
            figure(f"{kind}: CPU of one, database", 1e3 * rate.database_s, "ms"),
        ]
    return figures


def measure(server: Longtail, vehicles: int, pool: int = POOL) -> dict[str, Rate]:
    """By kind of request. The server must be a fresh one."""
    keys = [
        VehicleKey(f"pool-{number:05d}", Ed25519PrivateKey.generate()) for number in range(pool)
    ]
    _enrol(server, keys, vehicles)
    tokens: dict[str, dict[str, str]] = {}

    def token(sender: Sender, key: VehicleKey) -> None:
        tokens[key.vehicle_id] = earn_token(sender, key)

    rates = {"tokens": _rate(server, keys, token)}
    specs = published_specs()
    firsts = [_check_in(key, tokens[key.vehicle_id], 1, specs) for key in keys]
    rates["first check-ins"] = _rate(server, firsts, _ask)
    makes: dict[str, Callable[[VehicleKey, int], Asked]] = {
        "check-ins": lambda key, n: _check_in(key, tokens[key.vehicle_id], n + 2, specs),
        "declarations": lambda key, n: _declaration(key, tokens[key.vehicle_id], n),
    }
    for kind, make in makes.items():
        asked = [make(key, number) for number in range(ROUNDS + 1) for key in keys]
        _rate(server, asked[:pool], _ask)  # warms
        rates[kind] = _rate(server, asked[pool:], _ask)
    return rates


def _enrol(server: Longtail, keys: Sequence[VehicleKey], count: int) -> None:
    """Rows as enrolment writes them: the pool's, and others up to `count`."""
    engine = sa.create_engine(server.database_url)
    insert = sa.text(
        "INSERT INTO vehicles (vehicle_id, public_key, enrolled_utc) VALUES (:name, :key, now())"
    )
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO vehicles (vehicle_id, public_key, enrolled_utc)"
                " SELECT 'fleet-' || lpad(n::text, 6, '0'), sha256(n::text::bytea), now()"
                " FROM generate_series(1, :last) AS n"
            ),
            {"last": count - len(keys) - 1},
        )
        connection.execute(
            insert,
            [{"name": key.vehicle_id, "key": parse_public_key(key.public_key)} for key in keys],
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE vehicles"))
    engine.dispose()


def _rate(server: Longtail, each: Sequence[Each], ask: Callable[[Sender, Each], object]) -> Rate:
    def some(first: int) -> None:
        sender = Sender(server.port)
        for one in each[first::CONNECTIONS]:
            ask(sender, one)
        sender.close()

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        cpu_s, database_s = server.cpu_s(), server.database_cpu_s()
        begin_s = time.perf_counter()
        list(threads.map(some, range(CONNECTIONS)))
        took_s = time.perf_counter() - begin_s
    database_s = server.database_cpu_s() - database_s
    cpu_s = server.cpu_s() - cpu_s
    count = len(each)
    return Rate(count / took_s, (cpu_s - database_s) / count, database_s / count)


def _ask(sender: Sender, asked: Asked) -> None:
    sender.ask("POST", asked.path, asked.headers, asked.body)


def _check_in(
    key: VehicleKey, bearer: dict[str, str], sequence: int, specs: Sequence[LoadedSpec]
) -> Asked:
    made = CheckIn(
        vehicle_id=key.vehicle_id, boot_id="boot", sequence=sequence, nonce=f"{sequence:032d}",
        utc_ns=SystemClock().utc_ns(), mono_ns=sequence, clock=ClockQuality(synchronised=True),
        labels={"region": "eu", "hardware": "a"},
        triggers=tuple(
            RunningTrigger(trigger_id=each.spec.id, version=each.spec.version, digest=each.digest,
                           origin="built_in", state="active")
            for each in specs
        ),
        queue=QueueDepth(clips=3, size_bytes=15_000_000),
        budget=BudgetUse(day=1, clips=3, size_bytes=15_000_000, clips_per_day=300,
                         bytes_per_day=30 * 10**9),
        counters=Counters(driven_m=500.0 * sequence, driving_s=60.0 * sequence, starts=1),
    )  # fmt: skip
    body = sign(made.model_dump_json(), key).model_dump_json().encode()
    return Asked("/v1/check-ins", bearer | _JSON, body)


def _declaration(key: VehicleKey, bearer: dict[str, str], number: int) -> Asked:
    hasher = PartHasher()
    hasher.update(f"clip {number} of {key.vehicle_id}".encode())
    event = EventKey(
        vehicle_id=key.vehicle_id, boot_id="b", start_mono_ns=number, end_mono_ns=number + 1
    )
    request = UploadRequest(
        clip_id=hasher.clip_id(), size_bytes=hasher.size_bytes,
        part_digests=tuple(digest.hex() for digest in hasher.part_digests()),
        event=event, window=Window(start_mono_ns=number, end_mono_ns=number + 1),
    )  # fmt: skip
    return Asked(
        "/v1/uploads", bearer | _JSON, json.dumps(request.model_dump(mode="json")).encode()
    )
