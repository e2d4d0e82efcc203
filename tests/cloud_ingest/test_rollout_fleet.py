"""Rollouts over a fleet of 24 through the real service: good, failing, firing, interrupted."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloud_ingest.fleet_schema import rollouts
from cloud_ingest.rollout.snapshot import restore
from contracts.ota import ReleaseId
from tests.cloud_ingest.fleet_support import (
    AT_ONCE,
    BRAKE,
    DAY_S,
    HOUR_S,
    FleetVehicle,
    OpenFleet,
    SimulatedFleet,
    digest_of,
    open_fleet,
    publish,
    spec,
)

__all__ = ["open_fleet"]

MODEL = ReleaseId("model", "yolo", 2)
STAGED: dict[str, Any] = {
    "stages": [{"fraction": fraction} for fraction in (0.01, 0.05, 0.25, 1.0)],
    "guardrails": False,
    "min_canary": 2,
    "soak_s": 2 * HOUR_S,
    "soak_driving_s": HOUR_S,
}


def test_a_good_spec_goes_to_all_in_stages(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(24)
    publish(fleet.tables, spec(1), spec(2))
    fleet.check_in_all()
    made = fleet.start(spec(2), **STAGED)
    assert (made["phase"], made["stage"], made["matching"]) == ("running", 1, 24)
    sizes = []
    for _ in range(20):
        detail = fleet.detail(made["rollout_id"])
        if detail["phase"] == "done":
            break
        assert fleet.ordered(spec(2)) == {v["vehicle_id"] for v in detail["vehicles"]}
        sizes.append(len(fleet.ordered(spec(2))))
        fleet.spend()
    assert detail["phase"] == "done"
    assert sorted(set(sizes)) == [2, 6, 24]
    assert fleet.holding(spec(2)) == set(fleet.vehicles)
    assert detail["succeeded"] >= 20
    assert all(counter == 1 for counter, _, _ in fleet.assigned().values())
    actions = [action for _, action, _ in fleet.audit()]
    assert actions.count("rollout create") == 1
    # The stages of 1 and 5 % are the same two vehicles.
    assert actions.count("rollout offer") == 3
    assert [line["action"] for line in detail["audit"]].count("advance") == 4


def test_a_model_that_fails_is_halted_in_the_canary_and_taken_back(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(24)
    old = ReleaseId("model", "yolo", 1)
    publish(fleet.tables, old, MODEL)
    fleet.check_in_all()
    fleet.start(old, **AT_ONCE, guardrails=False)
    for _ in range(3):
        fleet.spend()
    assert fleet.holding(old, "model") == set(fleet.vehicles)
    made = fleet.start(MODEL, guardrails=False)
    canary = fleet.ordered(MODEL, "model")
    assert len(canary) == 5
    broken = sorted(canary)[:2]
    fleet.accepts = lambda vehicle, slot, digest: (
        "NaN in the output" if vehicle.vehicle_id in broken and digest == digest_of(MODEL) else None
    )
    fleet.spend()
    fleet.spend()
    detail = fleet.detail(made["rollout_id"])
    assert detail["phase"] == "rolling_back"
    assert detail["failed"] == 2
    assert {v["failure"] for v in detail["vehicles"] if v["vehicle_id"] in broken} == {
        "the vehicle says: self_test: NaN in the output"
    }
    assert fleet.ordered(MODEL, "model") == set()
    assert fleet.ordered(old, "model") == set(fleet.vehicles)
    fleet.spend()
    fleet.spend()
    assert fleet.detail(made["rollout_id"])["phase"] == "halted"
    assert fleet.holding(old, "model") == set(fleet.vehicles)
    # 1: the old model; 2: the offer; 3: the way back.
    counters = {v: counter for v, (counter, _, _) in fleet.assigned().items()}
    assert {v for v, counter in counters.items() if counter == 3} == canary
    assert set(counters.values()) == {1, 3}


def test_a_spec_that_fires_fifty_times_as_often_is_halted_by_its_guardrail(
    open_fleet: OpenFleet,
) -> None:
    fleet = open_fleet(24)
    publish(fleet.tables, spec(2))

    def rates(vehicle: FleetVehicle) -> dict[str, float]:
        fires = 50.0 if vehicle.running[BRAKE][0] == digest_of(spec(2)) else 1.0
        return {"fires": fires, "disengagements": 0.8}

    fleet.check_in_all()
    for _ in range(6):
        fleet.spend(DAY_S, hours=3.0, rates=rates)
    made = fleet.start(spec(2), start=False)
    assert made["phase"] == "planned"
    state = _state(fleet, made["rollout_id"])
    # Six days of history, all of it of vehicles without the release.
    assert state.evidence.seen.sum() > 0
    assert state.evidence.treated_exposure.sum() == 0
    assert fleet.order(made["rollout_id"], "start").status_code == 200
    canary = fleet.ordered(spec(2))
    assert len(canary) == 5
    for _ in range(8):
        fleet.spend(DAY_S, hours=3.0, rates=rates)
        if fleet.detail(made["rollout_id"])["phase"] == "halted":
            break
    detail = fleet.detail(made["rollout_id"])
    assert detail["phase"] == "halted"
    assert detail["stage"] == 1
    halts = [line["reason"] for line in detail["audit"] if line["action"] == "halt"]
    assert len(halts) == 1 and halts[0].startswith("fires is worse")
    assert detail["verdict"] == "worse"
    assert next(g for g in detail["guardrails"] if g["name"] == "fires")["likeliest_ratio"] >= 10
    assert fleet.holding(spec(2)) == fleet.ordered(spec(2)) == set()
    # Offered under 1, back to what is built in under 2.
    assert {fleet.assigned()[v][0] for v in canary} == {2}
    assert {fleet.assigned()[v][0] for v in set(fleet.vehicles) - canary} == {0}


def _state(fleet: SimulatedFleet, rollout_id: str) -> Any:
    with fleet.tables.connect() as connection:
        query = sa.select(rollouts.c.state).where(rollouts.c.rollout_id == rollout_id)
        return restore(bytes(connection.execute(query).scalar_one()))
