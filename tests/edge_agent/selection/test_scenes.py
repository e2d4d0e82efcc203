"""Known scenes: what is one, how knowledge fades, and that only such clips are given up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scene_trials import EXEMPT, SPEC, judged, recorded, with_new
from contracts.clock import VirtualClock
from edge_agent.ledger import Ledger
from edge_agent.selection.budget import BudgetBook, VehicleLimits
from edge_agent.selection.capture import ClipJob
from edge_agent.selection.clip_gate import ClipGate
from edge_agent.selection.scenes import (
    HALF_LIFE_DAYS,
    MOST_SCENES,
    Known,
    Scene,
    SceneBook,
    SceneObject,
)
from sim_fleet.scenarios.library import built_in

CAR = SceneObject(name="car", x=10.0, y=2.0)


def scene(**changed: object) -> Scene:
    fields: dict[str, object] = {
        "trigger_id": "t", "model_digest": "m", "lat_deg": 48.0, "lon_deg": 11.0,
        "bearing_rad": 1.0, "picture": 0xFF00, "objects": (CAR,), "maybe": (CAR,),
    }  # fmt: skip
    return Scene(**{**fields, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "known"),
    [
        ({}, True),
        ({"lat_deg": 48.0001}, True),
        ({"lat_deg": 48.001}, False),
        ({"bearing_rad": 1.2 + 6.283185307179586}, True),
        ({"bearing_rad": -2.1}, False),
        ({"picture": 0xFF00 ^ 0x3FF}, True),
        ({"picture": 0xFF00 ^ (2**30 - 1)}, False),
        ({"trigger_id": "other"}, False),
        ({"model_digest": "newer"}, False),
        ({"objects": ()}, True),
        ({"objects": (SceneObject(name="car", x=12.0, y=3.0),)}, True),
        ({"objects": (CAR, SceneObject(name="debris", x=14.0, y=0.0))}, False),
        ({"objects": (SceneObject(name="car", x=20.0, y=2.0),)}, False),
        ({"objects": (SceneObject(name="car", x=10.0, y=2.0, in_picture=True),)}, False),
    ],
)
def test_a_scene_is_known_when_nothing_in_it_is_new(
    changed: dict[str, object], known: bool
) -> None:
    assert scene(**changed).is_known_from(scene()) is known


@given(st.integers(0, 100), st.integers(1, 5), st.lists(st.integers(0, 100), max_size=8))
def test_knowledge_fades(day: int, clips: int, kept: list[int]) -> None:
    book = SceneBook()
    for each in kept:
        book.add(scene(), each)
    wanted = sum(0.5 ** (max(0, day - each) / HALF_LIFE_DAYS) for each in kept)
    assert book.weight(scene(), day) == pytest.approx(wanted)
    assert book.is_enough(scene(), day, clips) == (wanted >= clips - 0.5)


def test_the_fleet_tells_of_scenes_and_the_oldest_are_forgotten() -> None:
    book = SceneBook(fleet=[Known(scene=scene(), day=3)])
    assert book.is_enough(scene(), 3, 1)
    for k in range(MOST_SCENES + 5):
        book.add(scene(trigger_id=f"t{k}"), 3)
    assert len(book.own) == MOST_SCENES
    assert not book.is_enough(scene(trigger_id="t4"), 3, 1)
    assert book.is_enough(scene(trigger_id="t5"), 3, 1)


def gate_of(folder: Path, told: list[ClipJob] | None = None) -> tuple[ClipGate, Ledger]:
    ledger = Ledger(folder / "ledger.sqlite", VirtualClock(), "boot")
    book = BudgetBook(ledger, VehicleLimits())
    gate = ClipGate(
        book, lambda: 0, folder / "scenes.json", folder / "fleet.json",
        (told if told is not None else []).append,
    )  # fmt: skip
    return gate, ledger


def test_met_again_in_the_simulator_over_a_restart(tmp_path: Path) -> None:
    """A small version of `longtail bench target-rates`' second half."""
    scenario = built_in().scenario("everyday-suburb")
    moment = recorded(scenario, 0)
    told: list[ClipJob] = []
    gate, ledger = gate_of(tmp_path, told)
    assert judged(gate, moment, 0, SPEC)
    ledger.close()
    gate, ledger = gate_of(tmp_path, told)
    assert [judged(gate, moment, k, SPEC) for k in range(1, 5)] == [False] * 4
    assert len(told) == 4
    for other in EXEMPT:
        known = gate.scenes.own[0].scene.model_copy(update={"trigger_id": other.spec.id})
        gate.scenes.add(known, 0)
        assert all(judged(gate, moment, k, other) for k in range(1, 4))
    changed = recorded(with_new(scenario, "pedestrian", moment.truths[0].ego.speed_mps), 0)
    for hidden in (frozenset[str](), frozenset({"pedestrian"})):
        assert judged(gate, changed, 60, SPEC, hidden)
    ledger.close()


def test_a_clip_that_never_came_makes_nothing_known(tmp_path: Path) -> None:
    moment = recorded(built_in().scenario("everyday-suburb"), 0)
    gate, _ = gate_of(tmp_path)
    assert judged(gate, moment, 1, SPEC)  # passes, and is lost by the packer
    assert judged(gate, moment, 2, SPEC)
    assert gate.scenes.own == []


@pytest.mark.parametrize("content", ["", "{}", '[{"scene": 3}]', "[1]"])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, content: str) -> None:
    (tmp_path / "scenes.json").write_text(content)
    gate, _ = gate_of(tmp_path)
    assert gate.scenes.own == []


def test_a_new_list_of_the_fleet_is_taken_up_while_driving(tmp_path: Path) -> None:
    moment = recorded(built_in().scenario("everyday-suburb"), 0)
    gate, _ = gate_of(tmp_path)
    assert judged(gate, moment, 0, SPEC)
    (own,) = gate.scenes.own
    (tmp_path / "another").mkdir()
    gate, _ = gate_of(tmp_path / "another")
    assert judged(gate, moment, 1, SPEC)
    gate.scenes.own.clear()
    (tmp_path / "another" / "fleet.json").write_text(json.dumps([own.model_dump(mode="json")]))
    assert not judged(gate, moment, 2, SPEC)
