"""How a turn's rollout goes on: asked of the cloud whenever the turn's report is written.

    turns/ID/rollout.json    the rollout as the cloud last told it

A turn ends where its rollout begins (or waits for its end); when a vehicle has the model, and
whether a guardrail took it back, is known only later.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import JsonValue, ValidationError

from client.fleet import FleetClient
from client.http import Retries
from contracts.errors import CorruptError
from contracts.fleet import RolloutDetail
from offline.loop_report.facts import RolloutStage
from offline.pipeline.cloud import cloud_url
from offline.pipeline.records import StageRecord, Turn
from offline.pipeline.turn import LoopFolder
from offline.runs.files import write_durably

COURSE_FILE = "rollout.json"
_OVER = frozenset({"done", "aborted"})
_STATES = {"done": "done", "rolling_back": "rolled_back", "halted": "aborted",
           "aborted": "aborted"}  # fmt: skip
_PATIENCE_S = 10.0


def note_rollout(folder: LoopFolder, turn: Turn) -> None:
    """Ask, where the turn has begun a rollout that was not over when it was last asked about.

    Raises `contracts.errors` as `FleetClient` does, and `CorruptError` as `noted_rollout` does.
    """
    begun = _begun(folder, turn)
    url = cloud_url(turn.spec.rollout.url)
    if begun is None or url is None:
        return
    known = noted_rollout(folder, turn)
    if known is not None and known.phase in _OVER:
        return
    actor, token = turn.spec.rollout.actor, os.environ.get("LONGTAIL_OPERATOR_TOKEN")
    # Somebody waits for a report, which does without.
    cloud = FleetClient(url, actor, token, timeout_s=_PATIENCE_S, retries=Retries(attempts=1))
    found = cloud.rollout(begun)
    write_durably(_path(folder, turn), found.model_dump_json(indent=1).encode())


def noted_rollout(folder: LoopFolder, turn: Turn) -> RolloutDetail | None:
    """None where nobody was asked. Raises `CorruptError`."""
    path = _path(folder, turn)
    if not path.is_file():
        return None
    try:
        return RolloutDetail.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptError("does not tell how a rollout stands; remove it", str(path)) from error


def on_the_canary_utc_ns(known: RolloutDetail | None) -> int | None:
    """When the first vehicle had the model; None before, and where nobody was asked."""
    if known is None:
        return None
    applied = (each.applied_utc_ns for each in known.vehicles)
    return min((at for at in applied if at is not None), default=None)


def rollout_stages(
    record: StageRecord | None, known: RolloutDetail | None
) -> tuple[RolloutStage, ...]:
    """What the report shows of a rollout, by the turn's own record and what was told since."""
    if record is None:
        return ()
    if record.figures.get("to") == "folder":
        return (RolloutStage(name="handed over as files", state="done",
                             end_utc_ns=record.ended_utc_ns),)  # fmt: skip
    figures: dict[str, JsonValue] = dict(record.figures)
    reason, ended_utc_ns = f"rollout {figures.get('rollout_id')}", record.ended_utc_ns
    if known is not None:
        figures |= known.model_dump(include={"stage", "stages", "phase"})
        figures["succeeded"] = known.applied + known.succeeded
        reason += "".join(f": {told}" for told in (known.verdict, known.waiting_for) if told)
        ended_utc_ns = max((each.at_utc_ns for each in known.audit), default=ended_utc_ns)
    state, vehicles = _STATES.get(str(figures.get("phase")), "running"), figures.get("succeeded")
    if state == "aborted" and known is not None and _taken_back(known):
        state = "rolled_back"
    return (
        RolloutStage.model_validate({
            "name": f"stage {figures.get('stage')} of {figures.get('stages')}", "state": state,
            "vehicles": vehicles if isinstance(vehicles, int) else None,
            "start_utc_ns": record.begun_utc_ns,
            "end_utc_ns": None if state == "running" else ended_utc_ns, "reason": reason,
        }),
    )  # fmt: skip


def _taken_back(known: RolloutDetail) -> bool:
    return any(each.recall == "rolled back" for each in known.vehicles)


def _begun(folder: LoopFolder, turn: Turn) -> str | None:
    """The id of the turn's rollout in the cloud."""
    key = folder.progress(turn.turn_id).keys.get("rollout")
    record = None if key is None else folder.record("rollout", key)
    begun = None if record is None else record.figures.get("rollout_id")
    return begun if isinstance(begun, str) else None


def _path(folder: LoopFolder, turn: Turn) -> Path:
    return folder.turn_folder(turn.turn_id) / COURSE_FILE
