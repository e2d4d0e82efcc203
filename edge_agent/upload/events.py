"""Sends the outbox: event records go out at once on any link, before any payload.

Guarantees: a record leaves the outbox only when the server has answered for it; one that the
server will never take is set aside with the reason and does not hold up the others.
"""

from __future__ import annotations

import structlog

from contracts.clock import Clock
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
        self.sent = 0

    async def send_next(self) -> bool:
        """Send the first record that waits. False: there is none, or not now."""
        if self._clock.mono_ns() < self._calendar.events_at_ns():
            return False
        rows = self._ledger.outbox.waiting(1)
        return bool(rows) and await self._send(rows[0])

    async def _send(self, row: OutboxRow) -> bool:
        event = await self._exchange(row, renew=False)
        if isinstance(event, Replied) and event.status == 401:
            event = await self._exchange(row, renew=True)
        match event:
            case Replied(status=status) if 200 <= status < 300:
                self._ledger.outbox.sent(row.number)
                self.sent += 1
                return True
            case Replied(status=429 | 503, retry_after_s=after_s):
                self._calendar.put_off_all(RETRY_S if after_s is None else after_s)
            case Replied(status=400 | 413 | 415 | 422):
                self._ledger.outbox.refuse(row.number, f"{event.status} {event.reason}")
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
