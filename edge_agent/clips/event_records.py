"""Tells events: the record of under 2 kB that goes out ahead of any payload.

Guarantees: a record always fits, evidence giving way first (the clip has all of it); a ledger
that cannot take one (full disk) is logged and counted, and stops neither drive nor packing.
"""

from __future__ import annotations

from typing import Literal

import structlog

from contracts.clip import Cause
from contracts.errors import InputError, LongtailError
from contracts.ids import EventKey
from contracts.upload import EventRecord
from edge_agent.ledger import Ledger
from edge_agent.ledger.outbox import event_body

MAX_REASON = 300

log = structlog.get_logger(__name__)


def fitting(record: EventRecord) -> EventRecord:
    """The record with as much of its evidence as `MAX_EVENT_BYTES` allow."""
    evidence = list(record.cause.evidence.items())
    while True:
        try:
            event_body(record)
            return record
        except InputError:
            if not evidence:
                raise
            evidence.pop()
            cause = record.cause.model_copy(update={"evidence": dict(evidence)})
            record = record.model_copy(update={"cause": cause})


class EventTeller:
    """Puts records into the ledger's outbox. Safe to share between threads."""

    def __init__(self, ledger: Ledger, utc_minus_mono_ns: int) -> None:
        self._ledger = ledger
        self._offset_ns = utc_minus_mono_ns
        self.untold = 0

    def tell(
        self,
        event: EventKey,
        cause: Cause,
        outcome: Literal["captured", "suppressed", "lost"],
        reason: str | None = None,
    ) -> None:
        """Queue the record of one fire."""
        record = EventRecord(
            event=event,
            utc_ns=cause.fired_mono_ns + self._offset_ns,
            cause=cause,
            outcome=outcome,
            reason=None if reason is None else reason[:MAX_REASON],
        )
        try:
            self._ledger.outbox.put(fitting(record))
        except LongtailError as error:
            self.untold += 1
            log.error("event record not kept", key=event.text(), reason=str(error))
