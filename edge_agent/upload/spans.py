"""Where a clip is cut into spans, and what becomes of it when not all of them arrive."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from contracts.ids import PART_BYTES, part_count
from edge_agent.upload.protocol import (
    FileCorrupt,
    Outcome,
    Postponed,
    Refused,
    Span,
    Stopped,
)

_GRAVEST_FIRST = (FileCorrupt, Stopped, Refused, Postponed)


def split(size_bytes: int, most_spans: int) -> tuple[Span, ...]:
    """Runs of whole parts as equal as can be, at most `most_spans`.

    It follows from its arguments alone, so that a vehicle that has lost its memory cuts the same.
    """
    parts = part_count(size_bytes)
    count = min(most_spans, parts)
    borders = [PART_BYTES * (parts * index // count) for index in range(count)] + [size_bytes]
    return tuple(Span(begin, end - begin) for begin, end in pairwise(borders))


def gravest(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The end that a clip shares with a span of it; None when it may go on as a whole."""
    ends = list(outcomes)
    for kind in _GRAVEST_FIRST:
        for outcome in ends:
            if isinstance(outcome, kind):
                return outcome
    return None
