"""The world moves as the physical one: nobody teleports, nobody drives through another."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry import Polygon, box

from sim_fleet.classes import Kind
from sim_fleet.drive import Tick
from sim_fleet.world.actors import (
    ACCEL,
    HOPS,
    KIND,
    LANE,
    LENGTH,
    MODE,
    SPEED,
    TRACK,
    WIDTH,
    YAW,
    Actors,
    Mode,
    X,
    Y,
)
from sim_fleet.world.following import idm_mps2
from sim_fleet.world.regions import REGIONS, region_map
from sim_fleet.world.roadmap import AMBER, CYCLE_S, GREEN, RED, signal_state
from sim_fleet.world.traffic import _signal
from tests.sim_fleet.support import ticks_of

DRIVES = [("everyday-city", 1), ("everyday-suburb", 2), ("everyday-motorway", 3),
          ("everyday-country", 1)]  # fmt: skip


@pytest.fixture(scope="module", params=DRIVES, ids=[name for name, _ in DRIVES])
def ticks(request: pytest.FixtureRequest) -> list[Tick]:
    name, seed = request.param
    return ticks_of(name, 20.0, seed)


def test_nobody_teleports(ticks: list[Tick]) -> None:
    for before, after in itertools.pairwise(ticks[::5]):
        one, two = before.world.actors, after.world.actors
        assert (one.ints[:, TRACK] == two.ints[:, TRACK]).all()
        step = np.hypot(*(two.floats[:, [X, Y]] - one.floats[:, [X, Y]]).T)
        fast = np.maximum(one.floats[:, SPEED], two.floats[:, SPEED])
        # Lane changes move sideways by at most 1.4 m/s; joins of lanes are within a decimetre.
        assert (step <= (fast + 1.6) * 0.1 + 0.15).all(), (step - fast * 0.1).max()


def test_speeds_and_accelerations_are_in_range(ticks: list[Tick]) -> None:
    for tick in ticks[::10]:
        floats, ints = tick.world.actors.floats, tick.world.actors.ints
        assert np.isfinite(floats).all()
        assert (floats[:, SPEED] >= 0).all()
        limit = np.where(np.isin(ints[:, KIND], (Kind.PEDESTRIAN, Kind.ROAD_WORKER)), 4.5, 42.0)
        assert (floats[:, SPEED] <= limit).all()
        driving = ints[:, MODE] == Mode.LANE
        assert (np.abs(floats[driving, ACCEL]) < 8.5).all()
        assert abs(tick.ego.lat_accel_mps2) < 9.5


def test_vehicles_do_not_drive_through_each_other(ticks: list[Tick]) -> None:
    for tick in ticks[250::250]:
        bodies = footprints(tick.world.actors)
        for (_, one), (_, two) in itertools.combinations(bodies, 2):
            shared = one.intersection(two).area
            assert shared < 0.05 * min(one.area, two.area)


def footprints(actors: Actors) -> list[tuple[int, Polygon]]:
    """Those of everyone who drives on lanes, the ego included, a little shrunk."""
    bodies = []
    for i in np.flatnonzero(np.isin(actors.ints[:, MODE], (Mode.LANE, Mode.EGO))).tolist():
        row = actors.floats[i]
        length, width = row[LENGTH] * 0.92, row[WIDTH] * 0.85
        shape = box(-length / 2, -width / 2, length / 2, width / 2)
        turned = affinity.rotate(shape, row[YAW], origin=(0, 0), use_radians=True)
        bodies.append((i, affinity.translate(turned, row[X], row[Y])))
    return bodies


def test_the_ego_keeps_to_the_road(ticks: list[Tick]) -> None:
    speeds = np.array([tick.ego.speed_mps for tick in ticks])
    assert speeds.max() > 4.0
    yaw = np.unwrap([tick.ego.yaw_rad for tick in ticks])
    assert np.abs(np.diff(yaw)).max() < 0.03
    from sim_fleet.world.actors import EGO, D

    aside = np.array([tick.world.actors.floats[EGO, D] for tick in ticks])
    assert np.abs(aside).max() < 2.1


@given(
    st.floats(0, 38), st.floats(0, 38), st.floats(3, 90), st.floats(1, 7), st.floats(0.8, 2.2),
    st.floats(0, 3),
)  # fmt: skip
def test_a_follower_never_runs_into_a_braking_leader(
    own: float, leader: float, gap: float, brake: float, headway: float, after_s: float
) -> None:
    # Where even a full brake from the first moment would barely do, nothing is asked.
    if smallest_gap(lambda *_: -7.5, own, leader, gap, brake, after_s) < 1.2:
        return

    def driver(speed: float, room: float, ahead: float) -> float:
        return idm_mps2(speed, 33.0, room, ahead, headway, 7.5)

    assert smallest_gap(driver, own, leader, gap, brake, after_s) > 0.0


def smallest_gap(
    driver: Callable[[float, float, float], float], own: float, leader: float, gap: float,
    brake: float, after_s: float,
) -> float:  # fmt: skip
    """The least gap to a leader that brakes to a stop, with the lag of a vehicle's brakes."""
    speed, accel, dt, least = own, 0.0, 0.02, gap
    for k in range(1500):
        if k * dt > after_s:
            leader = max(0.0, leader - brake * dt)
        accel += (driver(speed, gap, leader) - accel) * min(1.0, dt / 0.12)
        pace = max(0.0, speed + accel * dt)
        gap += (leader - 0.5 * (speed + pace)) * dt
        speed = pace
        least = min(least, gap)
    return least


