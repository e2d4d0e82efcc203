"""A rollout's state as bytes and back, exactly: what a store keeps between steps.

One JSON document; arrays are base64 of little-endian float64 beside their shape, so that no digit
is lost. `restore(dump(state)) == state`. The reader refuses a version that it does not know.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from cloud_ingest.rollout.evidence import Evidence
from cloud_ingest.rollout.observation import FloatArray
from cloud_ingest.rollout.state import RolloutState
from contracts.errors import CorruptError

SCHEMA_VERSION = 1

_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(kind)
    for name, kind in get_type_hints(RolloutState).items()
    if name != "evidence"
}
_ARRAYS = tuple(field.name for field in fields(Evidence) if field.name != "vehicle_ids")


def dump(state: RolloutState) -> bytes:
    """The state as UTF-8 JSON."""
    document = {
        name: adapter.dump_python(getattr(state, name), mode="json")
        for name, adapter in _ADAPTERS.items()
    }
    evidence: dict[str, Any] = {
        name: _array_to_json(getattr(state.evidence, name)) for name in _ARRAYS
    }
    document["evidence"] = {"vehicle_ids": state.evidence.vehicle_ids, **evidence}
    document["schema_version"] = SCHEMA_VERSION
    return json.dumps(document, separators=(",", ":")).encode()


def restore(text: bytes) -> RolloutState:
    """The state that `dump` wrote. Raises `CorruptError` for anything else."""
    try:
        document = json.loads(text)
        if document["schema_version"] != SCHEMA_VERSION:
            raise CorruptError(
                f"snapshot version {document['schema_version']}, this reads {SCHEMA_VERSION}"
            )
        told = document["evidence"]
        arrays = {name: _array_from_json(told[name]) for name in _ARRAYS}
        evidence = Evidence(vehicle_ids=tuple(told["vehicle_ids"]), **arrays)
        values = {
            name: adapter.validate_python(document[name]) for name, adapter in _ADAPTERS.items()
        }
    except (KeyError, TypeError, ValueError, ValidationError, binascii.Error) as error:
        raise CorruptError(f"this is no snapshot of a rollout: {error!r:.200}") from error
    return RolloutState(evidence=evidence, **values)


def _array_to_json(array: FloatArray) -> dict[str, Any]:
    raw = np.ascontiguousarray(array, dtype="<f8").tobytes()
    return {"shape": list(array.shape), "float64": base64.b64encode(raw).decode()}


def _array_from_json(told: dict[str, Any]) -> FloatArray:
    flat = np.frombuffer(base64.b64decode(told["float64"], validate=True), dtype="<f8")
    return flat.reshape(told["shape"]).astype(np.float64)
