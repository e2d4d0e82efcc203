"""`longtail loop ...`: what the commands say and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from cli import loop_report, loop_run
from cli.loop import app
from contracts.errors import InputError
from offline.pipeline import turn as turn_module
from offline.pipeline.turn import LoopFolder, Progress
from tests.offline.pipeline.loops import write_loop
from tests.offline.pipeline.machine import GATE, LOG, PEOPLE, stage_work


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The loop's file over three clips; its stages take no time."""
    monkeypatch.setattr(turn_module, "_function", lambda stage: stage_work(stage, tmp_path, ""))
    # The page is read off real products; `test_real_stages` looks at it.
    page = tmp_path / "report.html"
    page.touch()
    monkeypatch.setattr(loop_report, "write_turn_report", lambda kept, turn: page)
    path = write_loop(tmp_path / "files", when={"clips": 2})
    pool = tmp_path / "files" / "pool"
    (pool / "file").unlink()
    for number in range(3):
        comes(pool, number)
    return path


def comes(pool: Path, number: int) -> None:
    """A clip that nobody opens."""
    (pool / f"{number}.mcap").write_text(f"clip {number}")


def called(loop: Path, *words: str) -> Result:
    folder = loop.parents[1] / "loop"
    return CliRunner().invoke(app, [*words, "--loop", str(folder)])


def test_a_turn_is_run_told_and_run_again(loop: Path) -> None:
    dry = called(loop, "run", str(loop), "--dry-run")
    assert dry.exit_code == 0 and dry.stdout.count("to be computed") == 10
    done = called(loop, "run", str(loop), "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["state"] == "done" and len(told["stages"]) == 10
    assert Path(told["report"]).is_file()
    assert json.loads(called(loop, "run", str(loop), "--json").stdout)["turn"] == told["turn"]
    assert len((loop.parents[1] / LOG).read_text().split()) == 10
    status = called(loop, "status", told["turn"][:10])
    assert status.exit_code == 0 and status.stdout.count("done") >= 10


def test_how_a_turn_ends_is_its_exit_code(loop: Path) -> None:
    folder = loop.parents[1]
    (folder / PEOPLE).touch()
    waits = called(loop, "run", str(loop))
    assert waits.exit_code == loop_run.WAITS and "2 labelling tasks are open" in waits.stdout
    (folder / PEOPLE).unlink()
    (folder / GATE).touch()
    refused = called(loop, "resume")
    assert refused.exit_code == 1 and "a child: missed" in refused.stdout


def test_a_turn_begins_when_enough_is_new(loop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = called(loop, "watch", str(loop), "--turns", "1")
    assert first.exit_code == 0, first.output
    folder = LoopFolder(loop.parents[1] / "loop")
    (turn,) = folder.turns()
    # A turn that was cut off goes before any other.
    folder.write_progress(turn.turn_id, Progress(keys={}, state="running"))
    assert called(loop, "watch", str(loop), "--turns", "1").exit_code == 0
    assert len(folder.turns()) == 1 and folder.progress(turn.turn_id).state == "done"
    # One new clip is too few: it looks again until there are two.
    pool = loop.parent / "pool"
    looked: list[int] = []

    def clip_comes(_: float) -> None:
        comes(pool, 3 + len(looked))
        looked.append(len(folder.turns()))

    monkeypatch.setattr(loop_run, "_pause", clip_comes)
    assert called(loop, "watch", str(loop), "--turns", "1").exit_code == 0
    assert looked == [1, 1] and len(folder.turns()) == 2
    assert folder.turns()[-1].after == turn.turn_id


def test_a_turn_that_waits_or_failed_is_gone_on_with(
    loop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LoopFolder(loop.parents[1] / "loop")
    asked = loop.parents[1] / PEOPLE
    asked.touch()
    paused: list[float] = []

    def answered(seconds: float) -> None:
        paused.append(seconds)
        (turn,) = folder.turns()
        assert folder.progress(turn.turn_id).state == "waiting"
        comes(loop.parent / "pool", 10 + len(paused))  # enough for another turn, which waits too
        if len(paused) == 3:
            asked.unlink()

    monkeypatch.setattr(loop_run, "_pause", answered)
    watched = called(loop, "watch", str(loop), "--turns", "1", "--look-every", "60")
    assert watched.exit_code == 0, watched.output
    assert watched.stdout.count("labelling tasks are open") == 1  # told once, not at every look
    assert paused == [60.0] * 3
    (turn,) = folder.turns()
    assert folder.progress(turn.turn_id).state == "done"

    folder.write_progress(turn.turn_id, Progress(keys={}, state="failed", why="no disk"))
    assert called(loop, "watch", str(loop), "--turns", "1").exit_code == 0
    assert folder.progress(turn.turn_id).state == "done"
    assert len(folder.turns()) == 1


def test_watching_asks_for_a_when(loop: Path) -> None:
    document = yaml.safe_load(loop.read_text())
    del document["when"]
    loop.write_text(yaml.safe_dump(document))
    found = called(loop, "watch", str(loop))
    assert isinstance(found.exception, InputError) and "when" in str(found.exception)
