"""Assignments: one counter a change, kills that reach everyone, no lost orders under races."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.fleet.assignments import (
    Assignment,
    assign,
    assign_all,
    make_rows,
    set_killed,
    slots_after,
)
from cloud_ingest.fleet_schema import killed_triggers
from contracts.errors import ExhaustedError
from contracts.ota import MAX_KILLED, ReleaseId, Slot
from tests.cloud_ingest.fleet_support import (
    BRAKE,
    OPERATOR,
    OpenFleet,
    SimulatedFleet,
    open_fleet,
    spec,
)

__all__ = ["open_fleet"]

SLOT = Slot("trigger", "hard-brake")
SHADOW = Slot("trigger", "hard-brake", shadow=True)


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    return open_fleet(3)


def within(fleet: SimulatedFleet, act: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
    """Run `act` in one transaction of the service."""

    async def run() -> Any:
        async with fleet.server.app.state.service.engine.begin() as connection:
            return await act(connection)

    return fleet.server.run(run())


def give(fleet: SimulatedFleet, slot: Slot, release: ReleaseId | None, attempt: int = 1) -> int:
    counter: int = within(fleet, lambda c: assign(c, "v00", slot, release, attempt))
    return counter


def test_a_counter_rises_with_each_change_and_only_then(fleet: SimulatedFleet) -> None:
    assert give(fleet, SLOT, None) == 0
    assert give(fleet, SLOT, spec(1)) == 1
    assert give(fleet, SLOT, spec(1)) == 1
    assert give(fleet, SLOT, spec(1), attempt=2) == 2
    assert give(fleet, SHADOW, spec(2)) == 3
    assert set(fleet.assigned()["v00"][1]) == {BRAKE, f"{BRAKE}@shadow"}
    # What becomes active leaves its shadow; another release's shadow stays.
    assert give(fleet, Slot("model", "", shadow=True), ReleaseId("model", "yolo", 2)) == 4
    assert give(fleet, SLOT, spec(2), attempt=3) == 5
    slots = fleet.assigned()["v00"][1]
    assert slots == {
        BRAKE: {"kind": "trigger", "name": "hard-brake", "version": 2, "attempt": 3},
        "model@shadow": {"kind": "model", "name": "yolo", "version": 2, "attempt": 1},
    }
    assert give(fleet, SLOT, None) == 6


def test_orders_of_one_transaction_are_one_change(fleet: SimulatedFleet) -> None:
    orders = [
        Assignment("v01", SLOT, spec(1)),
        Assignment("v00", SLOT, spec(1)),
        Assignment("v01", SLOT, spec(2)),
    ]
    assert within(fleet, lambda c: assign_all(c, orders)) == {"v00": 1, "v01": 1}
    back_and_forth = [Assignment("v00", SLOT, spec(2)), Assignment("v00", SLOT, spec(1))]
    assert within(fleet, lambda c: assign_all(c, back_and_forth)) == {"v00": 1}
    assert fleet.ordered(spec(2)) == {"v01"}


def test_a_kill_reaches_known_and_new_vehicles(fleet: SimulatedFleet) -> None:
    give(fleet, SLOT, spec(1))
    killed = fleet.http.post("/v1/triggers/hard-brake/kill", json=OPERATOR).json()
    assert killed == {"trigger_id": "hard-brake", "killed": True, "acts_within_s": 82.0}
    fleet.vehicles["v01"].check_in()
    assert fleet.assigned() == {
        "v00": (2, fleet.assigned()["v00"][1], ["hard-brake"]),
        "v01": (1, {}, ["hard-brake"]),
    }
    assert fleet.vehicles["v01"].ordered == 1
    fleet.http.post("/v1/triggers/hard-brake/kill", json=OPERATOR)
    fleet.http.post("/v1/triggers/swerve/kill", json=OPERATOR)
    assert fleet.assigned()["v00"][0] == 3
    unkilled = fleet.http.post("/v1/triggers/hard-brake/unkill", json=OPERATOR).json()
    assert unkilled["killed"] is False
    assert {v: row[2] for v, row in fleet.assigned().items()} == {
        "v00": ["swerve"],
        "v01": ["swerve"],
    }
    fleet.vehicles["v02"].check_in()
    assert fleet.assigned()["v02"] == (1, {}, ["swerve"])
    assert fleet.http.post("/v1/triggers/a:b/kill", json=OPERATOR).status_code == 400
    assert fleet.http.post("/v1/triggers/x/kill", json={"actor": "a"}).status_code == 400
    actions = [(action, subject) for _, action, subject in fleet.audit()]
    assert actions == [
        ("kill trigger", "trigger hard-brake"),
        ("kill trigger", "trigger hard-brake"),
        ("kill trigger", "trigger swerve"),
        ("unkill trigger", "trigger hard-brake"),
    ]


def test_no_more_triggers_are_killed_than_a_director_can_tell(fleet: SimulatedFleet) -> None:
    async def kill_all(connection: AsyncConnection) -> None:
        row = {"actor": "a", "reason": "b", "killed_utc": sa.func.now()}
        for index in range(MAX_KILLED):
            await connection.execute(
                sa.insert(killed_triggers).values(trigger_id=f"t{index}", **row)
            )

    within(fleet, kill_all)
    with pytest.raises(ExhaustedError):
        within(fleet, lambda c: set_killed(c, "x", True, actor="a", reason="b", at_utc_ns=0))
    assert fleet.http.post("/v1/triggers/x/kill", json=OPERATOR).status_code == 507


def test_racing_orders_and_kills_lose_nothing(fleet: SimulatedFleet) -> None:
    engine = fleet.server.app.state.service.engine

    async def in_transaction(act: Callable[[AsyncConnection], Awaitable[Any]]) -> None:
        async with engine.begin() as connection:
            await act(connection)

    names = [f"t{index}" for index in range(4)]

    async def race() -> None:
        acts: list[Callable[[AsyncConnection], Awaitable[Any]]] = []
        for name in names:
            acts.append(
                lambda c, n=name: set_killed(c, n, True, actor="a", reason="b", at_utc_ns=0)
            )
            acts.append(
                lambda c, n=name: assign_all(
                    c,
                    [
                        Assignment(vehicle_id, Slot("trigger", n), spec(1, n))
                        for vehicle_id in ("v02", "v00", "v01")
                    ],
                )
            )
            acts.append(lambda c: make_rows(c, ["v00", "v01", "v02"]))
        await asyncio.gather(*map(in_transaction, acts))

    fleet.server.run(race())
    for counter, slots, killed in fleet.assigned().values():
        assert sorted(killed) == names
        assert sorted(slots) == [f"trigger:{name}" for name in names]
        # A kill that came before the row is in it from the start.
        assert len(names) < counter <= 2 * len(names)


SLOTS = st.sampled_from([SLOT, SHADOW, Slot("model"), Slot("model", "", shadow=True)])


@given(st.lists(st.tuples(SLOTS, st.none() | st.integers(1, 3), st.integers(1, 3)), max_size=12))
def test_a_release_is_never_beside_its_own_shadow(
    orders: list[tuple[Slot, int | None, int]],
) -> None:
    slots: dict[str, Any] = {}
    for slot, version, attempt in orders:
        release = None
        if version is not None:
            release = ReleaseId(slot.kind, "hard-brake", version)
        before = slots
        slots = slots_after(slots, Assignment("v", slot, release, attempt))
        untouched = {slot.text, f"{slot.text}@shadow"}
        assert {k: v for k, v in before.items() if k not in untouched} == {
            k: v for k, v in slots.items() if k not in untouched
        }
        if not slot.shadow and release is not None:
            shadow = slots.get(f"{slot.text}@shadow")
            assert shadow is None or shadow["version"] != version
