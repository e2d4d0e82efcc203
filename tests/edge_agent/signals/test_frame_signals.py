"""Signals of what the model saw and the lidar measured: flicker, unexplained, missed, drift."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.samples import (
    Cuboid,
    Detection,
    LidarSample,
    MountSample,
    PerceptionFrame,
    SignalSample,
)
from edge_agent.signals.flicker import FlickerWatch
from edge_agent.signals.frame_signals import FrameSignals, unknown_probability
from edge_agent.signals.suitable import inactive_reason, signals_of
from kernels.extrinsics import best_shift, shift_surface
from kernels.obstacles import largest_in_path, obstacle_points
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.sensors.mounts import Drift
from sim_fleet.source import DriveOptions, SimFleetSource
from tests.edge_agent.runtime_rig import seen, spec

MS = 1_000_000
ALL = frozenset({"perception.unexplained_points", "perception.lidar_missed"})


def found(x: float, y: float = 0.0, p: float = 0.9, size: tuple[float, float, float] = (4, 2, 1.5),
          velocity: tuple[float, float] = (0.0, 0.0)) -> Detection:  # fmt: skip
    box = Cuboid((x, y, size[2] / 2), size, 0.0, velocity)
    return Detection(None, "car", p, np.array([p, 1 - p], np.float32), box)


def frame(at_ms: int, *detections: Detection) -> PerceptionFrame:
    return PerceptionFrame("bev", at_ms * MS, "0" * 64, detections, 0.1, 0.5)


# Flicker ------------------------------------------------------------------------------------


def flickers(frames: list[list[Detection]], speed_mps: float = 0.0) -> list[int]:
    watch = FlickerWatch()
    return [
        watch.see(frame(100 * i, *detections), speed_mps, 0.0)
        for i, detections in enumerate(frames)
    ]


def test_what_stays_does_not_flicker_though_all_move() -> None:
    """At 20 m/s a standing car comes 2 m nearer each frame; another drives along."""
    drive = [[found(35 - 2.0 * i), found(15, 3.5, velocity=(20.0, 0.0))] for i in range(12)]
    assert flickers(drive, 20.0) == [0] * 12


def test_back_after_a_gap_and_gone_after_a_glimpse() -> None:
    steady = [found(12, 3.0)]
    assert flickers([steady, steady, steady, [], steady, steady])[-1] == 1
    glimpse = [steady, [*steady, found(20, -4.0)], *[steady] * 6]
    assert max(flickers(glimpse)) == 1
    assert flickers([*glimpse, *[steady] * 12])[-1] == 0  # a second later it is over
    assert max(flickers([steady] * 3 + [[]] * 8)) == 0  # what was there for long may leave
    far = [[*steady, found(44, 0.0)], *[steady] * 6]
    assert max(flickers(far)) == 0  # at the edge of what is looked at
    weak = [[*steady, found(20, -4.0, p=0.3)], *[steady] * 6]
    assert max(flickers(weak)) == 0


def test_boxes_in_pictures_are_followed_by_their_overlap() -> None:
    watch = FlickerWatch()
    shown = [seen("car", x=100), seen("car", x=300), seen("car", x=480, side=90)]
    told = []
    for i in range(8):
        boxes = shown if i not in (3, 4) else shown[1:]
        boxes = [d for d in boxes if d.box_px is not None]
        lifted = [
            Detection((d.box_px[0], 100.0, d.box_px[2], 110.0 + d.box_px[3]), d.class_name,
                      d.probability, d.distribution)
            for d in boxes if d.box_px
        ]  # fmt: skip
        made = PerceptionFrame("/camera/front", i * 100 * MS, "0" * 64, tuple(lifted), 0.0, 1.0)
        told.append(watch.see(made, 0.0, 0.0))
    assert told[-1] == 1


def test_behind_a_nearer_thing_nothing_flickers() -> None:
    """Somebody walks along behind a parked car, or looks out between two."""
    car, walker = found(12.0, -3.0), (0.6, 0.6, 1.8)
    out = [found(16.0, -9.0, size=walker)]
    behind = [found(16.0, -4.0, size=walker)]
    assert flickers([[car, *behind]] * 3 + [[car]] * 2 + [[car, *behind]])[-1] == 0
    assert flickers([[car, *out]] * 3 + [[car]] * 2 + [[car, *out]])[-1] == 1
    assert max(flickers([[car]] * 3 + [[car, *behind]] + [[car]] * 5)) == 0
    assert max(flickers([[car]] * 3 + [[car, *out]] + [[car]] * 5)) == 1
    # Nearer things that are gone, too, hide nothing; nor does another box of the same thing.
    assert flickers([[car, *behind]] * 3 + [[]] * 2 + [[car, *behind]])[-1] == 2
    twice = [found(16.1, -4.1, size=walker)]
    assert flickers([[*behind, *twice]] * 3 + [behind] * 2 + [[*behind, *twice]])[-1] == 1


def test_behind_a_nearer_box_of_a_picture_nothing_flickers() -> None:
    def told(middle: list[list[Detection]]) -> int:
        watch, last = FlickerWatch(), 0
        for i, boxes in enumerate(middle):
            made = PerceptionFrame("/camera/front", i * 100 * MS, "0" * 64, tuple(boxes), 0.0, 1.0)
            last = watch.see(made, 0.0, 0.0)
        return last

    spread = np.array([0.9, 0.1], np.float32)
    border = Detection((0.0, 0.0, 640.0, 480.0), "car", 0.3, spread)  # tells the picture's size
    car = Detection((200.0, 200.0, 320.0, 300.0), "car", 0.9, spread)
    near = Detection((300.0, 190.0, 330.0, 260.0), "pedestrian", 0.9, spread)
    aside = Detection((400.0, 190.0, 430.0, 260.0), "pedestrian", 0.9, spread)
    first = [border]
    assert told([first, *[[car, near]] * 3, [car], [car, near]]) == 0
    assert told([first, *[[car, aside]] * 3, [car], [car, aside]]) == 1


# Lidar --------------------------------------------------------------------------------------


def sweep(*boxes: tuple[float, float, float, float]) -> LidarSample:
    """Flat ground, and things as grids of returns: x, y, width, height of their front."""
    x, y = np.meshgrid(np.arange(-30, 40, 0.7), np.arange(-20, 20, 0.7), indexing="ij")
    ground = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    parts = [ground]
    for bx, by, wide, high in boxes:
        left, up = np.meshgrid(
            np.linspace(-wide / 2, wide / 2, 8), np.linspace(0.05, high, 8), indexing="ij"
        )
        hidden = (ground[:, 0] > bx) & (np.abs(ground[:, 1] - by * ground[:, 0] / bx) < wide)
        parts[0] = parts[0][~hidden] if len(parts[0]) == len(ground) else parts[0]
        parts.append(np.stack([np.full(left.size, bx), by + left.ravel(), up.ravel()], axis=1))
    xyz = np.concatenate(parts).astype(np.float32) - np.array([0, 0, 1.8], np.float32)
    return LidarSample("/lidar/top", 100 * MS, xyz, np.zeros(len(xyz), np.uint8), "lidar")


def mounted() -> MountSample:
    pose = np.eye(4)
    pose[2, 3] = 1.8
    return MountSample(0, "lidar", pose)


def signals(cloud: LidarSample, *detections: Detection) -> dict[str, float]:
    made = FrameSignals(ALL)
    made.see(mounted())
    made.see(cloud)
    return {s.name: s.value for s in made.of(frame(100, *detections))}


def test_the_ground_and_a_kerb_are_no_obstacle() -> None:
    cloud = sweep((12.0, 0.0, 2.0, 0.15))
    assert len(obstacle_points(cloud.xyz_m, mounted().ego_SE3_sensor)) == 0


def test_a_thing_in_the_path_that_nothing_explains() -> None:
    cloud = sweep((14.0, 0.0, 1.0, 0.8))
    told = signals(cloud)
    assert told["perception.unexplained_points"] > 30
    assert told["perception.unexplained_m"] == pytest.approx(14.0, abs=0.1)
    assert signals(cloud, found(15.0))["perception.unexplained_points"] == 0
    assert signals(cloud, found(15.0, p=0.1))["perception.unexplained_points"] > 30
    assert signals(sweep((14.0, 4.0, 1.0, 0.8)))["perception.unexplained_points"] == 0
    assert signals(sweep())["perception.unexplained_points"] == 0


def test_what_was_begun_beside_the_model_is_used_for_its_own_instant_only() -> None:
    ahead = sweep((14.0, 0.0, 1.0, 0.8))
    watch = FrameSignals(ALL)
    for sample in (mounted(), ahead):
        watch.see(sample)
    plain = watch.of(frame(100))
    assert plain[0].value > 0
    for begun_ms in (100, 90):
        watch.begin(begun_ms * MS)
        assert watch.of(frame(100)) == plain
    # A turn that is told meanwhile bends the path: what was begun on the old one is dropped.
    watch.begin(100 * MS)
    watch.see(SignalSample("ego.speed_mps", 100 * MS, 5.0))
    watch.see(SignalSample("ego.yaw_rate_radps", 100 * MS, 0.4))
    turning = watch.of(frame(100))
    fresh = FrameSignals(ALL)
    for sample in (mounted(), ahead, SignalSample("ego.speed_mps", 100 * MS, 5.0),
                   SignalSample("ego.yaw_rate_radps", 100 * MS, 0.4)):  # fmt: skip
        fresh.see(sample)
    assert turning == fresh.of(frame(100)) != plain


def test_what_was_begun_of_one_sweep_is_not_used_for_the_next() -> None:
    judged = frame(100, found(14.0))
    watch = FrameSignals(ALL)
    for sample in (mounted(), sweep((14.0, 0.0, 1.0, 0.8))):
        watch.see(sample)
    for cloud, missed in ((sweep((14.0, 0.0, 1.0, 0.8)), 0.0), (sweep(), 1.0)):
        watch.begin(100 * MS)
        assert {s.name: s.value for s in watch.of(judged)} == signals(
            sweep((14.0, 0.0, 1.0, 0.8)), found(14.0)
        )
        watch.begin(100 * MS)
        watch.see(cloud)
        told = {s.name: s.value for s in watch.of(judged)}
        assert told == signals(cloud, found(14.0))
        assert told["perception.lidar_missed"] == missed


def test_the_path_bends() -> None:
    points = np.array([[20.0, 4.0, 1.0], [20.1, 4.1, 1.2]])
    none = np.zeros(2, np.bool_)
    assert largest_in_path(points, none, 0.0, 1.2, 50.0) == (0, np.inf)
    assert largest_in_path(points, none, 0.02, 1.2, 50.0)[0] == 2


def test_the_path_ends_where_the_turn_would() -> None:
    """At 5 m/s and 0.4 rad/s the bend is known for some 6 m; straight ahead it goes on."""
    made = FrameSignals(ALL)
    made.see(mounted())
    made.see(sweep((14.0, 7.8, 1.5, 1.5)))
    for name, value in (("ego.speed_mps", 5.0), ("ego.yaw_rate_radps", 0.4)):
        made.see(SignalSample(name, 90 * MS, value))
    told = {s.name: s.value for s in made.of(frame(100))}
    assert told["perception.unexplained_points"] == 0
    assert signals(sweep((14.0, 0.0, 1.5, 1.5)))["perception.unexplained_points"] > 30


def test_a_ghost_is_looked_through_and_a_thing_is_not() -> None:
    cloud = sweep((14.0, 0.0, 1.0, 1.5), (30.0, 0.0, 18.0, 6.0))
    small = (0.8, 0.8, 1.8)
    told = signals(cloud, found(14.2, size=small), found(16.0, 5.0, size=small))
    assert (told["perception.lidar_missed"], told["perception.lidar_checked"]) == (1, 2)
    hidden = signals(cloud, found(20.0, 0.0, size=small))  # behind what stands there
    assert (hidden["perception.lidar_missed"], hidden["perception.lidar_checked"]) == (0, 0)


def test_a_ghost_that_nothing_comes_back_from_behind() -> None:
    """A wet road: beams answer where they are steep, before the box, and nothing does behind it."""
    azimuth, down = np.meshgrid(np.deg2rad(np.arange(-180, 180, 0.6)), np.deg2rad(np.arange(5, 20)))
    away = 1.8 / np.tan(down.ravel())
    x, y = away * np.cos(azimuth.ravel()), away * np.sin(azimuth.ravel())
    ground = np.stack([x, y, np.full(x.size, -1.8)], axis=1)[away < 9.0].astype(np.float32)
    wet = LidarSample("/lidar/top", 100 * MS, ground, np.zeros(len(ground), np.uint8), "lidar")
    small = (0.8, 0.8, 1.8)
    ghosts = [found(12.0, size=small), found(0.0, -12.0, size=small)]
    told = signals(wet, *ghosts)
    assert (told["perception.lidar_missed"], told["perception.lidar_checked"]) == (2, 2)
    ahead = ground[ground[:, 0] > 0]  # a lidar that does not look to the right knows nothing of it
    forward = LidarSample("/lidar/top", 100 * MS, ahead, np.zeros(len(ahead), np.uint8), "lidar")
    told = signals(forward, found(12.0, size=small), found(-12.0, 0.0, size=small))
    assert (told["perception.lidar_missed"], told["perception.lidar_checked"]) == (1, 1)
    far = signals(wet, found(30.0, size=small), found(3.0, 0.0, size=(0.4, 0.4, 0.5)))
    assert far["perception.lidar_missed"] == 0


def test_an_old_sweep_says_nothing() -> None:
    made = FrameSignals(ALL)
    made.see(mounted())
    made.see(sweep((14.0, 0.0, 1.0, 0.8)))
    assert made.of(frame(400)) == []


def test_only_what_is_read_is_made() -> None:
    made = FrameSignals(frozenset({"perception.flickers"}))
    assert [s.name for s in made.of(frame(100))] == ["perception.flickers"]
    made.want(frozenset())
    assert made.of(frame(200)) == []


def test_something_that_cannot_be_named() -> None:
    torn = Detection(None, "car", 0.45, np.array([0.45, 0.45, 0.1], np.float32),
                     found(10).cuboid)  # fmt: skip
    assert unknown_probability(frame(0, torn)) == pytest.approx(0.55, abs=0.01)
    assert unknown_probability(frame(0, found(10, p=0.95))) < 0.1
    assert unknown_probability(frame(0)) == 0.0


# Drift --------------------------------------------------------------------------------------


def test_a_shift_is_found_between_pixels() -> None:
    rng = np.random.default_rng(3)
    at = rng.uniform((30, 20), (226, 108), (300, 2))
    strength = np.zeros((128, 256), np.float32)
    for column, row in at:
        rows, columns = np.mgrid[0:128, 0:256]
        strength += np.exp(-((rows - row - 2.0) ** 2 + (columns - column - 3.4) ** 2) / 3.0).astype(
            np.float32
        )
    surface = shift_surface(strength, at, 9)
    assert surface is not None
    best = best_shift(surface)
    assert best is not None
    assert best == pytest.approx((2.0, 3.4), abs=0.35)
    assert best_shift(np.ones((19, 19))) is None


def drift_of(turned_rad: float) -> float:
    """The drift that is told at the end of some simulated seconds in a city."""
    options = DriveOptions(
        load_scenario("everyday-suburb"), 1, "m", 16.0,
        drift={"/camera/front": Drift(yaw_rad=turned_rad)},
    )  # fmt: skip
    made, told = FrameSignals(frozenset({"calibration.drift_rad"})), [float("nan")]
    for sample in SimFleetSource(options).samples():
        told += [s.value for s in made.see(sample) if isinstance(s, SignalSample)]
    return told[-1]


@pytest.mark.soak
def test_a_camera_that_has_turned_in_the_simulator() -> None:
    assert drift_of(0.0) < 0.006
    assert drift_of(0.026) == pytest.approx(0.026, abs=0.008)


# What a vehicle lacks -----------------------------------------------------------------------


def test_what_is_missing_is_named_at_load() -> None:
    from dataclasses import replace

    from contracts.clock import ClockQuality
    from contracts.trigger_spec import parse_spec
    from edge_agent.ports import SourceDescription

    head = "apiVersion: longtail/v1\nid: t\nversion: 1\nowner: x\n"
    bare = SourceDescription("d", "b", 0, ClockQuality(synchronised=True), frozenset(),
                             ("/camera/front",))  # fmt: skip

    def why(text: str, source: SourceDescription = bare, *, candidate: bool = False) -> str:
        loaded = parse_spec(head + text, "t.yaml")
        known = signals_of(source, ("car",), candidate=candidate)
        return inactive_reason(loaded.spec, known, ("car",), "a" * 64)

    lidar = replace(bare, lidar_channels=("/lidar/top",))
    assert why("kind: track_flicker") == ""
    assert why("kind: unknown_object") == "the vehicle has no perception.unexplained_points"
    assert why("kind: unknown_object", lidar) == ""
    assert why("kind: unknown_object\nwhen: {points: null, probability: 0.5}") == ""
    assert why("kind: sensor_disagreement") == "the vehicle has no perception.lidar_missed"
    drift = "kind: sensor_disagreement\nwhen: {missed: null, drift_rad: 0.02}"
    assert why(drift) == "the vehicle has no calibration.drift_rad"
    assert why(drift, lidar) == ""
    assert why("kind: shadow_disagreement") == "no candidate model runs in shadow"
    assert why("kind: shadow_disagreement", candidate=True) == ""
    assert why("kind: operator_bookmark") == "the vehicle has no driver.bookmark"
    assert why("kind: operator_bookmark\nwhen: {source: remote}") == ""
    other = f"kind: novelty\nwhen: {{space: {'b' * 64}, centroids: [ADwAAA==], distance: 0.3}}"
    assert why(other) == f"its centroids are of model {'b' * 12}, but model {'a' * 12} runs"
    assert spec().spec.kind == "expression"
