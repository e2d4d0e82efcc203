"""Sends the outbox: event records go out at once on any link, before any payload.

Guarantees: a record leaves the outbox only when the server has answered for it; one that the
server will never take is set aside with the reason and does not hold up the others. On a full
disk an answer is remembered in memory until it can be written: neither the same record nor the
clips behind it are held up.
"""

from __future__ import annotations

import structlog

from contracts.clock import Clock
from contracts.errors import ExhaustedError
from edge_agent.ledger import Ledger, OutboxRow
from edge_agent.upload.calendar import Calendar
from edge_agent.upload.charge import Charger
from edge_agent.upload.payload import StoppedError
from edge_agent.upload.protocol import Authenticated, AuthRefused, Event, Interrupted, Replied
from edge_agent.upload.receiver import Receiver

BODY_BYTES = 4096
RETRY_S = 30.0
VEHICLE_REFUSED_S = 300.0

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
        self.sent = 0

    async def send_next(self) -> bool:
        """Send the first record that waits. False: there is none, or not now."""
        if self._clock.mono_ns() < self._calendar.events_at_ns():
            return False
        for number, refused in list(self._answered.items()):
            self._settle(number, refused)
        rows = self._ledger.outbox.waiting(1 + len(self._answered))
        waiting = [row for row in rows if row.number not in self._answered]
        return bool(waiting) and await self._send(waiting[0])

    def _settle(self, number: int, refused: str | None = None) -> None:
        """The server has answered for a record: forget it, or set it aside with the reason."""
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
                self._settle(row.number)
                self.sent += 1
                return True
            case Replied(status=429 | 503, retry_after_s=after_s):
                self._calendar.put_off_all(RETRY_S if after_s is None else after_s)
            case Replied(status=400 | 413 | 415 | 422):
                self._settle(row.number, f"{event.status} {event.reason}")
                _log.error("event_record_refused", status=event.status, reason=event.reason)
                return True
            case AuthRefused(reason):
                _log.error("vehicle_refused", reason=reason)
                self._calendar.put_off_all(VEHICLE_REFUSED_S)
            case _:
                self._calendar.put_off_events(RETRY_S)
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