def test_signals_never_give_both_ways_green() -> None:
    for t in np.arange(0, 2 * CYCLE_S, 0.25).tolist():
        states = [signal_state(t, 3.7, group) for group in (0, 1)]
        assert RED in states
        assert [_signal(t, 3.7, group) for group in (0, 1)] == states
    assert {signal_state(t / 4, 0.0, 0) for t in range(160)} == {GREEN, AMBER, RED}


def test_nobody_enters_a_junction_on_red() -> None:
    ticks = ticks_of("everyday-city", 40.0, 4)
    entered = 0
    for before, after in itertools.pairwise(ticks):
        lanes = before.world.roads.lanes
        one, two = before.world.actors.ints, after.world.actors.ints
        moved = np.flatnonzero((two[:, HOPS] > one[:, HOPS]) & (one[:, MODE] == Mode.LANE))
        for i in moved.tolist():
            lane = int(one[i, LANE])
            if lanes.junction[lane] >= 0:
                offset = float(before.world.roads.offsets_s[lanes.junction[lane]])
                # A long vehicle's middle passes the line after its front did.
                front_s = 0.6 + before.world.actors.floats[i, LENGTH] / 2 / max(
                    before.world.actors.floats[i, SPEED], 1.0
                )
                group = int(lanes.group[lane])
                past = {signal_state(before.t_s - dt, offset, group) for dt in
                        np.linspace(0, front_s + 0.4, 12).tolist()}  # fmt: skip
                assert past != {RED}
                entered += 1
    assert entered > 5


@pytest.mark.parametrize("region", REGIONS)
def test_maps_are_closed_and_lead_on(region: str) -> None:
    lanes = region_map(region, 0).lanes
    assert (lanes.after[:, 0] >= 0).all()
    for lane in range(lanes.first.size):
        end = lanes.points[lanes.first[lane] + lanes.count[lane] - 1]
        for other in lanes.after[lane][lanes.after[lane] >= 0].tolist():
            start = lanes.points[lanes.first[other]]
            assert np.hypot(*(start - end)[:2]) < 0.6
            assert abs(np.angle(np.exp(1j * (start[2] - end[2])))) < 0.12


def test_a_step_leaves_the_world_before_it_untouched() -> None:
    tick = ticks_of("everyday-city", 0.1)[0]
    before = tick.world.actors.floats.copy()
    later = tick.world.step().step()
    assert (tick.world.actors.floats == before).all()
    assert (later.actors.floats != before).any()
    assert later.t_s == pytest.approx(tick.world.t_s + 0.04)
