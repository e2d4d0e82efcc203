"""The upload task: event records first, then what the policy says, one clip at a time.

Guarantees: only a receipt marks a clip as uploaded, and every other end leaves it in the
spool (or quarantined, where its own bytes have changed; on record as missing, where they are
gone); link, caps and urgency are looked at again before each part; no error of one clip stops the
others, and none ends the task.
It decides nothing itself: `policy` says what, `session` says how.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import structlog

from contracts.clock import NS_PER_S, Clock
from contracts.errors import (
    ConflictError,
    CorruptError,
    ExhaustedError,
    LongtailError,
    RefusedError,
    TransientError,
)
from edge_agent.ledger import CellularSpent, Ledger
from edge_agent.ports import LinkMonitor
from edge_agent.spool import Spool
from edge_agent.upload import policy
from edge_agent.upload.calendar import Calendar
from edge_agent.upload.charge import Charger
from edge_agent.upload.clip_sender import SMALL_BODY_BYTES, ClipSender
from edge_agent.upload.events import VEHICLE_REFUSED_S, EventSender
from edge_agent.upload.payload import StoppedError, UnreadableError
from edge_agent.upload.protocol import (
    ClipOutcome,
    FileCorrupt,
    NotWanted,
    Postponed,
    Refused,
    Stopped,
    Uploaded,
)
from edge_agent.upload.receiver import Receiver
from edge_agent.upload.signal_logs import UNREADABLE_S, LogSender, NoLogs, SignalLogSender
from edge_agent.upload.transport import Transport
from edge_agent.upload.waits import Waits

POLL_NS = NS_PER_S
"""How often the link is looked at while nothing can be sent."""
SOON_NS = 120 * NS_PER_S
"""A wait that is worth staying awake for."""
ERROR_WAIT_S = 30.0
CLIP_REFUSED_S = 3600.0
SEEN_BY_POLICY = frozenset(get_args(policy.WaitReason)) - {"cellular_budget"} | {
    "link_metered", "something more urgent", "stopping", "deadline",
}  # fmt: skip
"""Stops after which the next decision is another one; after any other the clip is put off."""

_NOTHING_SPENT = CellularSpent(0, 0)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What a drain did, and why the rest is still here."""

    uploaded: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    events_sent: int
    events_kept: int
    wire_bytes: int


@dataclass(slots=True)
class _Progress:
    """Counts of this process."""

    uploaded: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


