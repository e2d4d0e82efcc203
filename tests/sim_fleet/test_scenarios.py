"""Every scenario loads, runs, and contains what its name says; wrong files say where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from sim_fleet.classes import KIND_NAMES
from sim_fleet.scenarios.build import stage
from sim_fleet.scenarios.library import Library, built_in, load_scenario
from sim_fleet.world.actors import X, Y
from tests.sim_fleet.support import ticks_of

HEAD = "apiVersion: longtail/sim/v1\nid: mine\n"
WHOLE = HEAD + "title: t\nhard: h\nregion: city\ntod: day\n"


def test_there_are_at_least_forty_and_each_says_what_is_hard() -> None:
    library = built_in()
    specs = [library.scenario(name) for name in library.names]
    assert len(specs) >= 40
    assert len({spec.hard for spec in specs if "everyday" not in spec.tags}) >= 40
    assert {spec.region for spec in specs} == {"city", "suburb", "motorway", "country"}
    assert {spec.tod for spec in specs} == {"day", "dusk", "night", "glare"}
    assert {spec.weather.kind or "clear" for spec in specs} == {"clear", "rain", "fog"}
    assert all(spec.expect and spec.hard and spec.title for spec in specs)


@pytest.mark.parametrize("name", built_in().names)
def test_it_runs_and_contains_what_its_name_says(name: str) -> None:
    spec = built_in().scenario(name)
    ticks = ticks_of(name, 2.0, 1)
    truths = [tick.truth for tick in ticks if tick.truth is not None]
    for expected in spec.expect:
        kind = KIND_NAMES.index(expected.class_name)
        near = [
            (truth.kind == kind)
            & (np.hypot(*truth.centre_ego_m[:, :2].T) < expected.within_m)
            for truth in truths
        ]  # fmt: skip
        assert max(int(each.sum()) for each in near) >= expected.count
        if expected.hidden_at_first:
            nearest = np.flatnonzero(near[0])
            assert truths[0].visibility[nearest].min() < 0.35
    first = truths[0].conditions
    assert first.tod == spec.tod and first.weather == (spec.weather.kind or "clear")
    assert truths[0].roads.region == spec.region
    # Nobody begins inside of the ego.
    away = np.hypot(*truths[0].centre_ego_m[:, :2].T)
    assert away.min() > 2.0


def test_seeds_vary_within_the_ranges() -> None:
    spec = load_scenario("cyclist-at-night-in-rain")
    staged = [stage(spec, seed) for seed in range(6)]
    rain = [each.world.conditions.rain_mm_h for each in staged]
    assert len(set(rain)) == 6 and min(rain) >= 3 and max(rain) <= 9
    gap = []
    for each in staged:
        places = each.world.actors.floats[:2][:, [X, Y]]
        gap.append(float(np.hypot(*(places[1] - places[0]))))
    assert len(set(gap)) == 6 and min(gap) > 15 and max(gap) < 36
    again = stage(spec, 3).world.actors
    assert (again.floats == staged[3].world.actors.floats).all()


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (WHOLE + "wether: {kind: rain}\n", ":7:1", "did you mean 'weather'"),
        (WHOLE + "tod: noon\n", ":7:1", "given twice"),
        (HEAD + "title: t\nhard: h\nregion: town\ntod: day\n", ":5:9", "region"),
        (WHOLE + "actors:\n  - {name: a, shape: hovercraft, ahead_m: 5}\n", ":8:22", "no shape"),
        (WHOLE + "weather: {rain_mm_h: [9, 3]}\n", ":7:22", "falls"),
        (WHOLE + "extends: nothing-such\n", ":7:10", "no scenario or fragment"),
        (WHOLE + "with: [rainy]\n", ":7:8", "did you mean 'rain'"),
        (WHOLE + "with: [mine]\n", ":7:8", "a circle"),
        (HEAD + "title: t\nregion: city\ntod: day\n", ":1:1", "'hard' is missing"),
        (WHOLE + "actors:\n  - name: a\n    shape: car\n    ahead_m: 5\n"
         "    motion: {kind: path}\n", ":11:13", "needs a path"),
        (WHOLE + "id: x\n", ":7:1", "given twice"),
    ],
)  # fmt: skip
def test_a_wrong_file_says_where(tmp_path: Path, text: str, place: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_scenario(str(path))
    assert caught.value.place == f"{path}{place}", caught.value
    assert words in caught.value.message


def test_an_id_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(WHOLE)
    (tmp_path / "two.yaml").write_text(WHOLE)
    with pytest.raises(InputError, match="is taken by"):
        Library((tmp_path,))


def test_an_own_file_builds_on_the_built_in_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + "extends: cow-on-country-road\nwith: [fog]\nhard: both\n"
                    "actors:\n  - {name: dog, shape: dog, ahead_m: 20}\n")  # fmt: skip
    spec = load_scenario(str(path))
    assert [actor.name for actor in spec.actors] == ["cow", "calf", "dog"]
    assert spec.weather.kind == "fog" and spec.region == "country" and spec.hard == "both"
    assert "fog" in spec.tags and "animal" in spec.tags
    with pytest.raises(InputError, match="did you mean"):
        load_scenario("cow-on-the-country-road")
