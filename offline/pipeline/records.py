"""What is kept of a turn and of each stage's work.

LOOP/turns/ID/turn.json              what the turn works on: the loop's file, and which clips
LOOP/stages/NAME/KEY/scratch/        the stage's own, while it works and between attempts
LOOP/stages/NAME/KEY/product/        what it made
LOOP/stages/NAME/KEY/record.json     written last: the work is done
LOOP/store/                          label sets and dataset versions (`offline.datasets`)
LOOP/labels/, LOOP/scores/           work that is kept by clip, across turns

A key is the digest of all that a product can depend on. What is done under a key is never done
again; a record tells which product that gave, by digest, and what was measured meanwhile, which is
no part of any key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from contracts.canonical import canonical_digest, canonical_json
from contracts.errors import CorruptError, InputError
from contracts.geometry import Frozen
from contracts.ids import Name, Sha256Hex
from offline.executor.source import source_digest
from offline.pipeline.spec import LoopSpec
from offline.pipeline.table import Stage, StageName
from offline.runs.files import write_durably

Figures = Mapping[str, JsonValue]
State = Literal["done", "refused"]
RECORD_FILE, TURN_FILE = "record.json", "turn.json"


class StageRecord(Frozen):
    """One stage's work, ended. `refused`: a gate said no; nothing behind it is done.

    `wall_s` and `cpu_s` are of all attempts that came to an end in this process, `begun_utc_ns` of
    the first attempt.
    """

    schema_version: Literal[1] = 1
    stage: StageName
    key: Sha256Hex
    inputs: dict[str, Sha256Hex]
    product: Sha256Hex
    state: State
    why: str = ""
    figures: dict[str, JsonValue] = Field(default_factory=dict)
    begun_utc_ns: int
    ended_utc_ns: int
    wall_s: float
    cpu_s: float


class ClipRef(Frozen):
    """A clip of the snapshot. `path` is None where the cloud has it; `received_utc_ns` is when the
    cloud took it in, None where a folder has it.
    """

    clip_id: Sha256Hex
    path: Path | None = None
    received_utc_ns: int | None = None


class Turn(Frozen):
    """What a turn works on, settled before it begins. `after` is the turn before, by id.

    The id follows from the loop's file, the clips and the turn before: the same question is the
    same turn.
    """

    schema_version: Literal[1] = 1
    spec: LoopSpec
    clips: tuple[ClipRef, ...] = Field(min_length=1)
    after: Sha256Hex | None = None
    begun_utc_ns: int

    @property
    def turn_id(self) -> str:
        return canonical_digest({
            "spec": self.spec.model_dump(mode="json"), "after": self.after,
            "clips": [*sorted(each.clip_id for each in self.clips)],
        })  # fmt: skip

    @property
    def name(self) -> Name:
        """For people: the loop's, and the beginning of the id."""
        return f"{self.spec.name}-{self.turn_id[:8]}"


def stage_key(stage: Stage, inputs: Mapping[str, str], settings: Mapping[str, JsonValue]) -> str:
    """Of a stage as it is in this source, with these inputs' digests and settings."""
    return canonical_digest({
        "stage": stage.name, "version": stage.version, "code": source_digest(stage.function),
        "inputs": dict(inputs), "settings": dict(settings),
    })  # fmt: skip


def tree_digest(path: Path) -> str:
    """Of a file's content, or of all files in a folder by name; names with a dot before them do
    not count. Raises `InputError` for what cannot be read.
    """
    try:
        if path.is_file():
            return _file_digest(path)
        files = sorted(
            each for each in path.rglob("*")
            if each.is_file() and not any(part.startswith(".") for part in _inside(each, path))
        )  # fmt: skip
        return canonical_digest({str(each.relative_to(path)): _file_digest(each) for each in files})
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error


def _inside(path: Path, folder: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_record(path: Path) -> StageRecord | None:
    """A stage's record, None where its work has not come to an end. Raises `CorruptError`."""
    try:
        return StageRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise CorruptError(f"this is no stage's record: {error}", str(path)) from error


def read_turn(path: Path) -> Turn:
    """Raises `InputError` where there is none, `CorruptError` for a damaged one."""
    try:
        return Turn.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    except ValidationError as error:
        raise CorruptError(f"this is no turn: {error}", str(path)) from error


def write_record(path: Path, record: StageRecord | Turn) -> None:
    """Whole or not at all, and on disk when it returns."""
    write_durably(path, canonical_json(record) + b"\n")
