"""How a vehicle stands for a rollout: what it runs, drives, keeps silent about and refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_ingest.fleet.manifests import Contact, Manifests
from cloud_ingest.fleet.views import BUILT_IN_DIGEST, SILENCE_AFTER_NS, views
from cloud_ingest.rollout.observation import VehicleView
from cloud_ingest.rollout.state import HOUR_NS, Outcome, VehicleRecord
from contracts.check_in import RejectedRelease
from contracts.clock import NS_PER_S
from contracts.upload import EventRecord
from tests.cloud_ingest.fleet_support import (
    AT_ONCE,
    BRAKE,
    HOUR_S,
    OPERATOR,
    FleetVehicle,
    OpenFleet,
    SimulatedFleet,
    digest_of,
    open_fleet,
    publish,
    spec,
)
from tests.cloud_ingest.support import make_manifest

__all__ = ["open_fleet"]
TARGET = digest_of(spec(2))


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    return open_fleet(2)


def look(
    fleet: SimulatedFleet,
    record: VehicleRecord | None = None,
    target: str = TARGET,
    attempts_before: int = 0,
) -> dict[str, VehicleView]:
    records = {} if record is None else {record.vehicle_id: record}

    async def read() -> list[VehicleView]:
        async with fleet.server.app.state.service.engine.connect() as connection:
            contacts = await Manifests().contacts(connection)
            return await views(connection, contacts, BRAKE, target, records, attempts_before)

    return {view.vehicle_id: view for view in fleet.server.run(read())}


def seen_by(fleet: SimulatedFleet, manifests: Manifests) -> list[Contact]:
    async def read() -> list[Contact]:
        async with fleet.server.app.state.service.engine.connect() as connection:
            return await manifests.contacts(connection)

    return fleet.server.run(read())


def record(fleet: SimulatedFleet, outcome: Outcome = Outcome.APPLIED) -> VehicleRecord:
    now_ns = fleet.clock.utc_ns()
    return VehicleRecord("v00", None, 1, now_ns, outcome, applied_ns=now_ns)


def report(fleet: SimulatedFleet, vehicle: FleetVehicle) -> None:
    """An event record, as a vehicle sends one while it drives."""
    manifest = make_manifest(vehicle.vehicle_id, fleet.clock.mono_ns())
    sent = EventRecord(event=manifest.event, utc_ns=0, cause=manifest.causes[0], outcome="captured")
    signer = fleet.server.app.state.service.signer
    vehicle.token, _ = signer.sign("vehicle", vehicle.vehicle_id)
    answer = fleet.http.post(
        "/v1/events", json=sent.model_dump(mode="json"), headers=vehicle.bearer
    )
    assert answer.status_code == 200, answer.text


def test_who_looks_again_sees_what_one_sees_who_looks_first(fleet: SimulatedFleet) -> None:
    kept = Manifests()
    first, second = fleet.vehicles.values()

    def look_again() -> dict[str, Contact]:
        found = seen_by(fleet, kept)
        assert found == seen_by(fleet, Manifests())
        return {each.vehicle_id: each for each in found}

    assert [each.manifest for each in look_again().values()] == [None, None]
    second.check_in()
    first.labels = {"region": "eu"}
    first.check_in()
    before = look_again()
    assert list(before) == ["v00", "v01"] and all(each.manifest for each in before.values())
    fleet.pass_time(1)
    first.labels = {"region": "us"}
    first.check_in()
    after = look_again()
    assert after["v00"].manifest is not None and after["v00"].manifest.labels == {"region": "us"}
    assert after["v01"] is before["v01"]  # nothing new of it, nothing made anew
    assert fleet.http.post("/v1/vehicles/v01/revoke", json=OPERATOR).is_success
    assert list(look_again()) == ["v00"]


def test_enrolment_is_no_contact(fleet: SimulatedFleet) -> None:
    fleet.vehicles["v00"].labels = {"region": "eu"}
    fleet.vehicles["v00"].check_in()
    found = look(fleet)
    now_ns = fleet.clock.utc_ns()
    assert found["v00"].first_contact_ns == found["v00"].manifest_utc_ns == now_ns
    assert found["v00"].labels == {"region": "eu"}
    assert found["v01"] == VehicleView("v01")
    fleet.http.post("/v1/vehicles/v00/revoke", json=OPERATOR)
    assert set(look(fleet)) == {"v01"}


def test_what_is_killed_or_built_in(fleet: SimulatedFleet) -> None:
    car = fleet.vehicles["v00"]
    car.check_in()
    assert look(fleet, target=BUILT_IN_DIGEST)["v00"].installed_digest == BUILT_IN_DIGEST
    car.running[BRAKE] = (TARGET, "ota")
    car.check_in()
    assert look(fleet)["v00"].installed_digest == TARGET
    assert look(fleet, target=BUILT_IN_DIGEST)["v00"].installed_digest == TARGET
    car.killed = {"hard-brake"}
    car.check_in()
    assert look(fleet)["v00"].installed_digest is None


def test_driving_counts_from_the_first_word_of_the_digest(fleet: SimulatedFleet) -> None:
    car = fleet.vehicles["v00"]
    offered = record(fleet)
    for hours, digest in ((1.0, "a" * 64), (1.0, TARGET), (0.5, TARGET), (0.25, TARGET)):
        fleet.pass_time(HOUR_S)
        car.running[BRAKE] = (digest, "ota")
        car.counters["connected_driving_s"] = (
            car.counters.get("connected_driving_s", 0) + hours * HOUR_S
        )
        fleet.check_in_all([car])
    view = look(fleet, offered)["v00"]
    assert view.driving_since_applied_ns == 0.75 * HOUR_NS
    assert view.silent_driving_ns == 0
    # A wiped vehicle counts on from there, and nothing negative.
    car.counters["connected_driving_s"] = 0
    fleet.pass_time(60)
    fleet.check_in_all([car])
    assert look(fleet, offered)["v00"].driving_since_applied_ns == 0.75 * HOUR_NS
    assert look(fleet, record(fleet))["v00"].driving_since_applied_ns == 0


def test_event_records_without_check_ins_are_silent_driving(fleet: SimulatedFleet) -> None:
    car = fleet.vehicles["v00"]
    car.check_in()
    applied = record(fleet)
    fleet.pass_time(SILENCE_AFTER_NS / NS_PER_S - 1)
    report(fleet, car)
    assert look(fleet, applied)["v00"].silent_driving_ns == 0
    for _ in range(3):
        fleet.pass_time(1800)
        for _ in range(2):
            fleet.pass_time(1)
            report(fleet, car)
    view = look(fleet, applied)["v00"]
    assert view.silent_driving_ns == view.driving_since_applied_ns == 3 * 600 * NS_PER_S
    # A parked vehicle adds nothing, and a check-in ends the silence.
    fleet.pass_time(30 * HOUR_S)
    assert look(fleet, applied)["v00"].silent_driving_ns == 3 * 600 * NS_PER_S
    fleet.check_in_all([car])
    assert look(fleet, applied)["v00"].silent_driving_ns == 0


def test_only_this_rollouts_rejections_are_failures(fleet: SimulatedFleet) -> None:
    car = fleet.vehicles["v00"]
    told = {"slot": BRAKE, "digest": TARGET, "stage": "verify"}
    car.rejected = [
        RejectedRelease(**told, attempt=1, reason="old"),
        RejectedRelease(**told, attempt=3, reason="new"),
        RejectedRelease(**(told | {"slot": f"{BRAKE}@shadow"}), attempt=9, reason="shadow"),
        RejectedRelease(**(told | {"digest": "a" * 64}), attempt=9, reason="other"),
    ]
    car.check_in()
    found = look(fleet)["v00"].failure
    assert found is not None and (found.attempt, found.reason) == (3, "verify: new")
    counted_on = look(fleet, attempts_before=2)["v00"].failure
    assert counted_on is not None and counted_on.attempt == 1
    assert look(fleet, attempts_before=3)["v00"].failure is None


def test_newcomers_miss_no_rollout_that_ends_meanwhile(fleet: SimulatedFleet) -> None:
    publish(fleet.tables, spec(1), spec(2))
    fleet.check_in_all()
    fleet.start(spec(2), **AT_ONCE, guardrails=False)
    fleet.check_in_all()
    fleet.obey()
    fleet.pass_time(60)
    fleet.check_in_all()
    newcomers = [fleet.add() for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:
        first = [pool.submit(vehicle.check_in) for vehicle in newcomers]
        fleet.step()
        for future in first:
            future.result()
    for _ in range(4):
        fleet.spend()
    assert fleet.holding(spec(2)) == set(fleet.vehicles)
    assert {row[0] for row in fleet.assigned().values()} == {1}
