"""A fleet on a virtual clock, over real HTTP: it enrols, signs check-ins, and obeys its orders.

A vehicle takes up what it is ordered at its next drive after a check-in that told it of the
order, as its assignment's row says; what it does with a release is set by the test.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from cloud_ingest.database import to_time
from cloud_ingest.fleet_schema import assignments, audit_log, releases
from contracts.check_in import (
    CHECK_IN_CONTEXT,
    CheckIn,
    CheckInAnswer,
    Counters,
    RejectedRelease,
    RunningModel,
    RunningTrigger,
    SignedCheckIn,
)
from contracts.clock import NS_PER_S, ClockQuality, VirtualClock
from contracts.ota import ReleaseId, parse_slot
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import RunningServer, Vehicle, base64url

DAY_S, HOUR_S = 86_400, 3600
OPERATOR = {"actor": "ann@desk", "reason": "release day"}
BRAKE = "trigger:hard-brake"


def digest_of(release: ReleaseId) -> str:
    return hashlib.sha256(release.text.encode()).hexdigest()


def built_in_digest(name: str) -> str:
    return hashlib.sha256(f"built in {name}".encode()).hexdigest()


def spec(version: int, name: str = "hard-brake") -> ReleaseId:
    return ReleaseId("trigger", name, version)


def publish(tables: sa.Engine, *published: ReleaseId, withdrawn: bool = False) -> None:
    """Rows of releases, as if people had signed them."""
    now = to_time(1_700_000_000 * NS_PER_S)
    with tables.begin() as connection:
        for release in published:
            row = {
                "kind": release.kind,
                "name": release.name,
                "version": release.version,
                "digest": digest_of(release),
                "size_bytes": 1000,
                "published_by": "ann",
                "published_utc": now,
                "withdrawn_utc": now if withdrawn else None,
            }
            connection.execute(sa.insert(releases).values(row))


def withdraw(tables: sa.Engine, release: ReleaseId) -> None:
    with tables.begin() as connection:
        connection.execute(
            sa.update(releases)
            .where(releases.c.name == release.name, releases.c.version == release.version)
            .values(withdrawn_utc=to_time(1_700_000_000 * NS_PER_S))
        )


@dataclass
class FleetVehicle(Vehicle):
    """A vehicle with a manifest. `running` is slot → (digest, origin)."""

    labels: dict[str, str] = field(default_factory=dict)
    running: dict[str, tuple[str, str]] = field(
        default_factory=lambda: {BRAKE: (built_in_digest("hard-brake"), "built_in")}
    )
    counters: dict[str, float] = field(default_factory=dict)
    rejected: list[RejectedRelease] = field(default_factory=list)
    sequence: int = 0
    taken_up: int = 0
    ordered: int = 0
    killed: set[str] = field(default_factory=set)

    def manifest(self, **changes: Any) -> CheckIn:
        triggers, models = [], []
        for text, (digest, origin) in self.running.items():
            slot = parse_slot(text)
            if slot.kind == "trigger":
                state = "shadow" if slot.shadow else "active"
                triggers.append(
                    RunningTrigger(
                        trigger_id=slot.name,
                        version=1,
                        digest=digest,
                        origin=origin,
                        state="killed" if slot.name in self.killed else state,
                    )
                )
            else:
                models.append(
                    RunningModel(
                        name="net",
                        version=1,
                        digest=digest,
                        file_sha256=digest,
                        origin=origin,
                        shadow=slot.shadow,
                    )
                )
        counted = {
            name: type(default)(self.counters.get(name, 0))
            for name, default in Counters().model_dump().items()
        }
        values: dict[str, Any] = {
            "vehicle_id": self.vehicle_id,
            "boot_id": "boot-1",
            "sequence": self.sequence,
            "nonce": secrets.token_hex(16),
            "utc_ns": 0,
            "mono_ns": 0,
            "clock": ClockQuality(synchronised=False),
            "labels": self.labels,
            "assignment_counter": self.taken_up,
            "triggers": tuple(triggers),
            "models": tuple(models),
            "rejected": tuple(self.rejected),
            "counters": Counters(**counted),
        }
        return CheckIn(**(values | changes))

    def signed(self, manifest: CheckIn | str) -> SignedCheckIn:
        text = manifest if isinstance(manifest, str) else manifest.model_dump_json()
        return SignedCheckIn(
            manifest=text, signature=base64url(self.key.sign(CHECK_IN_CONTEXT + text.encode()))
        )

    def send(self, signed: SignedCheckIn, **headers: str) -> httpx.Response:
        return self.http.post(
            "/v1/check-ins", json=signed.model_dump(), headers=self.bearer | headers
        )

    def check_in(self, **changes: Any) -> CheckInAnswer:
        """The next one; it must be taken."""
        self.sequence += 1
        answer = self.send(self.signed(self.manifest(**changes)))
        assert answer.status_code == 200, answer.text
        told = CheckInAnswer.model_validate_json(answer.content)
        self.ordered = told.assignment_counter
        return told


def _answer_at_once(server: RunningServer) -> None:
    """Head and body of an answer are two writes; the second would wait for a delayed ACK."""
    for listening in server.server.servers:
        for listener in listening.sockets:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


Accepts = Callable[[FleetVehicle, str, str], str | None]
"""Vehicle, slot and digest → why it is refused; None takes it."""


class SimulatedFleet:
    """Vehicles `v00`, `v01`, ... of one service. Time moves only by `pass_time`."""

    def __init__(
        self, server: RunningServer, clock: VirtualClock, tables: sa.Engine, size: int = 0
    ) -> None:
        self.server = server
        self.clock = clock
        self.tables = tables
        _answer_at_once(server)
        self.http = httpx.Client(base_url=server.url, timeout=30)
        self.vehicles: dict[str, FleetVehicle] = {}
        self.accepts: Accepts = lambda vehicle, slot, digest: None
        self.rng = np.random.default_rng(7)
        for _ in range(size):
            self.add()

    def __enter__(self) -> SimulatedFleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def add(self, **changes: Any) -> FleetVehicle:
        """One more vehicle: enrolled, with a token, not yet in contact."""
        vehicle = FleetVehicle(self.http, f"v{len(self.vehicles):02}", **changes)
        assert vehicle.enrol().status_code == 200
        assert vehicle.authenticate().status_code == 200
        self.vehicles[vehicle.vehicle_id] = vehicle
        return vehicle

    def pass_time(self, seconds: float) -> None:
        """Without waking the service's tasks, so that a test alone says when they step."""

        async def move() -> None:
            self.clock.set_mono_ns(self.clock.mono_ns() + round(seconds * NS_PER_S))

        self.server.run(move())

    def step(self) -> int:
        """What the monitor does in one round."""
        monitor = self.server.app.state.service.fleet.monitor
        stepped: int = self.server.run(monitor.step_all(self.clock.utc_ns()))
        return stepped

    def check_in_all(self, vehicles: Iterable[FleetVehicle] | None = None) -> None:
        # Time jumps further than tokens live; the service's own signer makes new ones.
        signer = self.server.app.state.service.signer
        for vehicle in list(self.vehicles.values()) if vehicles is None else vehicles:
            vehicle.token, _ = signer.sign("vehicle", vehicle.vehicle_id)
            vehicle.check_in()

    def assigned(self) -> dict[str, tuple[int, dict[str, Any], list[str]]]:
        """Vehicle → counter, slots and killed triggers, from the table."""
        with self.tables.connect() as connection:
            rows = connection.execute(sa.select(assignments)).all()
        return {row.vehicle_id: (row.counter, row.slots, row.killed) for row in rows}

    def obey(self) -> None:
        """Each vehicle takes up what its last answer told it of."""
        for vehicle_id, (counter, slots, killed) in self.assigned().items():
            vehicle = self.vehicles[vehicle_id]
            if not vehicle.taken_up < vehicle.ordered == counter:
                continue
            vehicle.taken_up, vehicle.killed = counter, set(killed)
            wanted = {
                slot: (digest_of(ReleaseId(h["kind"], h["name"], h["version"])), h["attempt"])
                for slot, h in slots.items()
            }
            self._install(vehicle, wanted)

    def _install(self, vehicle: FleetVehicle, wanted: dict[str, tuple[str, int]]) -> None:
        for slot in [s for s, (_, origin) in vehicle.running.items() if origin == "ota"]:
            if slot not in wanted:
                del vehicle.running[slot]
        vehicle.running.setdefault(BRAKE, (built_in_digest("hard-brake"), "built_in"))
        for slot, (digest, attempt) in wanted.items():
            refused = self.accepts(vehicle, slot, digest)
            tried = [r for r in vehicle.rejected if (r.slot, r.digest) == (slot, digest)]
            if any(r.attempt >= attempt for r in tried):
                continue
            if refused is None:
                vehicle.running[slot] = (digest, "ota")
            else:
                vehicle.rejected.append(
                    RejectedRelease(
                        slot=slot,
                        digest=digest,
                        attempt=attempt,
                        stage="self_test",
                        reason=refused,
                    )
                )

    def drive(self, hours: float, rates: Callable[[FleetVehicle], dict[str, float]]) -> None:
        """All drive connected; `rates` are events an hour."""
        for vehicle in self.vehicles.values():
            counters = vehicle.counters
            grown = {name: self.rng.poisson(rate * hours) for name, rate in rates(vehicle).items()}
            grown |= {
                "driven_m": hours * 40_000,
                "driving_s": hours * HOUR_S,
                "connected_driving_s": hours * HOUR_S,
            }
            for name, growth in grown.items():
                counters[name] = counters.get(name, 0) + float(growth)

    def spend(
        self,
        seconds: float = HOUR_S,
        hours: float = 1.0,
        rates: Callable[[FleetVehicle], dict[str, float]] = lambda vehicle: {},
    ) -> None:
        """Obey, drive, check in, let the service step."""
        self.obey()
        self.drive(hours, rates)
        self.pass_time(seconds)
        self.check_in_all()
        self.step()

    def start(self, release: ReleaseId, **changes: Any) -> dict[str, Any]:
        """Ask for a rollout; it must be taken."""
        answer = self.ask(release, **changes)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def ask(self, release: ReleaseId, **changes: Any) -> httpx.Response:
        body = {
            "request_id": secrets.token_hex(8),
            "kind": release.kind,
            "name": release.name,
            "version": release.version,
            **OPERATOR,
        }
        return self.http.post("/v1/rollouts", json=body | changes)

    def order(self, rollout_id: str, verb: str, command_id: str | None = None) -> httpx.Response:
        body = {"command_id": command_id or secrets.token_hex(8), "verb": verb, **OPERATOR}
        return self.http.post(f"/v1/rollouts/{rollout_id}/commands", json=body)

    def detail(self, rollout_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/rollouts/{rollout_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def holding(self, release: ReleaseId, slot: str = BRAKE) -> set[str]:
        """Vehicles that run the release."""
        return {
            vehicle.vehicle_id
            for vehicle in self.vehicles.values()
            if vehicle.running.get(slot, ("", ""))[0] == digest_of(release)
        }

    def ordered(self, release: ReleaseId, slot: str = BRAKE) -> set[str]:
        """Vehicles that are ordered to hold the release."""
        return {
            vehicle_id
            for vehicle_id, (_, slots, _) in self.assigned().items()
            if slot in slots
            and (slots[slot]["name"], slots[slot]["version"]) == (release.name, release.version)
        }

    def audit(self) -> list[tuple[str, str, str]]:
        """Actor, action and subject of each line, the oldest first, but those about roles."""
        with self.tables.connect() as connection:
            rows = connection.execute(
                sa.select(audit_log)
                .where(audit_log.c.subject.not_like("role %"))
                .order_by(audit_log.c.number)
            ).all()
        return [(row.actor, row.action, row.subject) for row in rows]


AT_ONCE: dict[str, Any] = {"stages": [{"fraction": 1.0}], "soak_s": 0, "soak_driving_s": 0}
"""All vehicles in one stage, without a soak."""


OpenFleet = Callable[..., SimulatedFleet]


@pytest.fixture
def open_fleet(start_cloud: StartCloud, tables: sa.Engine) -> Iterator[OpenFleet]:
    """A fleet of some size at a service of its own, from midnight on; settings by keyword."""
    with ExitStack() as stack:

        def make(size: int, **settings: Any) -> SimulatedFleet:
            clock = VirtualClock(utc_ns=1_700_006_400 * NS_PER_S)
            server = start_cloud({"clock": clock}, **settings)
            return stack.enter_context(SimulatedFleet(server, clock, tables, size))

        yield make
