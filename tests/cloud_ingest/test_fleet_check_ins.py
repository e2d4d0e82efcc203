"""Check-ins over HTTP: who may say what, what is kept, and what changes nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import sqlalchemy as sa

from cloud_ingest.database import to_ns
from cloud_ingest.fleet.counting import CHANGED
from cloud_ingest.fleet.readings import KEPT_NS
from cloud_ingest.fleet_schema import check_ins, counter_readings
from contracts.check_in import MAX_CHECK_IN_BYTES, CheckInAnswer, SignedCheckIn
from contracts.clock import NS_PER_S
from contracts.ota import TimeStatement
from tests.cloud_ingest.fleet_support import (
    BRAKE,
    OPERATOR,
    FleetVehicle,
    OpenFleet,
    SimulatedFleet,
    built_in_digest,
    open_fleet,
)
from tests.cloud_ingest.support import base64url

__all__ = ["open_fleet"]


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    return open_fleet(2)


@pytest.fixture
def car(fleet: SimulatedFleet) -> FleetVehicle:
    return fleet.vehicles["v00"]


def readings(fleet: SimulatedFleet, vehicle_id: str = "v00") -> list[Any]:
    query = sa.select(counter_readings).where(counter_readings.c.vehicle_id == vehicle_id)
    with fleet.tables.connect() as connection:
        return list(connection.execute(query.order_by(counter_readings.c.sequence)))


def kept(fleet: SimulatedFleet) -> list[Any]:
    with fleet.tables.connect() as connection:
        return list(connection.execute(sa.select(check_ins)))


def test_the_answer_tells_time_orders_and_when_to_come_back(
    fleet: SimulatedFleet, car: FleetVehicle
) -> None:
    car.sequence = 1
    manifest = car.manifest(labels={"region": "eu"})
    answer = CheckInAnswer.model_validate_json(car.send(car.signed(manifest)).content)
    assert (answer.sequence, answer.assignment_counter, answer.poll_s) == (1, 0, 60.0)
    assert answer.time is not None
    statement = TimeStatement.model_validate_json(answer.time.statement)
    now_ns = fleet.clock.utc_ns()
    assert statement == TimeStatement(vehicle_id="v00", nonce=manifest.nonce, utc_ns=now_ns)
    detail = fleet.http.get("/v1/vehicles/v00").json()
    assert detail["last_contact_utc_ns"] == detail["last_check_in_utc_ns"] == now_ns
    assert detail["labels"] == {"region": "eu"}
    assert detail["check_in"]["nonce"] == manifest.nonce
    assert fleet.http.get("/v1/vehicles/v01").json()["last_contact_utc_ns"] is None


def test_the_same_again_is_answered_alike_and_an_older_one_changes_nothing(
    fleet: SimulatedFleet, car: FleetVehicle
) -> None:
    car.sequence = 5
    signed = car.signed(car.manifest())
    assert car.send(signed).status_code == 200
    before = kept(fleet), readings(fleet)
    again = car.send(signed)
    assert again.status_code == 200
    assert again.json()["sequence"] == 5
    car.sequence = 4
    older = car.send(car.signed(car.manifest(labels={"region": "us"})))
    # The newest that is held, from which a vehicle that lost count goes on.
    assert (older.status_code, older.json()["sequence"]) == (200, 5)
    car.sequence = 5
    other = car.send(car.signed(car.manifest(labels={"region": "us"})))
    assert other.status_code == 409
    assert (kept(fleet), readings(fleet)) == before


def test_only_the_vehicles_own_word_is_taken(fleet: SimulatedFleet, car: FleetVehicle) -> None:
    other = fleet.vehicles["v01"]
    car.sequence = other.sequence = 1
    mine, theirs = car.signed(car.manifest()), other.signed(other.manifest())
    forged = SignedCheckIn(manifest=mine.manifest, signature=theirs.signature)
    changed = SignedCheckIn(
        manifest=mine.manifest.replace('"sequence":1', '"sequence":9'), signature=mine.signature
    )
    assert changed.manifest != mine.manifest
    foreign = car.signed(car.manifest(vehicle_id="v01"))
    for signed in (forged, changed, foreign, theirs):
        answer = car.send(signed)
        assert answer.status_code == 403, answer.text
    assert car.send(mine, Authorization="Bearer x").status_code == 401
    assert fleet.http.post("/v1/check-ins", json=mine.model_dump()).status_code == 401
    # What is signed for another purpose is no check-in.
    bare = SignedCheckIn(
        manifest=mine.manifest, signature=base64url(car.key.sign(mine.manifest.encode()))
    )
    assert car.send(bare).status_code == 403
    assert kept(fleet) == []
    assert car.send(mine).status_code == 200


IMPOSSIBLE: tuple[dict[str, Any], ...] = (
    {"sequence": 0},
    {"sequence": 2**63},
    {"counters": {"driven_m": -1}},
    {"counters": {"fires": 10**30}},
    {"nonce": "short"},
    {"triggers": [{"trigger_id": "../x"}]},
)


def test_a_manifest_that_cannot_be_is_refused_whole(
    fleet: SimulatedFleet, car: FleetVehicle
) -> None:
    car.sequence = 1
    body = json.loads(car.manifest().model_dump_json())
    for changes in IMPOSSIBLE:
        answer = car.send(car.signed(json.dumps(body | changes)))
        assert answer.status_code == 400, answer.text
        assert answer.json()["place"]
    assert kept(fleet) == readings(fleet) == []


def test_long_bodies_are_refused(fleet: SimulatedFleet, car: FleetVehicle) -> None:
    car.sequence = 1
    body = json.loads(car.manifest().model_dump_json())
    long = json.dumps(body | {"padding": "x" * MAX_CHECK_IN_BYTES})
    headers = car.bearer
    for text in (long, json.dumps(body) + " " * MAX_CHECK_IN_BYTES):
        sent = {"manifest": text, "signature": "A" * 86}
        assert fleet.http.post("/v1/check-ins", json=sent, headers=headers).status_code == 400
    wide = json.dumps(body | {"padding": "é" * (MAX_CHECK_IN_BYTES // 2)}, ensure_ascii=False)
    assert car.send(car.signed(wide)).status_code == 413
    huge = {"manifest": "x" * 2**20, "signature": "A" * 86}
    assert fleet.http.post("/v1/check-ins", json=huge, headers=headers).status_code == 413
    assert kept(fleet) == []


def test_a_revoked_vehicle_is_refused_at_once(fleet: SimulatedFleet, car: FleetVehicle) -> None:
    car.check_in()
    answer = fleet.http.post("/v1/vehicles/v00/revoke", json=OPERATOR)
    assert answer.status_code == 200
    assert answer.json()["revoked_utc_ns"] == fleet.clock.utc_ns()
    car.sequence += 1
    assert car.send(car.signed(car.manifest())).status_code == 401
    assert car.authenticate().status_code == 401
    assert car.enrol().status_code == 403
    assert fleet.http.post("/v1/vehicles/v00/revoke", json=OPERATOR).status_code == 200
    assert fleet.http.post("/v1/vehicles/none/revoke", json=OPERATOR).status_code == 404
    assert fleet.audit() == [("ann@desk", "revoke vehicle", "vehicle v00")] * 2
    fleet.vehicles["v01"].check_in()


def test_a_minute_keeps_its_last_totals_and_every_change(
    fleet: SimulatedFleet, car: FleetVehicle
) -> None:
    car.check_in()
    fleet.pass_time(20)
    car.counters["fires"] = 3
    car.check_in()
    fleet.pass_time(20)
    before = car.running[BRAKE]
    car.running[BRAKE] = ("b" * 64, "ota")
    car.check_in()
    car.running[BRAKE] = before
    car.check_in()
    assert [(row.sequence, row.counters["fires"]) for row in readings(fleet)] == [(4, 3.0)]
    assert readings(fleet)[0].running == {BRAKE: CHANGED}
    fleet.pass_time(60)
    car.counters["fires"] = 5
    car.check_in()
    last = readings(fleet)[-1]
    assert len(readings(fleet)) == 2
    assert last.counters["fires"] == 5.0
    assert last.running == {BRAKE: built_in_digest("hard-brake")}


def test_counters_that_fall_begin_anew(fleet: SimulatedFleet, car: FleetVehicle) -> None:
    totals = []
    for fires, driven_m in ((100, 5000), (130, 6000), (0, 0), (4, 7000), (2, 8000), (3, 8000)):
        car.counters |= {"fires": fires, "driven_m": driven_m}
        fleet.pass_time(60)
        car.check_in()
        counted = readings(fleet)[-1].counters
        totals.append((counted["fires"], counted["driven_m"]))
    assert totals == [(0, 0), (30, 1000), (30, 1000), (34, 8000), (34, 8000), (35, 8000)]


def test_a_vehicle_with_a_new_key_begins_anew(fleet: SimulatedFleet, car: FleetVehicle) -> None:
    car.sequence = 40
    car.counters["fires"] = 9
    car.check_in()
    token = fleet.http.post("/v1/enrolment-tokens", json={"vehicle_id": "v00"}).json()["token"]
    fresh = FleetVehicle(fleet.http, "v00")
    assert fresh.enrol(token).status_code == 200
    assert fresh.authenticate().status_code == 200
    car.sequence += 1
    assert car.send(car.signed(car.manifest())).status_code == 403
    assert fresh.check_in().sequence == 1
    assert [row.sequence for row in readings(fleet)] == [1]


def test_old_readings_are_dropped(fleet: SimulatedFleet, car: FleetVehicle) -> None:
    car.check_in()
    fleet.pass_time(KEPT_NS / NS_PER_S)
    fleet.check_in_all([car])
    fleet.pass_time(2)
    assert len(readings(fleet)) == 2
    fleet.server.run(fleet.server.app.state.service.fleet.monitor._prune())
    (left,) = readings(fleet)
    assert to_ns(left.received_utc) > fleet.clock.utc_ns() - KEPT_NS


def test_check_ins_that_come_at_once_are_each_judged_by_themselves(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(6)
    cars = list(fleet.vehicles.values())
    for car in cars[:4]:
        car.check_in()
    fleet.pass_time(90)
    check_ins_of = fleet.server.app.state.service.fleet.check_ins
    asked: list[tuple[str, SignedCheckIn]] = []
    for car in cars:
        car.sequence += 1
        asked.append((car.vehicle_id, car.signed(car.manifest())))
    # One says what another has signed, one comes twice, one nobody knows.
    asked[1] = (cars[1].vehicle_id, asked[0][1])
    asked += [asked[2], ("nobody", asked[0][1])]

    async def all_at_once() -> list[Any]:
        calls = [check_ins_of.accept(vehicle_id, signed) for vehicle_id, signed in asked]
        return await asyncio.gather(*calls, return_exceptions=True)

    told = fleet.server.run(all_at_once())
    assert [type(each).__name__ for each in told] == [
        "CheckInAnswer", "RefusedError", *["CheckInAnswer"] * 5, "UnknownCallerError",
    ]  # fmt: skip
    assert [told[n].sequence for n in (0, 2, 3, 4, 5, 6)] == [2, 2, 2, 1, 1, 2]
    assert {row.vehicle_id: row.sequence for row in kept(fleet)} == {
        car.vehicle_id: (1 if n in (1, 4, 5) else 2) for n, car in enumerate(cars)
    }
    assert [len(readings(fleet, car.vehicle_id)) for car in cars] == [2, 1, 2, 2, 1, 1]
    # Each has an order's row of its own since its first check-in.
    assert all(counter == 0 for counter, _, _ in fleet.assigned().values())
    assert set(fleet.assigned()) == set(fleet.vehicles)
