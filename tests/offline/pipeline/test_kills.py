"""A turn that is killed goes on where it was, and ends as if nothing had been."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from offline.pipeline.table import TABLE
from offline.pipeline.turn import LoopFolder
from tests.offline.pipeline.loops import turn_of
from tests.offline.pipeline.machine import LOG, run

ROOT = Path(__file__).parents[3]
WHEN = ("begin", "middle", "product", "record")


def started(folder: Path, kill: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "tests.offline.pipeline.machine", str(folder), kill],
        cwd=ROOT, check=False, capture_output=True,
    ).returncode  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    """Of all products, by stage."""
    loop, turn = LoopFolder(folder / "loop"), turn_of(folder)
    found = {}
    for name, key in loop.progress(turn.turn_id).keys.items():
        record = loop.record(name, key)
        assert record is not None and record.state == "done"
        found[name] = f"{record.key} {record.product}"
    return found


def through(folder: Path, kills: list[str]) -> None:
    """Killed at each of these, then let through; no stage is computed again once it was done."""
    for kill in kills:
        assert started(folder, kill) == -9
    assert run(folder, turn_of(folder)).state == "done"
    computed = Counter((folder / LOG).read_text().split())
    again = Counter(kill.partition(":")[2] for kill in kills if not kill.startswith("record"))
    assert computed == Counter(stage.name for stage in TABLE) + again


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("whole")
    through(folder, [])
    return digests(folder)


def test_killed_in_some_stages_a_turn_goes_on(whole: dict[str, str], tmp_path: Path) -> None:
    through(tmp_path, ["middle:acquire", "record:label", "product:train", "begin:rollout"])
    assert set(digests(tmp_path)) == set(whole)
    assert _products(tmp_path) == _products_of(whole)


def test_a_turn_that_shipped_stays_shipped_when_it_is_killed_again(tmp_path: Path) -> None:
    turn = turn_of(tmp_path)
    assert run(tmp_path, turn).state == "done"
    loop = LoopFolder(tmp_path / "loop")
    before = loop.progress(turn.turn_id)
    # A product is to be made again, and the attempt at it is killed.
    shutil.rmtree(loop.stage("dataset", before.keys["dataset"]))
    assert started(tmp_path, "middle:dataset") == -9
    assert loop.progress(turn.turn_id) == before
    assert loop.last_shipped() == turn
    assert run(tmp_path, turn) == before


@pytest.mark.soak
def test_killed_at_every_boundary_of_every_stage(whole: dict[str, str], tmp_path: Path) -> None:
    through(tmp_path, [f"{when}:{stage.name}" for stage in TABLE for when in WHEN])
    assert _products(tmp_path) == _products_of(whole)


def _products(folder: Path) -> dict[str, str]:
    return _products_of(digests(folder))


def _products_of(told: dict[str, str]) -> dict[str, str]:
    return {name: both.split()[1] for name, both in told.items()}
