"""The door, the signal table and plan matching: from samples to what triggers see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import NS_PER_S
from contracts.samples import (
    FixSample,
    LidarSample,
    MountSample,
    PlanSample,
    PoseSample,
    RadarSample,
    Sample,
    SignalSample,
)
from contracts.signals import SIGNAL_INDEX
from edge_agent.drive.door import MOST_COUNTED, OTHERS, Door
from edge_agent.drive.warmup import warm_up
from edge_agent.signals.derive import SignalTable, available_signals
from edge_agent.signals.plan_match import MAX_POSE_GAP_NS, PlanMatcher, parted_m

NO_POINTS = np.zeros(0, np.uint8)


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (SignalSample("ego.speed_mps", 5, math.nan), "not a finite number"),
        (SignalSample("ego.speed_mps", 5, math.inf), "not a finite number"),
        (SignalSample("ego.speed_mps", 5, 500.0), "outside -20 to 120 m/s"),
        (SignalSample("ego.sped", 5, 1.0), "not in the signal catalogue"),
        (FixSample(5, 91.0, 0.0, 0.0), "the position is not on Earth"),
        (FixSample(5, math.nan, 0.0, 0.0), "the position is not on Earth"),
        (PoseSample(5, np.array([0, math.nan, 0]), np.array([0, 0, 0, 1.0])), "not finite"),
        (RadarSample("/radar/a", 5, np.array([[1, math.nan, 0, 0]])), "not finite"),
        (PlanSample(5, np.array([0.0, 0.0]), np.zeros((2, 2))), "do not rise"),
        (PlanSample(5, np.array([0.0]), np.zeros((1, 2))), "two points or more"),
        (LidarSample("/lidar/a", 5, np.zeros((4, 4), np.float32), NO_POINTS, "l"), "shape (4, 4)"),
        (RadarSample("/radar/a", 5, np.zeros((2, 3))), "shape (2, 3), not (2, 4)"),
        (PoseSample(5, np.zeros(3), np.zeros(3)), "shapes (3,) and (3,), not"),
        (PoseSample(5, np.zeros(3), np.array([0, -math.inf, math.inf, 1])), "not finite"),
        (MountSample(5, "top", np.eye(3)), "shape (3, 3)"),
        (RadarSample("/radar/\udcff", 5, np.zeros((0, 4))), "a name that cannot be written"),
        (RadarSample("/radar/" + 250 * "a", 5, np.zeros((0, 4))), "a name that cannot be written"),
        (SignalSample(None, 5, 1.0), "not in the signal catalogue"),  # type: ignore[arg-type]
        (SignalSample("ego.speed_mps", 5, None), "value is NoneType"),  # type: ignore[arg-type]
        (PoseSample(5, [0, 0, 0], np.ones(4)), "position_m is list"),  # type: ignore[arg-type]
        (
            LidarSample("/lidar/a", 5, np.zeros((4, 3), np.float32), NO_POINTS, "a\nb"),
            "a name that cannot be written",
        ),
    ],
)
def test_the_door_turns_away_and_counts(sample: Sample, reason: str) -> None:
    door = Door()
    first, second = door.check(sample), door.check(sample)
    assert first is not None
    assert second is not None
    assert reason in first.reason
    assert (first.count, second.count) == (1, 2)
    assert sum(door.rejections.values()) == 2


def test_names_that_are_made_up_without_end_are_counted_without_end_of_memory() -> None:
    door = Door()
    for number in range(2 * MOST_COUNTED):
        door.check(SignalSample(f"made.up_{number}", 5, 1.0))
    assert len(door.rejections) == MOST_COUNTED + 1
    assert door.rejections[OTHERS] == MOST_COUNTED


_NUMBERS = st.sampled_from([-math.inf, -1.0, 0.0, 0.1, 2.0, 3.5, math.inf, math.nan])


@given(st.lists(_NUMBERS, min_size=2, max_size=5), _NUMBERS)
def test_the_door_lets_finite_plans_of_rising_times_pass(times: list[float], x_m: float) -> None:
    t_s = np.array(times)
    xy_m = np.zeros((len(t_s), 2))
    xy_m[-1, 0] = x_m
    rejection = Door().check(PlanSample(5, t_s, xy_m))
    if not (np.isfinite(t_s).all() and math.isfinite(x_m)):
        assert rejection is not None
        assert rejection.reason == "the plan is not finite"
    elif times != sorted(set(times)):
        assert rejection is not None
        assert rejection.reason == "the plan's times do not rise"
    else:
        assert rejection is None


def test_the_door_turns_away_what_comes_too_late() -> None:
    door = Door()
    assert door.check(SignalSample("ego.speed_mps", 10 * NS_PER_S, 1.0)) is None
    assert door.check(SignalSample("ego.speed_mps", 9 * NS_PER_S, 1.0)) is None
    late = door.check(SignalSample("ego.speed_mps", 9 * NS_PER_S - 1, 1.0))
    assert late is not None


def test_acceleration_is_the_slope_of_speed() -> None:
    table = SignalTable(frozenset({"ego.speed_mps", "ego.yaw_rate_radps"}))
    for i in range(100):
        t_ns = i * 12_000_000
        table.put(SignalSample("ego.yaw_rate_radps", t_ns, 0.1))
        table.put(SignalSample("ego.speed_mps", t_ns, 20.0 - 2.5 * t_ns / NS_PER_S))
    values = table.at(99 * 12_000_000)
    assert values[SIGNAL_INDEX["ego.accel_mps2"]] == pytest.approx(-2.5)
    assert values[SIGNAL_INDEX["ego.decel_mps2"]] == pytest.approx(2.5)
    assert values[SIGNAL_INDEX["ego.jerk_mps3"]] == pytest.approx(0.0, abs=1e-6)
    speed = values[SIGNAL_INDEX["ego.speed_mps"]]
    assert values[SIGNAL_INDEX["ego.lat_accel_mps2"]] == pytest.approx(0.1 * speed)


def test_what_the_vehicle_measures_is_not_derived_over() -> None:
    table = SignalTable(frozenset({"ego.speed_mps", "ego.accel_mps2"}))
    table.put(SignalSample("ego.accel_mps2", 0, 1.25))
    for i in range(50):
        derived = table.put(SignalSample("ego.speed_mps", i * 10_000_000, 10.0))
        assert "ego.accel_mps2" not in [s.name for s in derived]
    assert table.at(490_000_000)[SIGNAL_INDEX["ego.accel_mps2"]] == 1.25


def test_stale_values_are_absent() -> None:
    table = SignalTable(frozenset({"ego.speed_mps"}))
    table.put(SignalSample("ego.speed_mps", 0, 10.0))
    assert table.at(500_000_000)[SIGNAL_INDEX["ego.speed_mps"]] == 10.0
    assert math.isnan(table.at(500_000_001)[SIGNAL_INDEX["ego.speed_mps"]])


def test_time_to_collision_exists_only_while_closing() -> None:
    table = SignalTable(frozenset({"lead.distance_m", "lead.closing_mps"}))
    table.put(SignalSample("lead.distance_m", 0, 20.0))
    table.put(SignalSample("lead.closing_mps", 0, 8.0))
    assert table.at(0)[SIGNAL_INDEX["lead.ttc_s"]] == 2.5
    table.put(SignalSample("lead.closing_mps", 1, -1.0))
    assert math.isnan(table.at(1)[SIGNAL_INDEX["lead.ttc_s"]])


def test_available_signals_follow_from_what_is_measured() -> None:
    found = available_signals(
        frozenset({"ego.speed_mps", "ego.yaw_rate_radps"}), camera=False, plan=False, radar=False
    )
    assert {"ego.jerk_mps3", "ego.lat_accel_mps2", "ego.decel_mps2"} <= found
    assert not {"lead.ttc_s", "perception.margin", "planner.ade_m"} & found


def _pose(t_s: float, x: float, y: float, yaw: float) -> PoseSample:
    turn = np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)])
    return PoseSample(round(t_s * NS_PER_S), np.array([x, y, 0.0]), turn)


def test_divergence_compares_paths_at_equal_times_in_the_plans_frame() -> None:
    matcher = PlanMatcher()
    t = np.linspace(0.0, 2.0, 9)
    # The plan: straight on at 10 m/s. Driven: straight, facing +y of the world, but at 8 m/s.
    found = []
    for i in range(60):
        now_s = i * 0.05
        found += matcher.put_pose(_pose(now_s, 5.0, 3.0 + 8.0 * now_s, math.pi / 2))
        if i == 4:
            matcher.put_plan(PlanSample(round(now_s * NS_PER_S), t, np.c_[10.0 * t, 0.0 * t]))
    (divergence,) = found
    assert divergence.fde_m == pytest.approx(4.0)
    assert divergence.ade_m == pytest.approx(2.0)
    assert divergence.horizon_s == 2.0
    assert divergence.mono_ns == round(2.2 * NS_PER_S)


@given(seed=st.integers(0, 2**32 - 1))
def test_plan_and_path_part_as_numpys_interpolation_has_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times_ns = np.cumsum(rng.integers(1, rng.choice([100, 310]) * 10**6, rng.integers(2, 60)))
    x, y, yaw = np.cumsum(rng.normal(size=(3, times_ns.size)), axis=1)
    yaw = np.angle(np.exp(1j * yaw))
    t_s = np.cumsum(rng.random(rng.integers(2, 30)) * 0.2)
    plan_m = rng.normal(size=(t_s.size, 2))
    plan_ns = int(rng.integers(-100, times_ns[-1]))

    parted = parted_m(np.stack([times_ns * 1.0, x, y, yaw], axis=1), plan_ns, t_s, plan_m)

    wanted_ns = plan_ns + t_s * NS_PER_S
    lie_outside = plan_ns < times_ns[0] or wanted_ns[-1] > times_ns[-1]
    between = (times_ns[1:] > plan_ns) & (times_ns[:-1] < wanted_ns[-1])
    if lie_outside or np.diff(times_ns)[between].max() > MAX_POSE_GAP_NS:
        assert np.isnan(parted).all()
        return
    start = [np.interp(plan_ns, times_ns, each) for each in (x, y, np.unwrap(yaw))]
    turn = np.exp(-1j * start[2])
    driven = np.interp(wanted_ns, times_ns, x) + 1j * np.interp(wanted_ns, times_ns, y)
    away_m = np.abs((driven - start[0] - 1j * start[1]) * turn - plan_m @ [1, 1j])
    assert parted == pytest.approx((away_m.mean(), away_m[-1]), abs=1e-9)


def test_no_plan_has_the_kernel_compiled_during_a_drive() -> None:
    warm_up(None, camera=False, lidar=False)
    compiled = len(parted_m.signatures)
    matcher, t = PlanMatcher(), np.arange(0.0, 1.1, 0.25)
    plans = np.zeros((2, len(t)), np.float32).T, np.zeros((9, 4))[::2, ::2][: len(t)]
    for xy_m in plans:
        xy_m.flags.writeable = False
        matcher.put_plan(PlanSample(0, t[::-1][::-1], xy_m))
    found = [each for i in range(30) for each in matcher.put_pose(_pose(i * 0.05, 0, 0, 0))]
    assert len(found) == len(plans)
    assert len(parted_m.signatures) == compiled


def test_without_a_driven_path_nothing_is_claimed() -> None:
    matcher = PlanMatcher()
    matcher.put_plan(PlanSample(0, np.array([0.0, 1.0]), np.zeros((2, 2))))
    assert matcher.put_pose(_pose(0.0, 0, 0, 0)) == []
    assert matcher.put_pose(_pose(2.0, 0, 0, 0)) == []
