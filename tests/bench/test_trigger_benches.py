"""Small runs of the triggers' own benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench import target_rates
from bench.phone_drives import PhoneDrive, speeds_mps, swerves_s
from bench.trigger_causes import CAUSES, SPEEDING_UP
from bench.trigger_mistakes import blinking, during, spans_of
from bench.trigger_quality import Score, phone_figures, published
from bench.trigger_scenes import embedded, scene_specs
from bench.trigger_world import OracleModel, Watcher, driven, driven_for
from sim_fleet.scenarios.library import built_in
from sim_fleet.source import DriveOptions


def test_most_land_on_their_rate_in_a_few_days() -> None:
    found = target_rates.landed(5, 4)
    for stream in target_rates.STREAMS:
        told = found[stream.kind]
        wanted = stream.per_hour * told.known_s / 3600.0
        fixed = told.reference_fires / wanted
        assert abs(told.fires / wanted - 1) < 0.5, stream.kind
        assert abs(told.fires / wanted - 1) < max(0.3, abs(fixed - 1)), stream.kind


def test_kinds_of_motion_against_the_truth() -> None:
    specs = published()
    drive = driven(DriveOptions(built_in().scenario("cut-in"), 0, "light", 12.0), specs)
    scores = {name: Score() for name in CAUSES}
    for name, cause in CAUSES.items():
        scores[name].add(drive.fires_s[name], *cause(drive))
    assert scores["disengagement"].found == scores["disengagement"].events >= 1
    right = sum(score.right for score in scores.values())
    assert right >= 0.9 * sum(score.fires for score in scores.values()) > 3


def test_what_the_model_does_wrong_is_found() -> None:
    spans = spans_of(0, "test", 12.0)
    model = OracleModel(0, change=during(spans, blinking))
    drive = driven(
        DriveOptions(built_in().scenario("everyday-city"), 0, "s", 12.0), published(), model
    )
    score = Score()
    score.add(drive.fires_s["track-flicker"], spans, spans)
    assert (score.found, score.events) == (2, 2)


def test_what_was_never_learned_is_found_by_the_lidar() -> None:
    options = DriveOptions(built_in().scenario("cow-on-country-road"), 0, "s", 8.0)
    knows = driven(options, published(), OracleModel(0))
    hidden = driven(options, published(), OracleModel(0, hidden=frozenset({"animal"})))
    assert knows.fires_s["unknown-object"] == []
    assert len(hidden.fires_s["unknown-object"]) >= 1


def test_phone_drives(shared_data: Path) -> None:
    found = {each.name: each.value for each in phone_figures(shared_data, published())}
    assert found["hard-brake on the phone drive with brakes: recall of 6"] == 1.0
    assert found["swerve on the phone drive with lane changes: recall of 2"] == 1.0
    assert found["swerve on the phone drive with aggressive turns: recall of 12"] >= 0.9


def test_a_phone_s_speed_is_read_where_a_turn_begins() -> None:
    """At 9 m/s; the gravity estimate swallows what lasts longer than half a second."""
    t_s = np.arange(0.0, 12.0, 0.02)
    yaw = np.where((t_s > 3.0) & (t_s < 6.0), 0.5, 0.0)
    swallowed = np.exp(-np.clip(t_s - 3.6, 0.0, None))
    drive = PhoneDrive(t_s, 9.0 * yaw * swallowed, yaw, yaw, [], [], [], [])
    speeds = speeds_mps(drive)
    turning = (t_s > 3.1) & (t_s < 6.9)
    np.testing.assert_allclose(speeds[turning], 9.0)
    assert np.isnan(speeds[(t_s < 2.9) | (t_s > 7.1)]).all()
    swerve = next(s for s in published() if s.spec.id == "swerve")
    (fired,) = swerves_s(drive, swerve)  # 4.5 m/s², of which the phone shows half after a second
    assert 3.0 < fired < 4.5


def test_an_event_that_was_found_early_is_found() -> None:
    score = Score()
    score.add([2.0], sure=[(5.0, 6.0)], near=[(1.8, 6.5)])
    assert (score.found, score.events, score.right, score.fires) == (1, 1, 1, 1)
    score.add([9.0], sure=[(5.0, 6.0)], near=[(1.8, 6.5)])
    assert (score.found, score.events, score.right, score.fires) == (1, 2, 1, 2)
    recall, precision = score.figures("kind")
    assert recall.value == precision.value == 0.5
    assert recall.reference == "95 %: 0.01 to 0.99"


def test_scenes_are_known_and_not_known() -> None:
    spans = spans_of(1, "test", 12.0)
    options = DriveOptions(built_in().scenario("everyday-suburb"), 1, "s", 12.0)
    away, at_home = driven_for(
        options, scene_specs(),
        [Watcher(OracleModel(1, embed=embedded(when))) for when in (spans, [])],
    )  # fmt: skip
    for name in ("similar-to", "novelty"):
        score = Score()
        score.add(away.fires_s[name], spans, spans)
        assert (score.found, score.events) == (2, 2), name
        assert score.right == score.fires, name
        assert at_home.fires_s[name] == [], name


def test_a_drive_turned_round_speeds_up_where_it_braked() -> None:
    options = DriveOptions(built_in().scenario("sudden-brake-ahead"), 2, "light", 15.0)
    drive, turned = driven_for(options, published(), [Watcher(), Watcher(turned=True)])
    assert drive.fires_s["hard-accel"] == []
    score = Score()
    score.add(turned.fires_s["hard-accel"], *SPEEDING_UP(turned))
    assert score.found == score.events >= 1
    assert score.right == score.fires
