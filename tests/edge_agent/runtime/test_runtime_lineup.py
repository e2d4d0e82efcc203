"""What runs where built-in specs and releases meet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.ota.ports import Lineup
from edge_agent.runtime import SpecEntry, arrange
from edge_agent.runtime.lineup import VehicleView
from tests.edge_agent.runtime_rig import SIGNALS, release, spec

HERE = VehicleView({"region": "eu"}, SIGNALS | {"ego.decel_mps2"})
ELSEWHERE = "target: {select: {region: us}}\n"


def arranged(
    built_in: list[object], lineup: Lineup, view: VehicleView = HERE
) -> dict[str, SpecEntry]:
    entries = arrange(built_in, lineup, view)  # type: ignore[arg-type]
    assert len({entry.slot for entry in entries}) == len(entries)
    return {entry.slot.text: entry for entry in entries}


def test_of_one_id_the_release_wins_and_new_ids_are_added() -> None:
    newer = spec(version=2)
    found = arranged([spec(), spec("other")], Lineup((release(newer), release(spec("third")))))
    assert found["trigger:brakes"].loaded is newer
    assert {name: e.origin for name, e in found.items()} == {
        "trigger:brakes": "ota", "trigger:other": "built_in", "trigger:third": "ota",
    }  # fmt: skip
    assert all(entry.state == "active" for entry in found.values())


def test_a_shadow_slot_runs_beside_the_active_one() -> None:
    found = arranged([spec()], Lineup((release(spec(version=2), shadow=True),)))
    assert found["trigger:brakes"].state == "active"
    assert found["trigger:brakes@shadow"].state == "shadow"
    assert not found["trigger:brakes"].in_shadow
    assert found["trigger:brakes@shadow"].in_shadow


def test_a_spec_that_asks_for_shadow_fills_its_own_slot_and_keeps_nothing() -> None:
    found = arranged([], Lineup((release(spec(more="target: {shadow: true}\n")),)))
    entry = found["trigger:brakes"]
    assert (entry.state, entry.in_shadow) == ("active", True)
    assert "target.shadow" in entry.told().reason


def test_a_killed_id_never_runs_wherever_it_came_from() -> None:
    lineup = Lineup(
        (release(spec(version=2)), release(spec(version=3), shadow=True)),
        killed=frozenset({"brakes", "other"}),
    )
    found = arranged([spec(), spec("other"), spec("third")], lineup)
    assert {name: entry.state for name, entry in found.items()} == {
        "trigger:brakes": "killed", "trigger:brakes@shadow": "killed",
        "trigger:other": "killed", "trigger:third": "active",
    }  # fmt: skip


def test_a_release_for_other_vehicles_is_inactive_and_its_built_in_stays_away() -> None:
    found = arranged([spec()], Lineup((release(spec(version=2, more=ELSEWHERE)),)))
    entry = found["trigger:brakes"]
    assert (entry.loaded.spec.version, entry.state) == (2, "inactive")
    assert entry.reason == "target.select wants region=us, which this vehicle is not"


def test_what_the_vehicle_lacks_is_told() -> None:
    view = VehicleView({}, frozenset({"ego.speed_mps"}))
    entry = arranged([spec()], Lineup(), view)["trigger:brakes"]
    assert (entry.state, entry.reason) == ("inactive", "the vehicle has no ego.decel_mps2")


IDS = st.sampled_from(["a", "b", "c", "d"])


@given(st.sets(IDS), st.sets(IDS), st.sets(IDS), st.sets(IDS))
def test_no_spec_is_lost_and_none_runs_twice(
    built_in: set[str], released: set[str], shadows: set[str], killed: set[str]
) -> None:
    lineup = Lineup(
        (
            *(release(spec(name, 2)) for name in released),
            *(release(spec(name, 3), shadow=True) for name in shadows),
        ),
        killed=frozenset(killed),
    )
    entries = arrange([spec(name) for name in sorted(built_in)], lineup, HERE)
    for name in "abcd":
        mine = [e for e in entries if e.loaded.spec.id == name]
        expected = ([2] if name in released else [1] if name in built_in else []) + (
            [3] if name in shadows else []
        )
        assert sorted(e.loaded.spec.version for e in mine) == expected
        assert all(e.state == "killed" for e in mine) == (name in killed or not mine)
