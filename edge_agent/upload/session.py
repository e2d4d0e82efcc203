"""One clip's upload as a state machine without I/O: events in, commands out.

```
authenticate → declare → have_it ────────────────────────┐
                       → not_wanted | wait → end          │
                       → upload: HEAD offset → PATCH parts → GET status until committed
                                             → spans, each: open → PATCH parts
                                                → join → GET status until committed
```

A clip of several parts goes in spans where the receiver takes them and holds nothing of it yet:
runs of its parts, each sent by a session of its own, which the caller runs side by side where
the link allows it. The split follows from the clip alone, and the receiver answers the opening of
a span that it has with where that one is; so spans are resumed like everything else.

Guarantees: it ends as `Uploaded` only with a `Receipt`; it goes on from what the receiver
holds, never from a count of its own; each status has its own meaning and no refusal is a
success; whatever the answers, it ends: pauses and failures without progress are bounded.

| status on declare, HEAD, PATCH or GET | meaning                                         |
|---------------------------------------|-------------------------------------------------|
| 401                                   | authenticate once more, then refused (vehicle)  |
| 403                                   | refused (clip)                                  |
| 404, 410                              | the upload is gone: declare again               |
| 409                                   | another offset: ask for it                      |
| 408, 423, 425, 5xx, no answer         | again, after a growing pause                    |
| 429, 503                              | all waits as long as the server says, or, where |
|                                       | it says so, this clip alone                     |
| 460                                   | checksum: verify the file, quarantine or resend |
| any other                             | refused (clip): 400, 412, 413, 415, 422, 3xx …  |

Where opening a span is refused, the clip goes as a whole; where joining is, it is declared again.
"""

from __future__ import annotations

from typing import Literal

from contracts.errors import CorruptError
from contracts.ids import PART_BYTES, part_length
from contracts.upload import UploadAnswer, UploadRequest
from edge_agent.spool.entry import Receipt
from edge_agent.upload.protocol import (
    Authenticate,
    Authenticated,
    AuthRefused,
    Command,
    Declare,
    Event,
    Failed,
    FileChecked,
    FileCorrupt,
    Finish,
    Interrupted,
    JoinSpans,
    NotSplit,
    NotWanted,
    OpenSpan,
    Outcome,
    Pause,
    Postponed,
    ReadOffset,
    ReadStatus,
    Refused,
    Replied,
    Resumed,
    SendPart,
    SendSpans,
    Span,
    SpansEnded,
    SpanSent,
    Started,
    Stopped,
    Uploaded,
    VerifyFile,
)
from edge_agent.upload.spans import gravest, split

MAX_FAILURES = 6
"""Failures in a row, without the receiver's offset moving, before the clip is put off."""
MAX_LOSSES = 3
"""How often the receiver may lose what it had acknowledged before the clip is put off."""
MAX_POLLS = 30
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
PUT_OFF_S = 60.0
DEFAULT_WAIT_S = 30.0
EXEMPT_WAIT_S = 3600.0

Phase = Literal["auth", "declare", "offset", "part", "spans", "join", "status", "verify"]

_AGAIN = frozenset({408, 423, 425})
_BUSY = frozenset({429, 503})
_GONE = frozenset({404, 410})


