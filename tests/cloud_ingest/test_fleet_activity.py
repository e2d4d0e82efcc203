"""What the fleet did in some time: counted once, by vehicle-days, over real check-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.fleet import FleetClient
from contracts.check_in import BudgetUse
from contracts.clock import NS_PER_DAY, NS_PER_S
from contracts.errors import CorruptError, InputError
from contracts.fleet import FleetActivity
from contracts.ids import sha256_hex
from offline.loop_report.facts import FleetFacts
from offline.loop_report.indicators import indicators
from offline.pipeline.facts import TurnFacts
from offline.pipeline.fleet import FLEET_FILE, note_fleet, noted_fleet
from offline.pipeline.records import TURN_FILE, ClipRef, Turn, write_record
from offline.pipeline.turn import LoopFolder
from tests.cloud_ingest.fleet_support import DAY_S, OpenFleet, SimulatedFleet, open_fleet
from tests.offline.pipeline.loops import spec_of

__all__ = ["open_fleet"]
HOUR = {"driving_s": 3600.0, "driven_m": 50_000.0, "fires": 6, "clips": 2, "clip_bytes": 4_000_000,
        "upload_bytes": 3_000_000, "disengagements": 1}  # fmt: skip
BUDGET = BudgetUse(day=0, clips=0, size_bytes=0, clips_per_day=20, bytes_per_day=20_000_000)


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    found = open_fleet(3)
    # In the middle of a UTC day.
    found.pass_time(DAY_S - found.clock.utc_ns() / NS_PER_S % DAY_S + DAY_S / 2)
    found.check_in_all()
    return found


def drive(fleet: SimulatedFleet, *names: str) -> None:
    """An hour of each, told at its end."""
    fleet.pass_time(3600)
    for name in names:
        vehicle = fleet.vehicles[name]
        for counter, value in HOUR.items():
            vehicle.counters[counter] = vehicle.counters.get(counter, 0) + value
    fleet.check_in_all([fleet.vehicles[name] for name in names])


def asked(fleet: SimulatedFleet, since_ns: int | None = None) -> FleetActivity:
    client = FleetClient(fleet.server.url, "ann")
    until_ns = fleet.clock.utc_ns() + NS_PER_S
    return client.activity(since_ns, until_ns)


def test_a_vehicle_day_is_a_day_on_which_a_vehicle_drove(fleet: SimulatedFleet) -> None:
    began = fleet.clock.utc_ns()
    drive(fleet, "v00", "v01")
    drive(fleet, "v00")
    fleet.pass_time(DAY_S)
    drive(fleet, "v01")
    fleet.check_in_all()  # v02 is there all the time, and never drives.
    found = asked(fleet, began)
    assert (found.vehicles, found.vehicle_days) == (2, 3)
    assert (found.driving_s, found.driven_m) == (4 * 3600, 200_000)
    assert (found.fires, found.clips, found.disengagements) == (24, 8, 4)
    assert (found.clip_bytes, found.upload_bytes) == (16_000_000, 12_000_000)
    assert found.budget_bytes is None


def test_what_was_counted_before_is_not_counted_again(fleet: SimulatedFleet) -> None:
    drive(fleet, "v00", "v01")
    fleet.pass_time(60)
    between = fleet.clock.utc_ns()
    drive(fleet, "v00")
    found = asked(fleet, between)
    assert (found.vehicles, found.vehicle_days, found.fires) == (1, 1, 6)
    assert asked(fleet).fires == 18  # By default it is the last day.
    # A vehicle whose state was wiped counts from there on.
    fleet.vehicles["v00"].counters = {}
    fleet.pass_time(60)
    fleet.check_in_all()
    drive(fleet, "v00")
    assert asked(fleet, between).fires == 12


def test_the_byte_budget_is_that_of_days_on_the_road(fleet: SimulatedFleet) -> None:
    began = fleet.clock.utc_ns()
    drive(fleet, "v00", "v01")
    fleet.pass_time(DAY_S)
    drive(fleet, "v00")
    for name in ("v00", "v01", "v02"):
        vehicle = fleet.vehicles[name]
        vehicle.token, _ = fleet.server.app.state.service.signer.sign("vehicle", name)
        vehicle.check_in(budget=BUDGET)
    assert asked(fleet, began).budget_bytes == 3 * BUDGET.bytes_per_day


def test_nobody_drove_and_no_time_at_all(fleet: SimulatedFleet) -> None:
    found = asked(fleet)
    assert (found.vehicles, found.vehicle_days, found.fires) == (0, 0, 0)
    client = FleetClient(fleet.server.url, "ann")
    with pytest.raises(InputError, match="ends before it starts"):
        client.activity(2 * NS_PER_DAY, NS_PER_DAY)


def test_a_turn_of_the_loop_keeps_what_the_fleet_did_since_the_turn_before(
    fleet: SimulatedFleet, tmp_path: Path
) -> None:
    loop = LoopFolder(tmp_path / "loop")
    spec = spec_of(tmp_path / "files", rollout={"to": "folder", "url": fleet.server.url})

    def begun(after: str | None, *clips: str) -> Turn:
        refs = tuple(ClipRef(clip_id=sha256_hex(each.encode())) for each in clips)
        turn = Turn(spec=spec, clips=refs, after=after, begun_utc_ns=fleet.clock.utc_ns() + 1000)
        write_record(loop.turn_folder(turn.turn_id) / TURN_FILE, turn)
        note_fleet(loop, turn)
        return turn

    nobody = begun(None, "none")
    assert noted_fleet(loop, nobody) is None
    drive(fleet, "v00", "v01")
    first = begun(None, "one")
    drive(fleet, "v00")
    second = begun(first.turn_id, "one", "two")
    drive(fleet, "v00")
    note_fleet(loop, second)  # It is asked once.
    told = noted_fleet(loop, first), noted_fleet(loop, second)
    assert told[0] == FleetFacts(
        vehicles=2, vehicle_days=2, fires=12, clips=4, kept_bytes=8_000_000
    )
    assert told[1] == FleetFacts(vehicles=1, vehicle_days=1, fires=6, clips=2, kept_bytes=4_000_000)
    facts = TurnFacts(loop, second).facts()
    assert facts.fleet == told[1] and indicators(facts)["fleet.fires_per_vehicle_day"] == 6
    (loop.turn_folder(second.turn_id) / FLEET_FILE).write_text("{")
    with pytest.raises(CorruptError, match="what the fleet did"):
        noted_fleet(loop, second)
