"""Runs a turn's stages, each once: what is done under a key is taken as it is.

Guarantees: a stage's product is there as a whole, with its record, or the stage is not done. A kill
at any moment loses at most what its stage does not keep by itself in `scratch`. Stages read
products of others only by digest, so a product that was changed afterwards is found out.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, JsonValue

from cloud_ingest.folder_lock import folder_lock
from contracts.errors import CorruptError, InputError
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex
from offline.pipeline.records import (
    RECORD_FILE,
    TURN_FILE,
    StageRecord,
    Turn,
    read_record,
    read_turn,
    stage_key,
    tree_digest,
    write_record,
)
from offline.pipeline.table import STAGES, TABLE, Stage, StageName
from offline.pipeline.work import Outside, Result, Say, Waiting, Work
from offline.runs.files import write_durably

Products: TypeAlias = Mapping[StageName, str]
"""Keys of the stages that are done, by name."""
StageState = Literal["done", "refused", "waiting"]
STATE_FILE, PRODUCT, SCRATCH = "state.json", "product", "scratch"
Perform = Callable[[Work], "Result | Waiting"]


class Progress(Frozen):
    """Where a turn is: the keys of what is done, and why it stands still if it does."""

    schema_version: Literal[1] = 1
    keys: dict[StageName, Sha256Hex] = Field(default_factory=dict)
    state: Literal["running", "waiting", "refused", "failed", "done"] = "running"
    stage: StageName | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A stage's answer. `computed`: just now, not found done. No record of what waits."""

    state: StageState
    key: str
    why: str = ""
    record: StageRecord | None = None
    computed: bool = False


class LoopFolder:
    """The folder of a loop. One process at a time works in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raises `ConflictError` while another process works here."""
        turns = self.path / "turns"
        turns.mkdir(parents=True, exist_ok=True)
        with folder_lock(turns):
            yield

    def stage(self, name: StageName, key: str) -> Path:
        """Of a stage's work under a key."""
        return self.path / "stages" / name / key[:24]

    def record(self, name: StageName, key: str) -> StageRecord | None:
        """None while the work has not come to an end. Raises `CorruptError` when the product is no
        longer what the record says.
        """
        folder = self.stage(name, key)
        found = read_record(folder / RECORD_FILE)
        if found is not None and tree_digest(folder / PRODUCT) != found.product:
            raise CorruptError(
                f"the product of `{name}` was changed; remove its folder to do it again",
                str(folder),
            )
        return found

    def turns(self) -> list[Turn]:
        """All turns, in the order in which they began."""
        found = [read_turn(path) for path in (self.path / "turns").glob(f"*/{TURN_FILE}")]
        return sorted(found, key=lambda turn: (turn.begun_utc_ns, turn.turn_id))

    def turn(self, text: str | None) -> Turn:
        """The turn whose id begins so, or the last. Raises `InputError` unless there is one."""
        every = self.turns()
        found = every[-1:] if text is None else [
            each for each in every if each.turn_id.startswith(text) or each.name == text
        ]  # fmt: skip
        if len(found) != 1:
            problem = "no turn" if not found else "more than one turn"
            raise InputError(f"{problem} is called so", text or str(self.path))
        return found[0]

    def turn_folder(self, turn_id: str) -> Path:
        return self.path / "turns" / turn_id[:24]

    def begin(self, turn: Turn) -> Turn:
        """Keep a turn; the one that is there already where it is the same. Raises `InputError` for
        one that would build on a turn that did not ship.
        """
        if turn.after is not None:
            self.shipped(turn.after)
        path = self.turn_folder(turn.turn_id) / TURN_FILE
        if path.is_file():
            return read_turn(path)
        write_record(path, turn)
        return turn

    def progress(self, turn_id: str) -> Progress:
        path = self.turn_folder(turn_id) / STATE_FILE
        return Progress.model_validate_json(path.read_bytes()) if path.is_file() else Progress()

    def write_progress(self, turn_id: str, progress: Progress) -> None:
        write_durably(
            self.turn_folder(turn_id) / STATE_FILE, progress.model_dump_json(indent=1).encode()
        )

    def shipped(self, turn_id: str) -> Products:
        """The keys of a turn that went through to its end. Raises `InputError` for any other: what
        a gate refused, or what was never finished, is nothing to build on.
        """
        progress = self.progress(turn_id)
        if progress.state != "done":
            raise InputError(
                f"the turn before did not ship, it is {progress.state}: "
                "go on from one that did, or finish it",
                turn_id[:8],
            )
        return progress.keys

    def last_shipped(self) -> Turn | None:
        """The last turn that went through to its end."""
        done = [turn for turn in self.turns() if self.progress(turn.turn_id).state == "done"]
        return done[-1] if done else None


