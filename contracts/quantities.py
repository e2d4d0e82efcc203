"""Durations and byte counts as people write them in specs and configuration: `300ms`, `2GB`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from contracts.errors import InputError
from contracts.signals import nearest_name

_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ]*)\s*")

DURATION_UNITS = {
    "ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
}  # fmt: skip
BYTE_UNITS = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def _parse(raw: Any, units: dict[str, int], what: str, example: str) -> Any:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise ValueError(f"{what} is text such as '{example}'")
    if not isinstance(raw, str):
        if raw == 0:
            return 0
        raise ValueError(f"{what} needs a unit, such as '{example}'; known: {', '.join(units)}")
    match = _QUANTITY.fullmatch(raw)
    if match is None:
        raise ValueError(f"{raw!r} is not {what} such as '{example}'")
    number, unit = match.groups()
    if unit not in units:
        hint = nearest_name(unit, units)
        raise ValueError(f"unknown unit {unit!r} in {raw!r}; known: {', '.join(units)}{hint}")
    amount = float(number) * units[unit]
    if not math.isfinite(amount):
        raise ValueError(f"{raw[:40]!r} is more than can be counted")
    return round(amount)


def _write(value: int, units: dict[str, int], base: str) -> str:
    best = base
    for unit, size in units.items():
        if value and value % size == 0 and size >= units[best]:
            best = unit
    return f"{value // units[best]}{best}"


def parse_duration_ns(raw: Any) -> Any:
    """`'300ms'` to nanoseconds. Raises `ValueError` naming the known units."""
    return _parse(raw, DURATION_UNITS, "a duration", "300ms")


def duration_ns_of(text: str, place: str) -> int:
    """`'7d'` to nanoseconds. Raises `InputError` with the place."""
    try:
        return int(parse_duration_ns(text))
    except ValueError as error:
        raise InputError(str(error), place) from error


def parse_bytes(raw: Any) -> Any:
    """`'2GB'` to bytes. Raises `ValueError` naming the known units."""
    return _parse(raw, BYTE_UNITS, "an amount of bytes", "200MB")


DurationNs = Annotated[
    int,
    BeforeValidator(parse_duration_ns),
    Field(ge=0, le=366 * 86_400 * 10**9),
    PlainSerializer(lambda value: _write(value, DURATION_UNITS, "ns"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ns|us|ms|s|min|h|d)$"}),
]
"""Nanoseconds, written as `300ms`, `5s`, `10min`."""

Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    Field(ge=0, le=2**60),
    PlainSerializer(
        lambda value: _write(value, {k: v for k, v in BYTE_UNITS.items() if "i" not in k}, "B"),
        return_type=str,
    ),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*([kMGT]B|[KMGT]iB|B)$"}),
]
"""Bytes, written as `200MB` or `8MiB`."""
