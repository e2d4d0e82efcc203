"""A turn as a durable workflow: DBOS on the service's PostgreSQL remembers how far it came.

Each stage is a step. A process that is killed leaves the workflow pending; the next one that opens
the loop goes on after the last step that ended, and the stage that was cut off goes on from what it
keeps by itself. A turn that ended (waiting, refused, failed) is asked again by a new attempt, which
finds what is done by its keys.

What DBOS stores is JSON; nothing is pickled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID

from contracts.canonical import canonical_digest
from contracts.errors import LongtailError
from offline.pipeline.table import TABLE, StageName
from offline.pipeline.turn import Progress, Runner

APPLICATION = "longtail-loop"
_VERSION = "1"
"""Of the workflow's order of steps. What a stage computes is told by its key, so that a turn that
was begun by older code can be finished by newer."""
_PENDING = ("PENDING", "ENQUEUED", "DELAYED")
_RUNNERS: dict[str, Runner] = {}
Answer = dict[str, Any]


class _Json(Serializer):
    """What workflows are given and answer are JSON values."""

    def serialize(self, data: Any) -> str:
        return json.dumps(data, default=_error_text)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "longtail_json"


def _error_text(value: Any) -> Any:
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": str(value)}
    raise TypeError(f"no JSON value: {type(value).__name__}")


@DBOS.workflow(name="longtail-turn")
def _turn(name: str) -> Answer:
    """The table, stage by stage; the answer is a `Progress`."""
    runner = _RUNNERS[name]
    keys: dict[StageName, str] = {}
    for stage in TABLE:
        found = DBOS.run_step({"name": stage.name}, _step, name, stage.name, dict(keys))
        if found["state"] != "done":
            return _told(runner, Progress(
                keys=keys, state=found["state"], stage=stage.name, why=found["why"]
            ))  # fmt: skip
        keys[stage.name] = found["key"]
        _told(runner, Progress(keys=keys, stage=stage.name))
    return _told(runner, Progress(keys=keys, state="done"))


def _step(name: str, stage: StageName, keys: dict[StageName, str]) -> Answer:
    runner = _RUNNERS[name]
    _told(runner, Progress(keys=keys, stage=stage))
    try:
        ended = runner.run(stage, keys)
    except LongtailError as error:
        return {"state": "failed", "key": "", "why": str(error)}
    runner.ended(stage, ended)
    return {"state": ended.state, "key": ended.key, "why": ended.why}


def _told(runner: Runner, progress: Progress) -> Answer:
    """A turn that shipped stays so while it is run again, until that comes to an end of its own:
    an attempt that is killed must not take from a next turn what it builds on.
    """
    turn_id = runner.turn.turn_id
    if progress.state != "running" or runner.folder.progress(turn_id).state != "done":
        runner.folder.write_progress(turn_id, progress)
    return progress.model_dump(mode="json")


def run_turn(runner: Runner, database_url: str) -> Progress:
    """Run a turn as far as it goes: to its end, a refusal, a failure, or somebody to wait for.

    An attempt that was cut off is gone on with. Raises what is no error of Longtail's own as it is.
    """
    name = canonical_digest([runner.turn.turn_id, str(runner.folder.path.resolve())])[:32]
    _RUNNERS[name] = runner
    with _dbos(name, database_url):
        attempts = DBOS.list_workflows(workflow_id_prefix=f"{name}-", load_output=False)
        open_ones = [each for each in attempts if each.status in _PENDING]
        if open_ones:
            answer: Any = DBOS.retrieve_workflow(open_ones[-1].workflow_id).get_result()
        else:
            answer = _begun(name, len(attempts)).get_result()
        return Progress.model_validate(answer)


def _begun(name: str, number: int) -> Any:
    with SetWorkflowID(f"{name}-{number}"):
        return DBOS.start_workflow(_turn, name)


@contextmanager
def _dbos(name: str, database_url: str) -> Iterator[None]:
    """DBOS in this process. It takes up what this turn, and no other, left pending."""
    config: DBOSConfig = {
        "name": APPLICATION, "system_database_url": database_url, "application_version": _VERSION,
        "executor_id": name, "serializer": _Json(), "log_level": "ERROR",
        "notification_listener_polling_interval_sec": 0.2,
    }  # fmt: skip
    DBOS(config=config)
    try:
        DBOS.launch()
        yield
    finally:
        DBOS.destroy(workflow_completion_timeout_sec=0)
        _RUNNERS.pop(name, None)
        # Its handlers would hold on to the standard error of this call.
        logging.getLogger("dbos").handlers.clear()
