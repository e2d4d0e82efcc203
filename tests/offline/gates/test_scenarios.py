"""Frozen scenarios: what is asked, of which objects, and what counts as an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from bench.gates_changes import Answered, added, dropped, every, light_never, one_box, rescored
from contracts.errors import InputError
from contracts.scenario_suite import FrozenSuite, SuiteRecipe, Told, read_suite, suite_text
from offline.gates.evidence import ScenarioResult
from offline.gates.scenarios import Met, classes_of, distance_to, ego_paths, judged_scenario
from tests.models.evaluation_drives import drives, true_prediction
from tests.offline.gates.worlds import frozen, world

RNG = np.random.default_rng(0)
PERFECT = [Answered(each.labels, true_prediction(each.labels)) for each in drives(1)]


def result(frames: list[Answered], **over: object) -> ScenarioResult:
    return judged_scenario(frozen("one", "must", **over), [Met(f.labels, f.told) for f in frames])


def asks(*each: dict[str, object]) -> dict[str, object]:
    return {"asks": each}


def test_what_is_right_passes_with_something_to_spare() -> None:
    found = result(PERFECT)
    assert found.passed and found.spare
    assert "vehicle told 18 of 18 times" in found.told


def test_what_is_barely_told_passes_and_spares_nothing() -> None:
    barely = [
        replace(f, told=rescored(lambda scores: scores * 0.35)(f, RNG)) for f in PERFECT
    ]  # fmt: skip
    found = result(barely)
    assert found.passed and not found.spare


def test_what_is_missed_says_from_where_on() -> None:
    blind = [replace(f, told=dropped(every)(f, RNG)) for f in PERFECT]
    found = result(blind)
    assert not found.passed
    assert "vehicle told 0 of 18 times, 60% are asked for, missed from" in found.told


def test_a_detection_answers_for_one_object_only() -> None:
    told = {"ask": "told", "who": "vehicle", "within_m": 40, "share": 1.0}
    once = [replace(f, told=dropped(every)(f, RNG)) for f in PERFECT]
    assert not result(once, **asks(told)).passed


def test_a_phantom_in_the_corridor_counts_and_one_beside_it_does_not() -> None:
    clear = {"ask": "clear", "frames": 1}
    for at, passes in (((3.5, 0.0), False), ((3.5, -8.0), True)):
        seen = [
            replace(f, told=added(f.told, one_box(at, "car"), np.array([0.5]))) for f in PERFECT
        ]  # fmt: skip
        assert result(seen, **asks(clear)).passed is passes


def test_the_light_is_asked_for() -> None:
    dark = [replace(f, told=light_never(f, RNG)) for f in PERFECT]
    found = result(dark, **asks({"ask": "light", "share": 0.5}))
    assert not found.passed and "light right in 0 of 9 frames" in found.told


def test_velocity_is_asked_for_where_it_matters() -> None:
    told = {"ask": "told", "who": "vehicle", "within_m": 40, "share": 0.6, "velocity_mps": 0.5}
    still = [
        replace(f, told=replace(f.told, boxes=replace(
            f.told.boxes, velocity_mps=f.told.boxes.velocity_mps + 1.0))) for f in PERFECT
    ]  # fmt: skip
    assert result(PERFECT, **asks(told)).passed
    assert not result(still, **asks(told)).passed


def test_a_scenario_that_shows_too_little_is_refused() -> None:
    with pytest.raises(InputError, match="shows obstacle 0 times, 3 are asked for"):
        result(PERFECT, **asks({"ask": "told", "who": "obstacle", "within_m": 40, "share": 0.5}))
    with pytest.raises(InputError, match="no labelled frame"):
        result([])


def test_the_path_is_what_the_ego_drives() -> None:
    labels = [each.labels for each in PERFECT]
    paths = ego_paths(labels)
    assert len(paths) == len(labels)
    assert np.allclose(paths[0][0], 0)
    beside, along = distance_to(np.array([[0.0, 0], [10, 0], [10, 10]]), np.array([[12.0, 5.0]]))
    assert beside[0] == pytest.approx(2.0) and along[0] == pytest.approx(15.0)


def test_groups_and_classes() -> None:
    assert set(classes_of("cyclist")) == set(classes_of("vulnerable"))
    with pytest.raises(InputError, match="no class"):
        classes_of("unicorn")


def test_promotion_goes_one_way_and_a_suite_is_its_content(tmp_path: object) -> None:
    suite = world(4, 2).suite
    more = suite.promoted(["one"])
    assert [each.standing for each in more.scenarios] == ["must", "must", "must"]
    assert more.promoted([]).digest == more.digest != suite.digest
    assert more.scenarios[0].digest == suite.scenarios[0].digest
    assert FrozenSuite.model_validate_json(suite_text(suite)) == suite
    with pytest.raises(InputError, match="four is not in the suite"):
        suite.promoted(["four"])


def test_a_recipe_takes_each_name_once() -> None:
    one = {
        "name": "a", "slice": "night", "drive": {},
        "asks": [Told(ask="told", who="car", within_m=9, share=1)],
    }  # fmt: skip
    with pytest.raises(ValidationError, match="a comes twice"):
        SuiteRecipe.model_validate(
            {"apiVersion": "longtail/suite/v1", "name": "s", "version": 1, "scenarios": [one, one]}
        )


def test_the_published_suite_is_the_one_that_the_rules_ask_for() -> None:
    from pathlib import Path

    from offline.gates.policy import read_policy

    published = read_suite(Path(__file__).parents[3] / "sim_fleet" / "suites" / "road.json")
    assert published.digest == read_policy().suite
    assert len(published.scenarios) >= 60
    assert len({each.scenario.safety_slice for each in published.scenarios}) >= 10
