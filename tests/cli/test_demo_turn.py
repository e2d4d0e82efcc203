"""The demonstration's loop file: what it names lies where it says, wherever it is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.demo_turn import _document


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
