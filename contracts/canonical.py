"""Canonical JSON: the same value gives the same bytes, so that a digest names the value.

Keys are sorted, there is no white space, and a float is written as the shortest text that reads
back as the same number. What JSON has no word for (NaN, infinity) is refused.
"""

from __future__ import annotations

import json

from pydantic import BaseModel, JsonValue

from contracts.errors import InputError
from contracts.ids import sha256_hex


def canonical_json(value: JsonValue | BaseModel) -> bytes:
    """Raises `InputError` for what is no JSON value."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    try:
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"this is no JSON value: {error}") from error
    return text.encode()


def canonical_digest(value: JsonValue | BaseModel) -> str:
    """SHA-256 of the canonical JSON."""
    return sha256_hex(canonical_json(value))
