"""Sends the outbox: event records go out at once on any link, before any payload.

Guarantees: a record leaves the outbox only when the server has answered for it; one that the
server will never take is set aside with the reason, and none holds up the others. On a full
disk an answer is remembered in memory until it can be written: neither the same record nor the
clips behind it are held up.

| answer                              | whose refusal it is, and what follows                  |
|-------------------------------------|--------------------------------------------------------|
| 2xx                                 | none: the record is sent                               |
| 400, 403, 409, 410, 413, 415, 422   | the record's: it is set aside                          |
| 401, with a new token too           | the vehicle's: all waits 5 min                         |
| 429, 503                            | everyone's: all waits as long as the server says       |
| 408, 425, 5xx                       | nobody's: records wait 30 s                            |
| no answer                           | nobody's: records wait 30 s, or until a clip arrived   |
| any other; one of the second row    | unclear: the record lets those that were not yet tried |
| without a `Problem`, so that it may | go first, and is tried again after 5 min; two of them  |
| come from somebody in between       | in a row: records wait 5 min                           |
"""

from __future__ import annotations

import structlog

from contracts.clock import Clock
from contracts.errors import ExhaustedError
from edge_agent.ledger import Ledger, OutboxRow
from edge_agent.upload.calendar import Calendar
from edge_agent.upload.charge import Charger
from edge_agent.upload.payload import StoppedError
from edge_agent.upload.protocol import (
    Authenticated,
    AuthRefused,
    Event,
    Failed,
    Interrupted,
    Replied,
)
from edge_agent.upload.receiver import Receiver

BODY_BYTES = 4096
RETRY_S = 30.0
VEHICLE_REFUSED_S = 300.0
UNCLEAR_S = 300.0
_OF_RECORD = frozenset({400, 403, 409, 410, 413, 415, 422})
_OF_NOBODY = frozenset({408, 425})

_log = structlog.get_logger(__name__)


class EventSender:
    """Empties the outbox record by record."""

    def __init__(
        self,
        ledger: Ledger,
        receiver: Receiver,
        charger: Charger,
        calendar: Calendar,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._receiver = receiver
        self._charger = charger
        self._calendar = calendar
        self._clock = clock
        self._answered: dict[int, str | None] = {}
        self._passed_over: dict[int, int] = {}
        """Records that were refused for an unclear reason, and when they may be tried again."""
        self._unclear_in_a_row = 0
        self.sent = 0

    async def send_next(self) -> bool:
        """Send the first record that waits. False: there is none, or not now."""
        if self._clock.mono_ns() < self._calendar.events_at_ns():
            return False
        for number, refused in list(self._answered.items()):
            self._settle(number, refused)
        row, at_ns = self._first()
        return row is not None and at_ns <= self._clock.mono_ns() and await self._send(row)

    def next_at_ns(self) -> int | None:
        """When a record may be tried next (it may have passed); None when none waits."""
        row, at_ns = self._first()
        return None if row is None else max(at_ns, self._calendar.events_at_ns())

    def may_go(self) -> bool:
        """Whether the link as it is now takes records, as far as the caps allow."""
        return self._charger.affords(BODY_BYTES, event=True)

    def _first(self) -> tuple[OutboxRow | None, int]:
        """The next record, and when it may go: those that were passed over come last."""
        rows = self._ledger.outbox.waiting(1 + len(self._answered) + len(self._passed_over))
        at_ns = [
            (self._passed_over.get(row.number, 0), row)
            for row in rows
            if row.number not in self._answered
        ]
        first_ns, first = min(at_ns, key=lambda pair: pair[0], default=(0, None))
        return first, first_ns

    def _settle(self, number: int, refused: str | None = None) -> None:
        """The server has answered for a record: forget it, or set it aside with the reason."""
        self._passed_over.pop(number, None)
        self._answered[number] = refused
        try:
            if refused is None:
                self._ledger.outbox.sent(number)
            else:
                self._ledger.outbox.refuse(number, refused)
        except ExhaustedError as error:
            _log.warning("event_record_still_queued", reason=str(error))
        else:
            del self._answered[number]

    async def _send(self, row: OutboxRow) -> bool:
        event = await self._exchange(row, renew=False)
        if isinstance(event, Replied) and event.status == 401:
            event = await self._exchange(row, renew=True)
        match event:
            case Replied(status=status) if 200 <= status < 300:
                self._unclear_in_a_row = 0
                self._settle(row.number)
                self.sent += 1
                return True
            case Replied(status=429 | 503, retry_after_s=after_s):
                self._calendar.put_off_all(RETRY_S if after_s is None else after_s)
            case Replied(status=status, reason=reason) if status in _OF_RECORD and reason:
                self._unclear_in_a_row = 0
                self._settle(row.number, f"{status} {reason}")
                _log.error("event_record_refused", status=status, reason=reason)
                return True
            case AuthRefused(reason) | Replied(status=401, reason=reason):
                _log.error("vehicle_refused", reason=reason)
                self._calendar.put_off_all(VEHICLE_REFUSED_S)
            case Replied(status=status) if status < 500 and status not in _OF_NOBODY:
                return self._pass_over(row, event)
            case Failed():
                self._calendar.put_off_events_until_heard(RETRY_S)
            case _:
                self._calendar.put_off_events(RETRY_S)
        return False

    def _pass_over(self, row: OutboxRow, reply: Replied) -> bool:
        """Let the others go first; where they fare no better, it is not for the record."""
        _log.warning("event_record_passed_over", status=reply.status, reason=reply.reason)
        delay_ns = self._calendar.jittered_ns(UNCLEAR_S)
        self._passed_over[row.number] = self._clock.mono_ns() + delay_ns
        self._unclear_in_a_row += 1
        if self._unclear_in_a_row == 1:
            return True
        self._unclear_in_a_row = 0
        self._calendar.put_off_events(UNCLEAR_S)
        return False

    async def _exchange(self, row: OutboxRow, renew: bool) -> Event:
        try:
            with self._charger.exchange(BODY_BYTES, event=True):
                found = await self._receiver.authenticate(renew)
                if not isinstance(found, Authenticated):
                    return found
                return await self._receiver.post_event(row.body)
        except StoppedError as stopped:
            return Interrupted(stopped.message)
