"""Carries out what a clip's session asks for, its spans side by side where the link allows it.

Guarantees: link, caps and urgency are looked at again before each part, the gate within it; on a
metered link there is one request at a time, so that each is debited and settled by itself, and
spans that were sent side by side stop as soon as the link turns metered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from contracts.ids import digest_file
from contracts.upload import UploadRequest
from edge_agent.ports import LinkMonitor
from edge_agent.spool import Spool
from edge_agent.spool.folder import size_of
from edge_agent.upload import policy
from edge_agent.upload.calendar import Calendar
from edge_agent.upload.charge import Charger
from edge_agent.upload.payload import StoppedError, readable
from edge_agent.upload.protocol import (
    Authenticate,
    ClipOutcome,
    Command,
    Declare,
    Event,
    FileChecked,
    FileCorrupt,
    Finish,
    Interrupted,
    JoinSpans,
    NotSplit,
    OpenSpan,
    Outcome,
    Pause,
    ReadOffset,
    ReadStatus,
    Resumed,
    SendPart,
    SendSpans,
    SpansEnded,
    SpanSent,
    Started,
    VerifyFile,
)
from edge_agent.upload.receiver import Receiver
from edge_agent.upload.session import UploadSession
from edge_agent.upload.waits import Waits

SMALL_BODY_BYTES = 4096

Decide = Callable[[str | None], policy.Send | policy.Wait]
"""What the policy says now, given the clip that is under way."""


class ClipSender:
    """Runs one clip's session at a time.

    Args:
        decide: asked before each part whether this clip may still go.
        most_spans: how many runs of a clip's parts are sent side by side.
    """

    def __init__(
        self,
        spool: Spool,
        receiver: Receiver,
        links: LinkMonitor,
        charger: Charger,
        calendar: Calendar,
        waits: Waits,
        decide: Decide,
        most_spans: int,
    ) -> None:
        self._spool = spool
        self._receiver = receiver
        self._links = links
        self._charger = charger
        self._calendar = calendar
        self._waits = waits
        self._decide = decide
        self._most_spans = most_spans

    async def send(self, request: UploadRequest) -> ClipOutcome:
        """Send a clip of the spool, until it is there or cannot go on now.

        Raises `UnreadableError`.
        """
        damage = self._damage(request)
        if damage:
            return FileCorrupt(damage)
        outcome = await self._run(UploadSession(request, self._most_spans))
        if isinstance(outcome, SpanSent | NotSplit):
            raise TypeError(f"not the end of a whole clip: {outcome}")
        return outcome

    async def _run(self, session: UploadSession, side_by_side: bool = False) -> Outcome:
        command = session.step(Started())
        while not isinstance(command, Finish):
            if side_by_side and policy.is_metered(self._links.link()):
                command = session.step(Interrupted("link_metered"))
            else:
                command = session.step(await self._do(command, session.request))
        return command.outcome

    async def _send_spans(self, command: SendSpans, request: UploadRequest) -> SpansEnded:
        sessions = [
            UploadSession(request, span=span, spans_url=command.url) for span in command.spans
        ]
        if policy.is_metered(self._links.link()):
            outcomes = []
            for session in sessions:
                outcomes.append(await self._run(session))
                if not isinstance(outcomes[-1], SpanSent):
                    break
            return SpansEnded(tuple(outcomes))
        running = [asyncio.create_task(self._run(session, True)) for session in sessions]
        try:
            return SpansEnded(tuple(await asyncio.gather(*running)))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _do(self, command: Command, request: UploadRequest) -> Event:
        """Carry out one command of the session."""
        reason = self._reason_to_leave(command, request.clip_id)
        if reason is not None:
            return Interrupted(reason)
        match command:
            case Pause(delay_s, _):
                await self._waits.pause(self._calendar.jittered_ns(delay_s))
                return Resumed()
            case VerifyFile():
                return await self._verify(request)
            case SendSpans():
                return await self._send_spans(command, request)
        payload_bytes = command.length_bytes if isinstance(command, SendPart) else 0
        if isinstance(command, Declare):
            payload_bytes = 80 * len(request.part_digests) + SMALL_BODY_BYTES
        try:
            with self._charger.exchange(payload_bytes):
                return await self._ask(command, request)
        except StoppedError as stopped:
            return Interrupted(stopped.message)

    def _reason_to_leave(self, command: Command, clip_id: str) -> str | None:
        if self._waits.is_over():
            return "stopping"
        if not isinstance(command, SendPart | Pause):
            return None
        decision = self._decide(clip_id)
        if isinstance(decision, policy.Wait):
            return decision.reason
        return None if decision.clip_id == clip_id else "something more urgent"

    async def _ask(self, command: Command, request: UploadRequest) -> Event:
        match command:
            case Authenticate(renew):
                return await self._receiver.authenticate(renew)
            case Declare():
                return await self._receiver.declare(request)
            case ReadOffset(url):
                return await self._receiver.read_offset(url)
            case ReadStatus():
                return await self._receiver.read_status(request.clip_id)
            case OpenSpan(url, span):
                return await self._receiver.open_span(url, request.clip_id, span)
            case JoinSpans(url, span_urls):
                return await self._receiver.join_spans(url, span_urls)
            case SendPart():
                damage = self._damage(request)
                if damage:
                    return FileChecked(False, damage)
                path = self._spool.path(request.clip_id)
                return await self._receiver.send_part(command, path, self.gate)
        raise TypeError(f"not a request: {command}")

    def _damage(self, request: UploadRequest) -> str:
        """What a look at the clip's file finds wrong, empty when nothing."""
        path = self._spool.path(request.clip_id)
        with readable(path):
            size_bytes = size_of(path)
        if size_bytes is None:
            return "the file is gone"
        if size_bytes != request.size_bytes:
            return f"{size_bytes} bytes where {request.size_bytes} were kept"
        return ""

    def gate(self) -> str | None:
        """Why a transfer under way must end: a stop, the deadline, the link, the caps."""
        return self._waits.reason_to_break_off() or self._charger.reason_to_stop()

    async def _verify(self, request: UploadRequest) -> FileChecked:
        path = self._spool.path(request.clip_id)
        try:
            with readable(path):
                found = await asyncio.to_thread(digest_file, path)
        except FileNotFoundError:
            return FileChecked(False, "the file is gone")
        if found.clip_id() == request.clip_id:
            return FileChecked(True)
        return FileChecked(False, f"the bytes are those of clip {found.clip_id()}")
