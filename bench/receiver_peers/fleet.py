"""Small requests of a large fleet: declarations and check-ins a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from bench.figures import Figure, figure
from bench.receiver_peers.sender import Sender
from bench.receiver_peers.servers import Longtail
from contracts.check_in import CheckIn
from contracts.clip import Window
from contracts.clock import ClockQuality, SystemClock
from contracts.ids import EventKey, PartHasher
from contracts.upload import UploadRequest
from edge_agent.identity import VehicleKey
from edge_agent.ota.manifest import sign

CONNECTIONS = 4
REQUESTS = 800
_OPEN = 200
"""Uploads that a vehicle may have open is bounded; so many are declared, each several times."""


def fleet_figures(folder: Path, key: VehicleKey, vehicles: int) -> list[Figure]:
    """Requests a second of a service with so many vehicles enrolled."""
    server = Longtail(folder, key)
    try:
        _enrol(server, vehicles)
        requests = [_request(key.vehicle_id, number) for number in range(_OPEN)]
        declared = _rate(server, lambda sender, n: server.declare(sender, requests[n % _OPEN]))
        checked = _rate(server, lambda sender, n: _check_in(server, sender, key, n))
    finally:
        server.stop()
    told = f"with {vehicles} vehicles enrolled, {CONNECTIONS} connections"
    return [
        figure(f"declarations, {told}", declared[0], "/s"),
        figure("CPU of one", 1e3 * declared[1], "ms"),
        figure(f"check-ins, {told}", checked[0], "/s"),
        figure("CPU of one check-in", 1e3 * checked[1], "ms"),
    ]


def _enrol(server: Longtail, count: int) -> None:
    """Rows as enrolment writes them."""
    engine = sa.create_engine(server.database_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO vehicles (vehicle_id, public_key, enrolled_utc)"
                " SELECT 'fleet-' || lpad(n::text, 6, '0'), sha256(n::text::bytea), now()"
                " FROM generate_series(1, :last) AS n"
            ),
            {"last": count - 1},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE vehicles"))
    engine.dispose()


def _rate(server: Longtail, ask: Callable[[Sender, int], object]) -> tuple[float, float]:
    """Requests a second, and CPU seconds of one."""

    def some(first: int) -> None:
        sender = Sender(server.port)
        for number in range(first, REQUESTS, CONNECTIONS):
            ask(sender, number)
        sender.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(some, range(CONNECTIONS)))  # warms
        cpu_s, begin_s = server.cpu_s(), time.perf_counter()
        list(pool.map(some, range(CONNECTIONS)))
        took_s, cpu_s = time.perf_counter() - begin_s, server.cpu_s() - cpu_s
    return REQUESTS / took_s, cpu_s / REQUESTS


def _request(vehicle_id: str, number: int) -> UploadRequest:
    hasher = PartHasher()
    hasher.update(f"clip {number}".encode())
    window = Window(start_mono_ns=number, end_mono_ns=number + 1)
    return UploadRequest(
        clip_id=hasher.clip_id(), size_bytes=hasher.size_bytes,
        part_digests=tuple(digest.hex() for digest in hasher.part_digests()),
        event=EventKey(
            vehicle_id=vehicle_id, boot_id="b", start_mono_ns=number, end_mono_ns=number + 1
        ),
        window=window,
    )  # fmt: skip


def _check_in(server: Longtail, sender: Sender, key: VehicleKey, number: int) -> None:
    clock = SystemClock()
    made = CheckIn(
        vehicle_id=key.vehicle_id, boot_id=f"boot-{uuid4().hex}", sequence=server.next_sequence(),
        nonce=uuid4().hex, utc_ns=clock.utc_ns(), mono_ns=number + 1,
        clock=ClockQuality(synchronised=True),
    )  # fmt: skip
    body = sign(made.model_dump_json(), key).model_dump_json().encode()
    headers = server.bearer | {"Content-Type": "application/json"}
    sender.ask("POST", "/v1/check-ins", headers, body)
