"""What people order of rollouts, what is refused, and who gets what afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from cloud_ingest.fleet_schema import rollouts
from contracts.clock import NS_PER_S
from contracts.ota import ReleaseId
from tests.cloud_ingest.fleet_support import (
    AT_ONCE,
    BRAKE,
    OpenFleet,
    SimulatedFleet,
    digest_of,
    open_fleet,
    publish,
    spec,
    withdraw,
)

__all__ = ["open_fleet"]

IN_TWO: dict[str, Any] = {
    "stages": [{"fraction": 0.25}, {"fraction": 1.0}],
    "min_canary": 1,
    "guardrails": False,
    "soak_s": 0,
    "soak_driving_s": 0,
}


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    """Eight vehicles in contact, and two versions of a spec."""
    found = open_fleet(8)
    publish(found.tables, spec(1), spec(2), spec(3))
    found.check_in_all()
    return found


def finish(fleet: SimulatedFleet, release: ReleaseId, **changes: Any) -> str:
    """A rollout to all at once, to its end."""
    made = fleet.start(release, **(AT_ONCE | {"guardrails": False} | changes))
    fleet.spend()
    fleet.spend()
    assert fleet.detail(made["rollout_id"])["phase"] == "done"
    return str(made["rollout_id"])


def test_pause_stops_offers_and_resume_goes_on(fleet: SimulatedFleet) -> None:
    made = fleet.start(spec(2), **IN_TWO)
    rollout_id = made["rollout_id"]
    assert fleet.order(rollout_id, "pause").json()["phase"] == "paused"
    assert len(fleet.ordered(spec(2))) == 2
    fleet.spend()
    fleet.spend()
    assert len(fleet.ordered(spec(2))) == 2
    assert fleet.detail(rollout_id)["applied"] + fleet.detail(rollout_id)["succeeded"] == 2
    assert fleet.order(rollout_id, "resume").status_code == 200
    assert len(fleet.ordered(spec(2))) == 8


def test_advance_skips_the_soak(fleet: SimulatedFleet) -> None:
    made = fleet.start(spec(2), **(IN_TWO | {"soak_s": 1e9}))
    fleet.spend()
    fleet.spend()
    assert fleet.detail(made["rollout_id"])["phase"] == "soaking"
    advanced = fleet.order(made["rollout_id"], "advance").json()
    assert (advanced["stage"], len(fleet.ordered(spec(2)))) == (2, 8)
    assert advanced["audit"][-1]["actor"] == "ann@desk"


def test_abort_takes_all_back_each_under_a_higher_counter(fleet: SimulatedFleet) -> None:
    finish(fleet, spec(1))
    assert fleet.ask(spec(1), shadow=True).status_code == 409
    made = fleet.start(spec(2), **IN_TWO)
    fleet.spend()
    fleet.spend()
    offered = fleet.ordered(spec(2))
    assert len(offered) == 8
    assert len(fleet.holding(spec(2))) == 2
    aborted = fleet.order(made["rollout_id"], "abort").json()
    assert aborted["phase"] == "rolling_back"
    assert fleet.ordered(spec(1)) == set(fleet.vehicles)
    recalls = [vehicle["recall"] for vehicle in aborted["vehicles"]]
    assert sorted(recalls) == ["rolled back"] * 2 + ["withdrawn"] * 6
    fleet.spend()
    fleet.spend()
    assert fleet.detail(made["rollout_id"])["phase"] == "aborted"
    assert fleet.holding(spec(1)) == set(fleet.vehicles)
    assert {counter for counter, _, _ in fleet.assigned().values()} == {3}


def test_retry_offers_failures_again_and_later_rollouts_count_on(fleet: SimulatedFleet) -> None:
    made = fleet.start(spec(2), **(AT_ONCE | {"guardrails": False}))
    fleet.accepts = lambda vehicle, slot, digest: "disk full"
    fleet.spend()
    fleet.spend()
    detail = fleet.detail(made["rollout_id"])
    assert (detail["phase"], detail["failed"]) == ("halted", 8)
    assert fleet.ordered(spec(2)) == set()
    fleet.accepts = lambda vehicle, slot, digest: None
    assert fleet.order(made["rollout_id"], "retry-failures").json()["phase"] == "running"
    assert {slots[BRAKE]["attempt"] for _, slots, _ in fleet.assigned().values()} == {2}
    fleet.accepts = lambda vehicle, slot, digest: "disk full again"
    fleet.spend()
    fleet.spend()
    assert fleet.detail(made["rollout_id"])["phase"] == "halted"
    # The old rejections must not be taken for this rollout's.
    fleet.accepts = lambda vehicle, slot, digest: None
    again = finish(fleet, spec(2))
    assert {slots[BRAKE]["attempt"] for _, slots, _ in fleet.assigned().values()} == {3}
    assert {vehicle["attempt"] for vehicle in fleet.detail(again)["vehicles"]} == {1}
    assert fleet.holding(spec(2)) == set(fleet.vehicles)


def test_requests_and_commands_count_once(fleet: SimulatedFleet) -> None:
    first = fleet.start(spec(2), **IN_TWO, request_id="one")
    assert fleet.start(spec(2), **IN_TWO, request_id="one")["rollout_id"] == first["rollout_id"]
    assert fleet.ask(spec(3), request_id="one").status_code == 409
    assert fleet.order(first["rollout_id"], "pause", "c1").status_code == 200
    assert fleet.order(first["rollout_id"], "resume", "c2").status_code == 200
    # The first order comes again, late: it was obeyed.
    assert fleet.order(first["rollout_id"], "pause", "c1").json()["phase"] == "running"
    lines = [line["action"] for line in fleet.detail(first["rollout_id"])["audit"]]
    assert lines == ["start", "pause", "resume"]


def test_what_cannot_be_is_refused_and_the_refusal_is_kept(fleet: SimulatedFleet) -> None:
    assert fleet.ask(spec(9)).status_code == 404
    assert fleet.ask(ReleaseId("model", "hard-brake", 1)).status_code == 404
    made = fleet.start(spec(2), **IN_TWO)
    rollout_id = made["rollout_id"]
    assert fleet.ask(spec(3)).status_code == 409
    shadowed = fleet.start(spec(3), shadow=True)
    assert shadowed["stages"] == 1
    for _ in range(2):
        refused = fleet.order(rollout_id, "resume", "r1")
        assert refused.status_code == 409
        assert "resume is for paused" in refused.json()["message"]
    detail = fleet.detail(rollout_id)
    assert detail["phase"] == "running"
    assert detail["audit"][-1]["refused"].startswith("resume is for paused")
    assert fleet.order("r-none", "pause").status_code == 404
    for bad in (
        {"stages": [{"fraction": 0.5}]},
        {"stages": [{"fraction": 0.5, "tolerated_ratio": 1.7}, {"fraction": 1.0}]},
        {"selector": {"region": []}},
        {"stages": [{"fraction": 2.0}]},
        {"actor": " "},
        {"reason": "x" * 1001},
        {"version": -1},
        {"version": 2**40},
        {"request_id": "a:b"},
        {"reason": "nul \0"},
    ):
        answer = fleet.ask(spec(3, "other"), **bad)
        assert answer.status_code in (400, 404), (bad, answer.text)
    with fleet.tables.connect() as connection:
        assert len(connection.execute(sa.select(rollouts.c.rollout_id)).all()) == 2


def test_an_older_rollout_of_a_slot_is_not_commanded(fleet: SimulatedFleet) -> None:
    fleet.accepts = lambda vehicle, slot, digest: "no"
    old = fleet.start(spec(2), **(AT_ONCE | {"guardrails": False}))
    fleet.spend()
    fleet.spend()
    assert fleet.detail(old["rollout_id"])["phase"] == "halted"
    fleet.accepts = lambda vehicle, slot, digest: None
    finish(fleet, spec(3))
    refused = fleet.order(old["rollout_id"], "retry-failures")
    assert refused.status_code == 409
    assert "newer rollout" in refused.json()["message"]
    assert fleet.ordered(spec(3)) == set(fleet.vehicles)


def test_a_withdrawn_release_starts_nothing_and_stops_what_is_live(fleet: SimulatedFleet) -> None:
    finish(fleet, spec(1))
    made = fleet.start(spec(2), **IN_TWO)
    waiting = fleet.start(spec(2), shadow=True, start=False)
    fleet.spend()
    withdraw(fleet.tables, spec(2))
    refused = fleet.ask(spec(2, "hard-brake"))
    assert refused.status_code == 409
    assert "withdrawn" in refused.json()["message"]
    assert fleet.order(waiting["rollout_id"], "start").status_code == 409
    fleet.step()
    assert fleet.detail(waiting["rollout_id"])["phase"] == "aborted"
    fleet.spend()
    fleet.spend()
    stopped = fleet.detail(made["rollout_id"])
    assert stopped["phase"] == "aborted"
    assert ("the service", "abort") in {
        (line["actor"], line["action"]) for line in stopped["audit"]
    }
    assert fleet.ordered(spec(1)) == set(fleet.vehicles)


def test_a_withdrawn_release_is_none_to_go_back_to(fleet: SimulatedFleet) -> None:
    finish(fleet, spec(1))
    made = fleet.start(spec(2), **IN_TWO)
    fleet.spend()
    withdraw(fleet.tables, spec(1))
    fleet.order(made["rollout_id"], "abort")
    assert len(fleet.ordered(spec(1))) == 6
    assert sum(slots == {} for _, slots, _ in fleet.assigned().values()) == 2


def test_a_return_to_the_built_in_release_is_a_rollout_too(fleet: SimulatedFleet) -> None:
    finish(fleet, spec(1))
    made = fleet.start(spec(0), **(AT_ONCE | {"guardrails": True}))
    fleet.spend()
    assert fleet.detail(made["rollout_id"])["phase"] == "running"
    fleet.spend()
    assert fleet.detail(made["rollout_id"])["phase"] == "done"
    assert fleet.holding(spec(1)) == fleet.ordered(spec(1)) == set()
    assert {counter for counter, _, _ in fleet.assigned().values()} == {2}
    new = fleet.add()
    fleet.check_in_all([new])
    assert fleet.assigned()[new.vehicle_id] == (0, {}, [])


def test_vehicles_that_come_later_get_what_their_like_got(fleet: SimulatedFleet) -> None:
    for index, vehicle in enumerate(fleet.vehicles.values()):
        vehicle.labels = {"region": "eu" if index % 2 else "us"}
    never = fleet.add(labels={"region": "eu"})
    first = fleet.start(spec(1), **(AT_ONCE | {"guardrails": False}))
    assert first["never_contacted_ids"] == [never.vehicle_id]
    assert first["matching"] == 9
    del fleet.vehicles[never.vehicle_id]
    fleet.spend()
    fleet.spend()
    assert fleet.detail(first["rollout_id"])["phase"] == "done"
    finish(fleet, spec(3), shadow=True)
    finish(fleet, spec(2), selector={"region": ["eu"]})
    fleet.vehicles[never.vehicle_id] = never
    us = fleet.add(labels={"region": "us"})
    fleet.check_in_all([never, us])
    held = {v: fleet.assigned()[v][1] for v in (never.vehicle_id, us.vehicle_id)}
    assert held[never.vehicle_id][BRAKE]["version"] == 2
    assert held[us.vehicle_id][BRAKE]["version"] == 1
    assert {slots[f"{BRAKE}@shadow"]["version"] for slots in held.values()} == {3}
    # Once the shadow became active there is nothing left to shadow.
    finish(fleet, spec(3))
    last = fleet.add()
    fleet.check_in_all([last])
    counter, slots, _ = fleet.assigned()[last.vehicle_id]
    assert (counter, set(slots)) == (1, {BRAKE})
    assert slots[BRAKE]["version"] == 3
    assert all(set(slots) == {BRAKE} for _, slots, _ in fleet.assigned().values())
    withdraw(fleet.tables, spec(3))
    nothing = fleet.add(labels={"region": "eu"})
    fleet.check_in_all([nothing])
    assert fleet.assigned()[nothing.vehicle_id][1] == {}


def test_a_selector_leaves_the_others_alone(fleet: SimulatedFleet) -> None:
    for index, vehicle in enumerate(fleet.vehicles.values()):
        vehicle.labels = {"region": ("eu", "us", "jp", "cn")[index % 4]}
    fleet.check_in_all()
    made = fleet.start(spec(2), selector={"region": ["eu", "jp"]}, **AT_ONCE)
    assert made["matching"] == 4
    assert fleet.ordered(spec(2)) == {"v00", "v02", "v04", "v06"}


def test_news_of_a_check_in_steps_rollouts_without_waiting(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(2, rollout_step_s=3600)
    publish(fleet.tables, spec(2))
    fleet.check_in_all()
    made = fleet.start(spec(2), **(AT_ONCE | {"guardrails": False}))
    fleet.check_in_all()
    fleet.obey()
    fleet.check_in_all()

    async def until_done() -> None:
        for _ in range(2000):
            await fleet.clock.advance_ns(NS_PER_S // 100)
            await asyncio.sleep(0.001)
            page = await fleet.server.app.state.service.fleet.rollouts.page(None, live=True)
            if not page.rollouts:
                return

    fleet.server.run(until_done())
    assert fleet.detail(made["rollout_id"])["phase"] == "done"
    assert fleet.clock.utc_ns() < (1_700_006_400 + 3600) * NS_PER_S
    assert fleet.holding(spec(2)) == set(fleet.vehicles)
    assert digest_of(spec(2)) == fleet.detail(made["rollout_id"])["digest"]


def test_replicas_share_the_steps(open_fleet: OpenFleet, start_cloud: Any) -> None:
    fleet = open_fleet(6)
    publish(fleet.tables, spec(2))
    fleet.check_in_all()
    made = fleet.start(spec(2), **IN_TWO)
    replica = start_cloud({"clock": fleet.clock})
    one = fleet.server.app.state.service.fleet
    other = replica.app.state.service.fleet
    for _ in range(6):
        fleet.obey()
        fleet.pass_time(60)
        fleet.check_in_all()
        due = fleet.clock.utc_ns() - NS_PER_S
        loops = [(fleet.server, one), (replica, other)] * 2
        futures = [
            asyncio.run_coroutine_threadsafe(desk.monitor.step_all(due), server.loop)
            for server, desk in loops
        ]
        stepped = [future.result(30) for future in futures]
        assert sum(stepped) == 1
        if fleet.detail(made["rollout_id"])["phase"] == "done":
            break
    assert fleet.detail(made["rollout_id"])["phase"] == "done"
    assert {counter for counter, _, _ in fleet.assigned().values()} == {1}
    actions = [action for _, action, _ in fleet.audit()]
    assert (actions.count("rollout offer"), actions.count("rollout soak")) == (2, 2)
