"""Runs a stage over clips.

Guarantees: what was done once under a key is not done again; a kill at any moment loses at most
the clips that were being worked on; a clip that fails keeps no other from being done, and is tried
again by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import ValidationError

from contracts.errors import InputError, TransientError
from offline.executor.ports import Executor, Failure, Outcome, Task
from offline.runs.folder import WorkFolder
from offline.runs.records import ClipFailure, ClipRecord, StageRun, run_digest
from offline.runs.stage import ClipInputs, Configuration, Stage, clip_key, run_key


@dataclass(frozen=True, slots=True)
class Progress:
    """A clip that has just ended: the `number`-th of `total`; `computed` or found done."""

    record: ClipRecord
    number: int
    total: int
    computed: bool


Watcher: TypeAlias = Callable[[Progress], None]


def run_stage(
    stage: Stage, configuration: Configuration, clips: Sequence[ClipInputs],
    folder: WorkFolder, executor: Executor, watcher: Watcher = lambda _: None,
) -> StageRun:  # fmt: skip
    """Do what is not done yet and tell of all clips.

    Args:
        stage: what is done to each clip.
        configuration: JSON values that the work is given, the same for all clips.
        clips: each with a name of its own.
        folder: where products and records are kept; other stages' may be there as well.
        executor: what runs the work.
        watcher: called in this thread as each clip ends.

    Raises `InputError` for inputs that cannot be read or names that are there twice,
    `ConflictError` when another process works in the folder.
    """
    by_name = {each.clip: each for each in clips}
    if len(by_name) != len(clips):
        raise InputError("a clip's name is there twice", stage.name)
    stage_key = stage.key(configuration)
    inputs = {name: by_name[name].digest() for name in sorted(by_name)}
    due = {
        name: ClipRecord(
            stage=stage.name, clip=name, key=clip_key(stage_key, digest), inputs=digest
        )
        for name, digest in inputs.items()
    }
    done: dict[str, ClipRecord] = {}

    def ended(record: ClipRecord, computed: bool) -> None:
        done[record.clip] = record
        watcher(Progress(record, len(done), len(due), computed))

    with folder.locked():
        for record in due.values():
            found = folder.finished(record.key)
            if found is not None:
                ended(found, computed=False)
        # The largest first, so that the last one to end is a small one.
        left = sorted(set(due) - set(done), key=lambda name: (-by_name[name].size_bytes(), name))
        tasks = [Task(name, by_name[name].request(configuration)) for name in left]
        with closing(executor.run(stage.function, tasks)) as outcomes:
            for outcome in outcomes:
                ended(_kept(folder, due[outcome.clip], outcome), computed=True)
        records = tuple(done[name] for name in due)
        run = StageRun(
            stage=stage.name, version=stage.version, function=stage.function,
            configuration=dict(configuration), key=run_key(stage_key, inputs), clips=records,
            digest=run_digest(records),
        )  # fmt: skip
        folder.write_run(run)
    return run


def _kept(folder: WorkFolder, record: ClipRecord, outcome: Outcome) -> ClipRecord:
    result = outcome.result
    if not isinstance(result, Failure):
        try:
            return folder.keep(record, result)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            result = Failure("InputError", f"its product is refused: {where}: {first['msg']}")
    failure = ClipFailure(kind=result.kind, reason=result.reason, detail=result.detail)
    failed = record.model_copy(update={"failure": failure})
    folder.write(failed)
    return failed


def check(run: StageRun) -> None:
    """Raises when a clip failed: `InputError` when all that failed were given wrong input, else
    `TransientError`; both name the first clip and tell its reason.
    """
    if not run.failed:
        return
    first = run.failed[0].failure
    of = f"{len(run.failed)} of {len(run.clips)} failed and will be tried again; the first: "
    message = of + (first.reason if first else "")
    wrong = all(each.failure and each.failure.kind == "InputError" for each in run.failed)
    kind = InputError if wrong else TransientError
    raise kind(message, run.failed[0].clip)