@dataclass(slots=True)
class Runner:
    """Runs the stages of one turn."""

    folder: LoopFolder
    turn: Turn
    outside: Outside
    say: Say = lambda text: None
    ended: Callable[[StageName, Ended], None] = lambda name, ended: None
    _digests: dict[Path, str] = field(default_factory=dict)
    _records: dict[str, StageRecord] = field(default_factory=dict)

    def key(self, stage: Stage, done: Products) -> str:
        """Of the stage's work. Raises `InputError` for a stage that is needed and not done."""
        inputs: dict[str, str] = {
            name: self._record(name, done[name]).product for name in stage.needs
        }
        inputs |= {
            f"before.{name}": self._record(name, key).product
            for name, key in self._before(stage).items()
        }
        for name, paths in self.turn.spec.reads(stage.name).items():
            inputs |= {f"{name}.{n}": self._digest(path) for n, path in enumerate(paths)}
        return stage_key(stage, inputs, self._settings(stage))

    def run(self, name: StageName, done: Products) -> Ended:
        """Do a stage, or find it done."""
        stage = STAGES[name]
        key = self.key(stage, done)
        found = self.folder.record(name, key)
        if found is not None:
            return Ended(found.state, key, found.why, found)
        return self._performed(stage, key, done)

    def _performed(self, stage: Stage, key: str, done: Products) -> Ended:
        folder = self.folder.stage(stage.name, key)
        product, scratch = folder / PRODUCT, folder / SCRATCH
        shutil.rmtree(product, ignore_errors=True)
        for each in (product, scratch):
            each.mkdir(parents=True, exist_ok=True)
        begun = scratch / ".begun"
        if not begun.exists():
            write_durably(begun, str(self.outside.clock.utc_ns()).encode())
        work = Work(
            self.turn, key, self._products(dict.fromkeys(stage.needs), done),
            self._products(self._before(stage), self._before(stage)), product, scratch,
            self.folder.path, self.outside, self.say,
        )  # fmt: skip
        wall_s, cpu_s = time.monotonic(), _cpu_s()
        result = _function(stage)(work)
        if isinstance(result, Waiting):
            return Ended("waiting", key, result.why)
        inputs = {name: self._record(name, done[name]).product for name in stage.needs}
        record = StageRecord(
            stage=stage.name, key=key, inputs=inputs, product=tree_digest(product),
            state=result.state, why=result.why, figures=dict(result.figures),
            begun_utc_ns=int(begun.read_text()), ended_utc_ns=self.outside.clock.utc_ns(),
            wall_s=round(time.monotonic() - wall_s, 3), cpu_s=round(_cpu_s() - cpu_s, 3),
        )  # fmt: skip
        write_record(folder / RECORD_FILE, record)
        shutil.rmtree(scratch, ignore_errors=True)
        return Ended(record.state, key, record.why, record, computed=True)

    def _products(self, names: Mapping[StageName, object], keys: Products) -> dict[StageName, Path]:
        return {name: self.folder.stage(name, keys[name]) / PRODUCT for name in names}

    def _record(self, name: StageName, key: str) -> StageRecord:
        """Of what is done; its product is looked at once in this process."""
        if key not in self._records:
            found = self.folder.record(name, key)
            if found is None or found.state != "done":
                raise InputError(f"`{name}` has not been done", self.turn.name)
            self._records[key] = found
        return self._records[key]

    def _before(self, stage: Stage) -> dict[StageName, str]:
        if self.turn.after is None:
            return {}
        keys = self.folder.shipped(self.turn.after)
        if missing := [name for name in stage.before if name not in keys]:
            raise InputError(f"the turn before has no `{missing[0]}`", self.turn.after[:8])
        return {name: keys[name] for name in stage.before}

    def _settings(self, stage: Stage) -> dict[str, JsonValue]:
        told = self.turn.spec.section(stage.name).settings() | {"seed": self.turn.spec.seed}
        if stage.name == "ingest":
            told["clips"] = [*sorted(each.clip_id for each in self.turn.clips)]
        return told

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = tree_digest(path)
        return self._digests[path]


def next_stage(done: Products) -> StageName | None:
    """The first of the table that is not done."""
    return next((stage.name for stage in TABLE if stage.name not in done), None)


def _function(stage: Stage) -> Perform:
    module, _, name = stage.function.partition(":")
    found: Perform = getattr(import_module(module), name)
    return found


def _cpu_s() -> float:
    """Of this process, its threads, and its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
