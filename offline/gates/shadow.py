"""Shadow evidence from a file: made already, or added up from vehicles' check-ins.

A check-in counts frames, failures and objects, and knows nothing of what a planner would have
done; evidence from check-ins therefore has no disagreement that a human decided. Who has played
both models through a planner writes `ShadowEvidence` itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contracts.check_in import ShadowModel
from contracts.errors import InputError
from offline.gates.evidence import ShadowEvidence

_MAX_FILE_BYTES = 64 * 1024**2


def read_shadow(path: Path, candidate: str, active: str) -> ShadowEvidence:
    """A `ShadowEvidence` as JSON, or a list of vehicles as `longtail fleet show --json` tells
    them, or of their check-ins.

    Args:
        candidate, active: digests; check-ins of other models in shadow are left out.

    Raises `InputError` for anything else, and where no check-in is of these models.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(f"larger than {_MAX_FILE_BYTES} bytes", str(path))
        told = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise InputError(f"this is no JSON: {error}", str(path)) from error
    try:
        if isinstance(told, dict) and told.get("kind") == "shadow":
            return ShadowEvidence.model_validate(told)
        rows = told if isinstance(told, list) else [told]
        found = dict(_counted(rows, str(path)))
    except ValidationError as error:
        raise InputError(error.errors()[0]["msg"], str(path)) from error
    return added_up(found, candidate, active, str(path))


def added_up(
    vehicles: dict[str, ShadowModel], candidate: str, active: str, place: str
) -> ShadowEvidence:
    """What all vehicles counted of these two models. Raises `InputError` where none did."""
    rows = [
        each for each in vehicles.values()
        if (each.digest, each.active_digest) == (candidate, active)
        and each.frames + each.failed_frames
    ]  # fmt: skip
    if not rows:
        raise InputError("no vehicle ran this candidate beside this active model", place)
    return ShadowEvidence(
        candidate=candidate, active=active, vehicles=len(rows),
        frames=sum(each.frames + each.failed_frames for each in rows),
        crashes=sum(each.failed_frames for each in rows),
        agreed=sum(each.agreed for each in rows),
        class_differs=sum(each.class_differs for each in rows),
        only_active=sum(each.only_active for each in rows),
        only_candidate=sum(each.only_candidate for each in rows),
    )  # fmt: skip


def _counted(rows: Iterable[Any], place: str) -> Iterable[tuple[str, ShadowModel]]:
    """Each vehicle's counts, its last check-in where it comes more than once."""
    for number, row in enumerate(rows):
        told = row.get("check_in", row) if isinstance(row, dict) else None
        if not isinstance(told, dict):
            raise InputError(f"entry {number} is no check-in", place)
        vehicle = told.get("vehicle_id", row.get("vehicle_id"))
        if not isinstance(vehicle, str):
            raise InputError(f"entry {number} names no vehicle", place)
        if told.get("shadow_model") is not None:
            yield vehicle, ShadowModel.model_validate(told["shadow_model"])