class Uploader:
    """Sends what the spool and the outbox hold.

    Args:
        spool, ledger: where clips and event records wait.
        transport, receiver: how the cloud is spoken to; `close` closes the transport.
        links: which connection there is.
        clock: time for waits, caps and tokens.
        limits: caps on metered bytes.
        rng: jitter, so that a fleet does not come back as one.
        most_spans: how many runs of a clip's parts are sent side by side on a free link; on a
            metered one, whose bytes are charged part by part, they go one after another.
    """

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        transport: Transport,
        receiver: Receiver,
        links: LinkMonitor,
        clock: Clock,
        limits: policy.CellularLimits,
        rng: random.Random,
        most_spans: int = 1,
    ) -> None:
        self._spool = spool
        self._ledger = ledger
        self._transport = transport
        self._receiver = receiver
        self._links = links
        self._clock = clock
        self._limits = limits
        self._charger = Charger(ledger, links, transport.meter, limits)
        self._calendar = Calendar(clock, rng)
        self._events = EventSender(ledger, receiver, self._charger, self._calendar, clock)
        self._logs: LogSender = NoLogs()
        self._waits = Waits(clock)
        self._clips = ClipSender(
            spool, receiver, links, self._charger, self._calendar, self._waits, self._decide,
            most_spans,
        )  # fmt: skip
        self._progress = _Progress()
        self._stuck_since_ns: int | None = None
        self._stumbled: str | None = None
        """The clip of the last step that the ledger or the disk failed."""

    def send_logs_of(self, folder: Path, writing: Callable[[], Path | None]) -> None:
        """Send signal logs of `folder` too, while no clip may go; `writing` is left alone.

        A clip that may go breaks off a log under way.
        """
        self._logs = SignalLogSender(
            folder, writing, self._receiver, self._charger, self._calendar, self._links,
            self._clock, self._reason_to_leave_log,
        )  # fmt: skip

    def has_waiting(self) -> bool:
        """Whether anything is here that is to be sent."""
        waits = self._spool.queue() or self._ledger.outbox.waiting(1) or self._logs.waiting()
        return bool(waits)

    def may_send_more(self) -> bool:
        """Whether something that waits may go by this link now or soon.

        Links come and go: what waits counts until none of it could go for `SOON_NS`.
        """
        now_ns = self._clock.mono_ns()
        if self._next_at_ns(now_ns) <= now_ns + SOON_NS:
            self._stuck_since_ns = None
            return True
        if self._stuck_since_ns is None:
            self._stuck_since_ns = now_ns
        return now_ns - self._stuck_since_ns < SOON_NS and self.has_waiting()

    def _next_at_ns(self, now_ns: int) -> float:
        """When the next clip, record or log may go by the link as it is now."""
        decision = self._decide(None)
        times = [decision.until_ns if isinstance(decision, policy.Wait) else now_ns]
        times.append(self._logs.next_at_ns())
        if self._links.link().kind != "none" and self._events.may_go():
            times.append(self._events.next_at_ns())
        return min((at_ns for at_ns in times if at_ns is not None), default=math.inf)

    async def enrol(self, token: str | None) -> None:
        """Present the vehicle's key, charged like all else on a metered link.

        Raises `RefusedError`, `ConflictError`, `TransientError`: the last also where caps forbid.
        """
        try:
            with self._charger.exchange(SMALL_BODY_BYTES, event=True):
                await self._receiver.enrol(token)
        except (StoppedError, ExhaustedError) as error:
            raise TransientError(f"not enrolled yet: {error.message}") from error
        except (RefusedError, ConflictError):
            # Nobody here takes anything of it: a parked vehicle need not stay awake for that.
            self._calendar.put_off_all(VEHICLE_REFUSED_S)
            raise
        self._calendar.put_off_all(0)

    def wake(self) -> None:
        """Look again now: something was committed, or the link has changed."""
        self._waits.wake()

    async def run(self, stop: asyncio.Event, at_once: asyncio.Event | None = None) -> None:
        """Send until `stop` is set, and finish the request under way; or break that off too, once
        `at_once` is set: a part goes on another time from what the receiver holds.
        """
        self._waits.begin(stop, at_once)
        while not self._waits.is_over():
            wait = await self._step_safely()
            if wait is not None:
                now_ns = self._clock.mono_ns()
                until_ns = now_ns + POLL_NS if wait.until_ns is None else wait.until_ns
                await self._waits.rest(min(POLL_NS, until_ns - now_ns))

    async def drain(
        self, deadline_mono_ns: int | None = None, at_once: asyncio.Event | None = None
    ) -> DrainReport:
        """Send until the queue is empty or nothing can be sent.

        With a deadline, waits that end before it are waited for, and a part under way at the
        deadline is broken off. Without one, the first wait ends the drain. `at_once` ends it too.
        """
        self._progress = _Progress()
        begin_events = self._events.sent
        begin_bytes = self._transport.meter.total_bytes()
        self._waits.begin(None, at_once, deadline_mono_ns)
        last_reason = "deadline"
        try:
            while not self._waits.is_over():
                wait = await self._step_safely()
                if wait is None:
                    continue
                last_reason = wait.reason
                until_ns = wait.until_ns
                if until_ns is None or deadline_mono_ns is None or until_ns >= deadline_mono_ns:
                    break
                await self._waits.rest(until_ns - self._clock.mono_ns())
            last_reason = self._waits.reason_to_break_off() or last_reason
        finally:
            self._waits.begin()
        queue = self._spool.queue()
        reasons = self._progress.reasons
        return DrainReport(
            uploaded=tuple(self._progress.uploaded),
            kept=tuple((entry.clip_id, reasons.get(entry.clip_id, last_reason)) for entry in queue),
            events_sent=self._events.sent - begin_events,
            events_kept=self._ledger.outbox.count(),
            wire_bytes=self._transport.meter.total_bytes() - begin_bytes,
        )

    async def close(self) -> None:
        await self._transport.close()

    async def _step_safely(self) -> policy.Wait | None:
        try:
            return await self._step()
        except (LongtailError, OSError) as error:
            # A full disk or a broken ledger: nothing is lost by asking again later.
            _log.warning("upload_step_failed", reason=str(error))
            until_ns = self._clock.mono_ns() + self._calendar.jittered_ns(ERROR_WAIT_S)
            return policy.Wait(until_ns, "error")

    async def _step(self) -> policy.Wait | None:
        """Send the outbox, then one clip, or a log while no clip may go.

        None when there may be more to do at once.
        """
        while not self._waits.is_over() and self._links.link().kind != "none":
            if not await self._events.send_next():
                break
        decision = self._decide(None)
        if isinstance(decision, policy.Wait):
            if await self._logs.send_next():
                return None
            decision = self._decide(None)
        if isinstance(decision, policy.Wait):
            return self._or_events(decision)
        await self._send_clip(decision.clip_id)
        return None

    def _decide(self, current: str | None) -> policy.Send | policy.Wait:
        link = self._links.link()
        # Read only where it counts: it is asked before each part.
        spent = self._charger.spent() if policy.is_metered(link) else _NOTHING_SPENT
        return policy.decide(
            self._spool.queue(),
            link,
            spent,
            self._limits,
            self._clock.mono_ns(),
            self._calendar.advice(),
            current,
        )

    def _reason_to_leave_log(self) -> str | None:
        """A log may take minutes, and any clip is worth more."""
        reason = self._clips.gate()
        if reason is None and isinstance(self._decide(None), policy.Send):
            return "something more urgent"
        return reason

    def _or_events(self, wait: policy.Wait) -> policy.Wait:
        """Wake for event records that could not be sent, if that is sooner."""
        at_ns = self._events.next_at_ns()
        if at_ns is None or at_ns <= self._clock.mono_ns():
            return wait
        until_ns = at_ns if wait.until_ns is None else min(wait.until_ns, at_ns)
        return policy.Wait(until_ns, wait.reason)

    async def _send_clip(self, clip_id: str) -> None:
        try:
            with self._spool.hold(clip_id):
                outcome = await self._clips.send(self._spool.request(clip_id))
            self._conclude(clip_id, outcome)
        except FileNotFoundError:
            self._put_off(clip_id, ERROR_WAIT_S, "given up meanwhile")
        except (OSError, CorruptError, UnreadableError) as error:
            _log.error("clip_cannot_be_read", clip_id=clip_id, reason=str(error))
            self._put_off(clip_id, UNREADABLE_S, str(error))
        except LongtailError as error:
            # Of the disk or the ledger. Once is no fault of the clip's, and the one behind it must
            # not spend the bytes that this one was to have. Again, and it is put off for longer
            # than all wait, so that it does not keep the others here.
            if self._stumbled == clip_id:
                self._put_off(clip_id, 2 * ERROR_WAIT_S, str(error))
            self._stumbled = clip_id
            raise

    def _conclude(self, clip_id: str, outcome: ClipOutcome) -> None:
        match outcome:
            case Uploaded(receipt):
                self._spool.mark_uploaded(receipt)
                self._calendar.forget_clip(clip_id)
                self._calendar.heard()
                self._progress.uploaded.append(clip_id)
                _log.info("clip_uploaded", clip_id=clip_id)
                return
            case NotWanted(reason):
                self._spool.mark_unwanted(clip_id, reason)
            case FileCorrupt(reason):
                self._spool.quarantine(clip_id, reason)
            case Refused(reason, "vehicle"):
                self._calendar.put_off_all(VEHICLE_REFUSED_S)
            case Refused(reason, _):
                self._put_off(clip_id, CLIP_REFUSED_S, reason)
            case Postponed(delay_s, reason, "server"):
                self._calendar.put_off_all(delay_s)
            case Postponed(delay_s, reason, _):
                self._put_off(clip_id, delay_s, reason)
            case Stopped(reason):
                if reason not in SEEN_BY_POLICY:
                    self._put_off(clip_id, ERROR_WAIT_S, reason)
        self._progress.reasons[clip_id] = reason
        _log.info("clip_not_uploaded", clip_id=clip_id, end=type(outcome).__name__, reason=reason)

    def _put_off(self, clip_id: str, delay_s: float, reason: str) -> None:
        self._calendar.put_off_clip(clip_id, delay_s)
        self._progress.reasons[clip_id] = reason
