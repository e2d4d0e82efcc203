"""A stored rollout goes on exactly as one that was never stored."""

from __future__ import annotations

import json

import pytest

from cloud_ingest.rollout.cohort import Selector
from cloud_ingest.rollout.machine import step
from cloud_ingest.rollout.snapshot import dump, restore
from cloud_ingest.rollout.state import RolloutState, new_rollout
from contracts.errors import CorruptError
from tests.cloud_ingest.rollout.fleet_simulator import START, SimulatedFleet, World, plan, roll_out


@pytest.fixture(scope="module")
def state() -> RolloutState:
    return roll_out(World(vehicles=30), 3, max_days=12).state


def test_a_state_survives_exactly(state: RolloutState) -> None:
    assert state.audit
    assert restore(dump(state)) == state


def test_a_new_rollout_survives() -> None:
    fresh = new_rollout(plan("s", selector=Selector({"region": frozenset({"eu", "us"})})))
    assert restore(dump(fresh)) == fresh


def test_a_rollout_stored_after_each_step_takes_the_same_road() -> None:
    fleet = SimulatedFleet(World(vehicles=40, effect={"fires": 5.0}), 5)
    kept = stored = new_rollout(plan("s"))
    for day in range(20):
        views, interval = fleet.views(), fleet.drive_a_day()
        command = START if day == 10 else None
        result = step(kept, views, [interval], command, fleet.now_ns)
        again = step(restore(dump(stored)), views, [interval], command, fleet.now_ns)
        assert again == result
        kept, stored = result.state, again.state
        fleet.take(result)
    assert kept.audit


@pytest.mark.parametrize("spoil", ["version", "array", "phase", "text"])
def test_anything_else_is_corrupt(state: RolloutState, spoil: str) -> None:
    document = json.loads(dump(state))
    match spoil:
        case "version":
            document["schema_version"] = 99
        case "array":
            document["evidence"]["log_shares"]["shape"] = [1, 2]
        case "phase":
            document["phase"] = "flying"
        case _:
            document = []
    with pytest.raises(CorruptError):
        restore(json.dumps(document).encode())
