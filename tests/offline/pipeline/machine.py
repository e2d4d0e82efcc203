"""A turn with stages that take no time, in a process of its own: what is tested is the machine.

    python -m tests.offline.pipeline.machine FOLDER [KILL]

Each stage writes its name and what it needs, and notes in FOLDER/log that it computed. KILL is
`WHEN:STAGE`: the process kills itself there. `begin`: before the stage's work; `middle`: with half
of its product written; `product`: before its record; `record`: after it, before the workflow hears.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from cloud_ingest.settings import load_settings
from contracts.clock import SystemClock
from offline.labels.queue.opened import opened_database
from offline.pipeline import turn as turn_module
from offline.pipeline.durable import run_turn
from offline.pipeline.records import RECORD_FILE, StageRecord, Turn, write_record
from offline.pipeline.table import Stage
from offline.pipeline.turn import LoopFolder, Progress, Runner
from offline.pipeline.work import Outside, Result, Waiting, Work
from tests.offline.pipeline.loops import turn_of

LOG, GATE, PEOPLE = "log", "gate-says-no", "people-are-asked"


class NoVehicle:
    """No stage here asks for one."""

    def evidence(self, *_: object) -> None:
        raise AssertionError("nobody drives")


def outside() -> Outside:
    return Outside(lambda model: None, NoVehicle(), load_settings({}), SystemClock())


def stage_work(stage: Stage, folder: Path, kill: str) -> turn_module.Perform:
    """Half of the product, the rest of it, and a line in the log."""

    def perform(work: Work) -> Result | Waiting:
        with (folder / LOG).open("a") as log:
            log.write(f"{stage.name}\n")
        _killed(kill, "begin", stage)
        (work.scratch / "kept").touch()
        (work.product / "one").write_text(stage.name)
        _killed(kill, "middle", stage)
        needs = {name: (path / "two").read_text() for name, path in work.needs.items()}
        before = {name: (path / "two").read_text() for name, path in work.before.items()}
        clips = [each.clip_id for each in work.turn.clips] if stage.name == "ingest" else []
        (work.product / "two").write_text(f"{stage.name} of {clips} {needs} {before}")
        if stage.name == "evaluate" and (folder / GATE).exists():
            return Result({"claims": 1}, "refused", "the gate `scenarios` fails: a child: missed")
        if stage.name == "review" and (folder / PEOPLE).exists():
            return Waiting("2 labelling tasks are open")
        _killed(kill, "product", stage)
        return Result({"clips": len(work.turn.clips)})

    return perform


def _killed(kill: str, when: str, stage: Stage) -> None:
    if kill == f"{when}:{stage.name}":
        os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, turn: Turn, kill: str = "") -> Progress:
    """Run a turn with these stages, as `longtail loop run` runs it with real ones."""

    def written(path: Path, record: StageRecord | Turn) -> None:
        write_record(path, record)
        if path.name == RECORD_FILE and isinstance(record, StageRecord):
            _killed(kill, "record", turn_module.STAGES[record.stage])

    kept, around = LoopFolder(folder / "loop"), outside()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn_module, "_function", lambda stage: stage_work(stage, folder, kill))
        patch.setattr(turn_module, "write_record", written)
        with kept.locked(), opened_database(around.settings, create=True) as url:
            return run_turn(Runner(kept, kept.begin(turn), around), url)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    ended = run(where, turn_of(where), *sys.argv[2:3])
    sys.stdout.write(f"{ended.state}\n")
