"""HTTP ranges of one object (RFC 9110): single ranges; anything else asks for the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloud_ingest.problems import RangeError

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `start + length` of an object."""

    start: int
    length: int


def parse_range(text: str | None, size_bytes: int) -> Span | None:
    """The asked span; None for the whole. Raises `RangeError` when none of it exists.

    A malformed or multiple range is ignored, as the RFC allows.
    """
    match = _RANGE.fullmatch(text.strip()) if text else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size_bytes)
        if length == 0:
            raise RangeError("a range of no bytes", "Range")
        return Span(size_bytes - length, length)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size_bytes:
        raise RangeError(f"the object has {size_bytes} bytes", "Range")
    end = min(int(last) if last else size_bytes - 1, size_bytes - 1)
    return Span(start, end - start + 1)
