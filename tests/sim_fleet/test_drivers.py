"""What the planner does not see has consequences; nothing of it is scripted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sim_fleet.classes import Kind
from sim_fleet.drive import Tick
from sim_fleet.drivers.ego import Command, EgoState
from sim_fleet.drivers.human import time_to_hit_s
from sim_fleet.drivers.perceivers import BlindSpotPerceiver
from sim_fleet.drivers.policy import as_rows
from sim_fleet.drivers.ports import Perceived
from sim_fleet.world.actors import EGO, LENGTH, VX, WIDTH, YAW, X, Y
from tests.sim_fleet.support import ticks_of


def takeovers(ticks: list[Tick]) -> list[Tick]:
    """Instants at which the human took the wheel."""
    return [
        after for before, after in itertools.pairwise(ticks)
        if before.wheel.engaged and not after.wheel.engaged
    ]  # fmt: skip


def closest_m(ticks: list[Tick], kind: Kind) -> float:
    """Least distance between the ego's outline and the middle of anyone of a class."""
    least = 1e9
    for tick in ticks[::5]:
        floats, ints = tick.world.actors.floats, tick.world.actors.ints
        rows = np.flatnonzero(ints[:, 0] == int(kind))
        rows = rows[rows != EGO]
        gap = floats[rows][:, [X, Y]] - floats[EGO, [X, Y]]
        cos, sin = np.cos(floats[EGO, YAW]), np.sin(floats[EGO, YAW])
        along = np.abs(cos * gap[:, 0] + sin * gap[:, 1]) - floats[EGO, LENGTH] / 2
        aside = np.abs(cos * gap[:, 1] - sin * gap[:, 0]) - floats[EGO, WIDTH] / 2
        if rows.size:
            least = min(least, float(np.maximum(along, aside).min()))
    return least


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planner_blind_to_animals_is_taken_over_before_a_cow(seed: int) -> None:
    sighted = ticks_of("cow-on-country-road", 8.0, seed)
    blind = ticks_of(
        "cow-on-country-road", 8.0, seed, perceiver=BlindSpotPerceiver(frozenset({Kind.ANIMAL}))
    )
    assert not takeovers(sighted)
    assert takeovers(blind)
    first = takeovers(blind)[0]
    assert first.wheel.why in {"collision", "late", "lane"}
    assert min(tick.ego.accel_mps2 for tick in sighted) > -5.5
    after = [tick for tick in blind if tick.index >= first.index]
    assert min(tick.ego.accel_mps2 for tick in after[:100]) < -3.5
    for ticks in (sighted, blind):
        assert closest_m(ticks, Kind.ANIMAL) > 0.0


def test_the_human_gives_the_wheel_back_when_it_is_calm() -> None:
    ticks = ticks_of(
        "sudden-brake-ahead", 20.0, 1, perceiver=BlindSpotPerceiver(frozenset({Kind.CAR}))
    )
    assert takeovers(ticks)
    assert not takeovers(ticks_of("everyday-country", 12.0, 2))


def test_a_drive_without_autonomy_is_the_humans() -> None:
    from sim_fleet.scenarios.library import load_scenario
    from sim_fleet.source import DriveOptions, SimFleetSource

    spec = load_scenario("everyday-city")
    spec = spec.model_copy(update={"ego": spec.ego.model_copy(update={"autonomy": False})})
    ticks = SimFleetSource(DriveOptions(spec, 3)).drive().run(250)
    assert not any(tick.wheel.engaged for tick in ticks)
    assert max(tick.ego.speed_mps for tick in ticks) > 4.0


def test_the_car_does_what_it_is_asked_within_its_grip() -> None:
    ego = EgoState(0.0, 0.0, 0.0, 20.0)
    for _ in range(50):
        ego = ego.driven(Command(-20.0, 0.0), 0.02, 0.65)
    assert ego.accel_mps2 == pytest.approx(-9.0 * 0.65, abs=0.05)
    assert 13.5 < ego.speed_mps < 15.5 and ego.y_m == 0.0
    for _ in range(50):
        ego = ego.driven(Command(0.0, 0.15), 0.02, 1.0)
    assert 0 < ego.lat_accel_mps2 <= 9.01 and ego.y_m > 0
    for _ in range(400):
        ego = ego.driven(Command(-4.0, 0.0), 0.02, 1.0)
    assert ego.speed_mps == 0.0 and ego.accel_mps2 == pytest.approx(0.0, abs=1e-6)


def test_time_to_hit_knows_bends_and_crossing_people() -> None:
    path = np.column_stack([np.arange(0, 60, 2.0), np.zeros(30), np.zeros(30),
                            np.arange(0, 60, 2.0)])  # fmt: skip
    t_s = np.arange(13) * 0.25
    straight = np.column_stack([10.0 * t_s, np.zeros(13)])

    def seen(x: float, y: float, vx: float, vy: float, yaw: float = 0.0) -> Perceived:
        return Perceived(np.array([[x, y]]), np.array([yaw]), np.array([[4.0, 1.8]]),
                         np.array([[vx, vy]]), np.array([0]), False)  # fmt: skip

    def hit(objects: Perceived) -> float:
        return time_to_hit_s(t_s, straight, path, as_rows(objects), 2.2, 0.05)

    assert hit(seen(20, 0, 0, 0)) == pytest.approx(1.5, abs=0.26)
    assert hit(seen(20, 3.3, -10, 0, np.pi)) == 1e6  # oncoming in its own lane
    assert hit(seen(20, 0, 10, 0)) == 1e6  # as fast as the ego
    assert hit(seen(16, 5, 0, -4, np.pi / 2)) < 2.0  # crosses into the way
    assert hit(seen(-6, 0, 20, 0)) == 1e6  # from behind: not the plan's fault


def test_perceived_rows_carry_velocity() -> None:
    rows = as_rows(Perceived(np.array([[1.0, 2.0]]), np.array([0.5]), np.array([[4.0, 2.0]]),
                             np.array([[3.0, 0.0]]), np.array([1]), False))  # fmt: skip
    assert rows[0, VX] == 3.0 and rows[0, LENGTH] == 4.0
