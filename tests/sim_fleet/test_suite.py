"""The frozen suite: the same recipe gives the same drives, and another drive is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import CorruptError, InputError
from contracts.scenario_suite import FrozenSuite, SuiteRecipe, read_suite
from sim_fleet.suite import PUBLISHED, read_recipe, refrozen, suite_of, write_suite


def recipe(version: int = 1, share: float = 0.5) -> SuiteRecipe:
    scenario = {
        "name": "ahead", "slice": "plain",
        "drive": {"scenario": "cut-in", "seeds": [1, 1], "seconds": 2.0, "every_s": 0.5},
        "asks": [{"ask": "told", "who": "vehicle", "within_m": 40, "share": share}],
    }  # fmt: skip
    return SuiteRecipe.model_validate({
        "apiVersion": "longtail/suite/v1", "name": "tiny", "version": version,
        "scenarios": [scenario],
    })  # fmt: skip


def test_drives_are_frozen_and_checked(tmp_path: Path) -> None:
    suite = write_suite(recipe(), None, tmp_path / "one")
    assert read_suite(tmp_path / "one") == suite
    again = write_suite(recipe(), suite, tmp_path / "two")
    assert again == suite
    assert (tmp_path / "two" / suite.scenarios[0].folder / "clip.mcap").is_file()
    other = suite.model_copy(
        update={
            "scenarios": tuple(s.model_copy(update={"frames": "0" * 64}) for s in suite.scenarios)
        }
    )
    with pytest.raises(CorruptError, match="1 of 1 drives do not hold what was frozen: ahead"):
        write_suite(recipe(), other, tmp_path / "two")
    assert not (tmp_path / "two" / "suite.json").exists()
    with pytest.raises(InputError, match="not what was frozen as version 1"):
        write_suite(recipe(share=0.6), suite, tmp_path / "two")
    _must_stays(suite)


def _must_stays(suite: FrozenSuite) -> None:
    promoted = suite.promoted(["ahead"])
    later = suite.model_copy(update={"version": 2})
    assert refrozen(later, promoted).scenarios[0].standing == "must"
    with pytest.raises(InputError, match="version 1 follows 1"):
        refrozen(suite, promoted)
    changed = later.scenarios[0].model_copy(update={"frames": "1" * 64})
    with pytest.raises(InputError, match="cannot be changed or left out"):
        refrozen(later.model_copy(update={"scenarios": (changed,)}), promoted)


def test_the_published_recipe_is_what_was_frozen() -> None:
    frozen = suite_of(PUBLISHED)
    assert frozen is not None
    assert tuple(each.scenario for each in frozen.scenarios) == read_recipe().scenarios
