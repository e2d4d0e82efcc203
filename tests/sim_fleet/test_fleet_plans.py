"""What a fleet does and meets: days, link traces and faults, all from the seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import InputError
from edge_agent.upload.links import parse_link
from sim_fleet.fleet.conductor import FleetOptions, inapplicable, plan_fleet
from sim_fleet.fleet.faults import load_faults, place_faults, script_names
from sim_fleet.fleet.links import link_trace
from sim_fleet.fleet.schedule import DAY_S, START_HOUR, plan_vehicle, scenario_of, weather_at


def test_the_same_seed_is_the_same_fleet() -> None:
    for number in range(4):
        plan = plan_vehicle(7, number, 24.0, 5.0)
        assert plan == plan_vehicle(7, number, 24.0, 5.0)
        assert plan != plan_vehicle(8, number, 24.0, 5.0)
        trace = link_trace(7, plan.vehicle_id, plan.trips)
        assert trace == link_trace(7, plan.vehicle_id, plan.trips)
        assert trace != link_trace(8, plan.vehicle_id, plan.trips)


@pytest.mark.parametrize(
    ("hours", "minutes"), [(24.0, 5.0), (72.0, 20.0), (1.0, 48.0), (1 / 3, 1200.0), (24.0, 1200.0)]
)
def test_a_day_has_the_driving_that_was_asked_for(hours: float, minutes: float) -> None:
    begin_s, end_s = START_HOUR * 3600, (START_HOUR + hours) * 3600
    for number in range(8):
        plan = plan_vehicle(3, number, hours, minutes)
        wanted_s = minutes * 60 * hours / 24
        assert plan.drive_s == pytest.approx(wanted_s, rel=0.02, abs=15.0)
        assert plan.trips[0].start_s >= begin_s
        assert plan.trips[-1].drive_s == 0 and plan.trips[-1].start_s == pytest.approx(end_s)
        for trip, following in zip(plan.trips, plan.trips[1:], strict=False):
            assert trip.end_s < following.start_s
            assert trip.parked_s <= following.start_s - trip.end_s + 0.2
        assert [trip.index for trip in plan.trips] == list(range(len(plan.trips)))


def test_a_day_follows_the_hours() -> None:
    trips = [t for n in range(40) for t in plan_vehicle(1, n, 24.0, 12.0).trips if t.drive_s > 0]
    at_night = [t for t in trips if t.tod == "night"]
    busy = [t for t in trips if 6 <= t.start_s / 3600 % 24 < 20]
    assert len(busy) > 3 * len(at_night) > 0
    for trip in trips:
        spec = scenario_of(trip)
        assert spec.region is not None
        if trip.scenario.startswith("everyday-"):
            assert (spec.tod, spec.weather.kind) == (trip.tod, trip.weather)
        else:
            assert spec.tod == trip.tod
    stories = sum(not t.scenario.startswith("everyday-") for t in trips)
    assert 0.03 * len(trips) < stories < 0.35 * len(trips)
    assert weather_at(1, "city", 100.0) == weather_at(1, "city", 200.0)


def test_every_day_ends_in_the_garage() -> None:
    plan = plan_vehicle(2, 1, 72.0, 6.0)
    trace = link_trace(2, plan.vehicle_id, plan.trips)
    wakes = [trip for trip in plan.trips if trip.drive_s == 0]
    assert len(wakes) == 3
    for wake in wakes:
        assert trace.at(wake.start_s).kind == "wifi" and not trace.at(wake.start_s).is_metered


@pytest.mark.parametrize(("hours", "minutes"), [(0.0, 5.0), (24.0, 0.0), (24.0, 1400.0)])
def test_a_day_that_cannot_be_is_refused(hours: float, minutes: float) -> None:
    with pytest.raises(InputError):
        plan_vehicle(0, 0, hours, minutes)


def test_links_are_what_the_road_has() -> None:
    seen = set()
    for number in range(20):
        plan = plan_vehicle(5, number, 24.0, 20.0)
        trace = link_trace(5, plan.vehicle_id, plan.trips)
        starts = [span.start_s for span in trace.spans]
        assert starts == sorted(set(starts))
        for trip in plan.trips:
            if trip.drive_s > 0:
                assert trace.at(trip.start_s + 0.1).kind in ("cellular", "none")
        for span in trace.spans:
            seen.add(span.name)
            assert parse_link(span.text()) == span.as_link()
            assert span.kind == "none" or (span.up_bps > 0 and span.down_bps > 0)
            assert trace.at(span.start_s) == span
        assert trace.next_change_s(starts[-1] + DAY_S) is None
    assert {"tunnel", "dead spot", "cellular", "wifi (garage)", "wifi (work)"} <= seen


def test_fault_scripts_are_found_and_read() -> None:
    kinds = {fault.kind for fault in load_faults("all")}
    assert len(kinds) == 7 and len(script_names()) == 7
    assert load_faults("none") == ()
    assert [f.kind for f in load_faults("disk-full,corrupted-part")] == [
        "disk_full", "corrupted_part",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("faults: [{kind: power_cut}]\n", "apiVersion"),
        ("apiVersion: longtail/sim-faults/v1\nfaults: [{kind: power_cat}]\n", "2:"),
        ("apiVersion: longtail/sim-faults/v1\nfaults: [{kind: disk_full, rooms: 1kB}]\n", "rooms"),
        ("apiVersion: longtail/sim-faults/v1\nfaults: [{kind: disk_full, room: 1 kilo}]\n", "kilo"),
        ("apiVersion: longtail/sim-faults/v1\nfaults: []\n", "2:9"),
    ],
)
def test_a_wrong_script_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_faults(str(path))
    assert told in str(error.value) and "own.yaml" in str(error.value)


def test_an_unknown_script_is_told() -> None:
    with pytest.raises(InputError, match=r"power-cuts.*power-cut"):
        load_faults("power-cuts")


def test_faults_are_placed_by_the_seed_on_trips_of_their_own() -> None:
    plans = plan_fleet(FleetOptions(out=Path("x"), vehicles=8, seed=4))
    faults = place_faults(load_faults("all"), plans, 4)
    assert faults == place_faults(load_faults("all"), plans, 4)
    assert faults != place_faults(load_faults("all"), plans, 5)
    assert len({(fault.vehicle_id, fault.trip) for fault in faults}) == len(faults)
    trips = {(plan.vehicle_id, trip.index): trip for plan in plans for trip in plan.trips}
    for fault in faults:
        assert 0 < fault.at_s < trips[fault.vehicle_id, fault.trip].drive_s


def test_faults_that_cannot_strike_are_known_before() -> None:
    light, own = FleetOptions(out=Path("x")), load_faults("all")
    told = {fault.kind for fault in own if inapplicable(fault, light)}
    assert told == {"extrinsics_drift"}
    elsewhere = FleetOptions(out=Path("x"), sensors="s", url="http://127.0.0.1:1")
    assert {f.kind for f in own if inapplicable(f, elsewhere)} == {"server_restart"}
    with pytest.raises(InputError, match="20 s"):
        place_faults(own, plan_fleet(FleetOptions(out=Path("x"), hours=1, seed=1)), 1)