class UploadSession:
    """Feed `step` with what happened; do what it returns; stop at `Finish`.

    Args:
        request: the clip as declared.
        most_spans: how many spans it may go in.
        span: what this session sends, None for the whole clip. A span's session does not
            declare but opens it at `spans_url`, and ends as `SpanSent`.
        expect_continue: ask before the first part's body is sent.
    """

    def __init__(
        self,
        request: UploadRequest,
        most_spans: int = 1,
        span: Span | None = None,
        spans_url: str = "",
        expect_continue: bool = True,
    ) -> None:
        self.request = request
        self._span = span
        self._range = span or Span(0, request.size_bytes)
        self._most_spans = most_spans
        self._spans_url = spans_url
        self._joined: tuple[str, ...] = ()
        self._phase: Phase = "auth"
        self._url: str | None = None
        self._offset_bytes = 0
        self._failures = 0
        self._losses = 0
        self._polls = 0
        self._renewed = False
        self._expect_continue = expect_continue

    def step(self, event: Event) -> Command:
        """What to do after `event`."""
        match event:
            case Started():
                return self._enter("auth")
            case Interrupted(reason):
                return _end(Stopped(reason))
            case AuthRefused(reason):
                return _end(Refused(reason, "vehicle"))
            case Authenticated():
                # What was under way when a token expired is asked for again.
                return self._enter("offset" if self._url else "declare")
            case Resumed():
                return self._enter(self._phase)
            case Failed(reason):
                return self._retry(reason)
            case FileChecked(intact, reason):
                return self._after_check(intact, reason)
            case Replied():
                return self._after_reply(event)
            case SpansEnded(outcomes):
                return self._after_spans(outcomes)

    def _enter(self, phase: Phase) -> Command:
        self._phase = phase
        match phase:
            case "auth":
                return Authenticate(renew=self._renewed)
            case "declare":
                self._url = None
                self._offset_bytes = 0
                return Declare() if self._span is None else OpenSpan(self._spans_url, self._span)
            case "status":
                return ReadStatus()
            case "verify":
                return VerifyFile()
        if self._url is None:
            return self._enter("declare")
        match phase:
            case "offset":
                return ReadOffset(self._url)
            case "spans":
                spans = split(self.request.size_bytes, self._most_spans)
                return SendSpans(self._spans_url, spans)
            case "join":
                return JoinSpans(self._spans_url, self._joined)
        return self._part(self._url)

    def _part(self, url: str) -> Command:
        offset, first_byte = self._offset_bytes, self._range.first_byte
        if offset >= self._range.length_bytes:
            return self._enter("status") if self._span is None else _end(SpanSent(url))
        index = (first_byte + offset) // PART_BYTES
        begin = index * PART_BYTES - first_byte
        end = begin + part_length(self.request.size_bytes, index)
        digest = self.request.part_digests[index] if offset == begin else None
        return SendPart(url, offset, end - offset, digest, self._expect_continue, first_byte)

    def _after_spans(self, outcomes: tuple[Outcome, ...]) -> Command:
        """Join them, go on as a whole clip, or end as the gravest of them has."""
        sent = tuple(outcome.url for outcome in outcomes if isinstance(outcome, SpanSent))
        if sent and len(sent) == len(outcomes):
            self._joined = sent
            return self._enter("join")
        worst = gravest(outcomes)
        if worst is not None:
            return _end(worst)
        self._most_spans = 1
        return self._enter("part")

    def _retry(self, reason: str) -> Command:
        """After a failure: the same again after a growing pause, a part from its offset."""
        self._failures += 1
        if self._failures > MAX_FAILURES:
            return _end(Postponed(PUT_OFF_S, reason, "clip"))
        if self._phase == "part":
            self._phase = "offset"
            # A server that never says 100 must not hold every part up.
            self._expect_continue = False
        delay_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._failures - 1))
        return Pause(delay_s, reason)

    def _after_check(self, intact: bool, reason: str) -> Command:
        if not intact:
            return _end(FileCorrupt(reason))
        self._phase = "part"
        return self._retry("the receiver found another checksum than the file has")

    def _after_reply(self, reply: Replied) -> Command:
        if 200 <= reply.status < 300:
            match self._phase:
                case "declare":
                    return self._declared(reply) if self._span is None else self._opened(reply)
                case "offset" | "part":
                    return self._at_offset(reply)
                case "join":
                    return self._enter("status")
                case "status":
                    return self._told(reply)
        return self._after_refusal(reply)

    def _after_refusal(self, reply: Replied) -> Command:
        status, reason = reply.status, f"{reply.status} {reply.reason}".strip()
        if status == 401:
            if self._renewed:
                return _end(Refused(reason, "vehicle"))
            self._renewed = True
            return self._enter("auth")
        if status in _BUSY:
            delay_s = DEFAULT_WAIT_S if reply.retry_after_s is None else reply.retry_after_s
            return _end(Postponed(delay_s, reason, "clip" if reply.is_of_clip else "server"))
        if status in _AGAIN or status >= 500:
            return self._retry(reason)
        if status == 460 and self._phase == "part":
            return self._enter("verify")
        if self._phase == "join":
            return self._lost("declare", reason)
        if self._span is not None and self._phase == "declare":
            return _end(NotSplit(reason))
        if status == 409 and self._phase == "part":
            return self._bounded("offset", reason)
        if status in _GONE and self._phase != "declare":
            return self._lost("declare", reason)
        return _end(Refused(reason, "clip"))

    def _bounded(self, phase: Phase, reason: str) -> Command:
        """Go back to a phase, counted as a failure so that no answer loops for ever."""
        self._failures += 1
        if self._failures > MAX_FAILURES:
            return _end(Postponed(PUT_OFF_S, reason, "clip"))
        return self._enter(phase)

    def _lost(self, phase: Phase, reason: str) -> Command:
        """Start over from what the receiver still holds; never without end."""
        self._losses += 1
        if self._losses > MAX_LOSSES:
            return _end(Postponed(PUT_OFF_S, reason, "clip"))
        return self._enter(phase)

    def _declared(self, reply: Replied) -> Command:
        answer = reply.answer
        if answer is None or answer.clip_id != self.request.clip_id:
            return self._retry("the answer to the declaration is not about this clip")
        match answer.answer:
            case "have_it":
                return self._enter("status")
            case "not_wanted":
                return _end(self._unwanted(answer))
            case "wait":
                delay_s = answer.retry_after_s
                wait_s = DEFAULT_WAIT_S if delay_s is None else delay_s
                return _end(Postponed(wait_s, answer.reason or "asked to wait", "clip"))
        if answer.upload_url is None:
            return self._retry("the answer to the declaration has no upload_url")
        self._url = answer.upload_url
        self._spans_url = self._url.rpartition("/")[0]
        self._most_spans = min(self._most_spans, answer.max_spans)
        return self._enter("offset")

    def _opened(self, reply: Replied) -> Command:
        if reply.location is None:
            return self._retry("the answer to the opening of a span does not say where it is")
        self._url = reply.location
        if reply.offset_bytes is None:
            return self._enter("offset")
        self._phase = "offset"
        return self._at_offset(reply)

    def _unwanted(self, answer: UploadAnswer) -> Outcome:
        reason = answer.reason or "not wanted"
        if self.request.safety or self.request.stream == "random":
            # Exempt by contract: keep the clip and ask later.
            return Postponed(EXEMPT_WAIT_S, f"refused though exempt: {reason}", "clip")
        return NotWanted(reason)

    def _at_offset(self, reply: Replied) -> Command:
        sent = self._phase == "part"
        offset = reply.offset_bytes
        if offset is None or not 0 <= offset <= self._range.length_bytes:
            self._phase = "offset"
            return self._retry(f"the receiver gives no sound offset ({offset})")
        before, self._offset_bytes = self._offset_bytes, offset
        if sent:
            if offset <= before:
                return self._bounded("offset", f"the offset stays at {offset}")
            self._failures, self._renewed, self._expect_continue = 0, False, False
        elif offset < before:
            return self._lost("part", f"the receiver went back from {before} to {offset}")
        is_new = self._span is None and offset == 0
        in_spans = is_new and self._most_spans > 1 and self.request.size_bytes > PART_BYTES
        return self._enter("spans" if in_spans else "part")

    def _told(self, reply: Replied) -> Command:
        status = reply.status_body
        if status is None or status.clip_id != self.request.clip_id:
            return self._retry("the status is not about this clip")
        if status.state == "committed":
            try:
                return _end(Uploaded(Receipt(self.request, status)))
            except CorruptError as error:
                return _end(Postponed(PUT_OFF_S, str(error), "clip"))
        if status.state == "absent":
            return self._lost("declare", "the receiver does not have the clip")
        if self._url is None or self._polls >= MAX_POLLS:
            self._polls = 0
            return self._lost("declare", "the receiver does not finish the clip")
        self._polls += 1
        if status.offset_bytes is not None and status.offset_bytes < self.request.size_bytes:
            return self._bounded("offset", "the receiver lost part of the clip")
        return Pause(min(5.0, FIRST_PAUSE_S * self._polls), "the receiver is finishing the clip")


def _end(outcome: Outcome) -> Finish:
    return Finish(outcome)
