"""What the fleet did from the turn before to this one, kept beside the turn for its report."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from client.fleet import FleetClient
from contracts.clock import NS_PER_DAY
from contracts.errors import CorruptError
from contracts.fleet import FleetActivity
from offline.loop_report.facts import FleetFacts
from offline.pipeline.cloud import cloud_url
from offline.pipeline.records import Turn
from offline.pipeline.turn import LoopFolder
from offline.runs.files import write_durably

FLEET_FILE = "fleet.json"
_FIRST_NS = 30 * NS_PER_DAY
"""How far a first turn looks back."""


def note_fleet(folder: LoopFolder, turn: Turn) -> None:
    """Ask the cloud, where there is one, and once: check-ins are not kept for ever.

    Raises `contracts.errors` as `FleetClient` does.
    """
    path = _path(folder, turn)
    url = cloud_url(turn.spec.ingest.url, turn.spec.rollout.url)
    if url is None or path.is_file():
        return
    since = turn.begun_utc_ns - _FIRST_NS
    if turn.after is not None:
        since = folder.turn(turn.after).begun_utc_ns
    actor, token = turn.spec.rollout.actor, os.environ.get("LONGTAIL_OPERATOR_TOKEN")
    found = FleetClient(url, actor, token).activity(since, turn.begun_utc_ns)
    write_durably(path, found.model_dump_json(indent=1).encode())


def noted_fleet(folder: LoopFolder, turn: Turn) -> FleetFacts | None:
    """None where nobody was asked, or no vehicle drove. Raises `CorruptError`."""
    path = _path(folder, turn)
    if not path.is_file():
        return None
    try:
        told = FleetActivity.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptError("does not tell what the fleet did; remove it", str(path)) from error
    if not told.vehicle_days:
        return None
    return FleetFacts(
        vehicles=told.vehicles,
        vehicle_days=told.vehicle_days,
        fires=told.fires,
        clips=told.clips,
        kept_bytes=told.clip_bytes,
        budget_bytes=told.budget_bytes,
    )


def _path(folder: LoopFolder, turn: Turn) -> Path:
    return folder.turn_folder(turn.turn_id) / FLEET_FILE
