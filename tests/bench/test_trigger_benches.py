"""Small runs of the triggers' own benchmarks."""

from __future__ import annotations

from pathlib import Path

from bench import target_rates
from bench.trigger_mistakes import blinking, during, spans_of
from bench.trigger_quality import CAUSES, Score, phone_figures, published
from bench.trigger_world import OracleModel, driven
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
