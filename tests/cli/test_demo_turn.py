"""The demonstration's loop file: what it names lies where it says, wherever it is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.demo_fleet import recipe
from cli.demo_turn import SLICES, _beside, _document
from contracts.errors import TransientError
from sim_fleet.trials.recipe import read_trials


def words(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict | list):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from words(each)
    elif isinstance(tree, str):
        yield tree


def test_a_folder_given_by_a_relative_path_is_found_from_the_loops_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("some") / "demo"
    (folder / "data").mkdir(parents=True)
    named = [each for each in words(_document(folder, "http://x")) if "some/demo" in each]
    assert len(named) > 5
    assert all(Path(each).is_relative_to(tmp_path / folder) for each in named)


def test_what_runs_beside_is_waited_for_and_its_failure_told(tmp_path: Path) -> None:
    log = tmp_path / "beside.log"
    with _beside("asking", log, [["--version"], ["spec", "--help"]]) as waited:
        waited()
    assert "lint" in log.read_text()
    with (
        _beside("asking", log, [["no-such-command"], ["--version"]]) as waited,
        pytest.raises(TransientError, match="asking failed"),
    ):
        waited()


def test_the_same_scenes_are_those_that_the_fleet_met() -> None:
    met, compared = (list(read_trials(recipe(name)).single()) for name in ("cattle", "trials"))
    assert {name for name, _ in compared} == set(SLICES)
    assert met == [each for each in compared if each[0] == SLICES[0]]
