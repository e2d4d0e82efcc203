"""The words of an upload session: what it asks for, what it hears, how it ends.

Commands go out of `edge_agent.upload.session`, events come in; neither does any I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.upload import UploadAnswer, UploadStatus
from edge_agent.spool.entry import Receipt


@dataclass(frozen=True, slots=True)
class Span:
    """A run of the clip's whole parts, sent beside others over a connection of its own."""

    first_byte: int
    length_bytes: int


# Commands -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Have a token; `renew` when the one in use was refused. → Authenticated, AuthRefused."""

    renew: bool


@dataclass(frozen=True, slots=True)
class Declare:
    """POST the request. → Replied with `answer`."""


@dataclass(frozen=True, slots=True)
class ReadOffset:
    """HEAD the upload. → Replied with `offset_bytes`."""

    url: str


@dataclass(frozen=True, slots=True)
class SendPart:
    """PATCH bytes of the clip. → Replied with `offset_bytes`.

    `digest` is the declared one when the bytes are a whole part; None: digest them first. The
    upload begins `first_byte` bytes into the clip, and its offset counts from there.
    """

    url: str
    offset_bytes: int
    length_bytes: int
    digest: str | None
    expect_continue: bool
    first_byte: int = 0

    @property
    def clip_byte(self) -> int:
        return self.first_byte + self.offset_bytes


@dataclass(frozen=True, slots=True)
class SendSpans:
    """Send these, each by a session of its own. → SpansEnded. `url`: where they are opened."""

    url: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class OpenSpan:
    """POST a partial upload for a span. → Replied with `location`, maybe `offset_bytes`."""

    url: str
    span: Span


@dataclass(frozen=True, slots=True)
class JoinSpans:
    """POST the upload that consists of these. → Replied."""

    url: str
    span_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadStatus:
    """GET the clip's status. → Replied with `status_body`."""


@dataclass(frozen=True, slots=True)
class VerifyFile:
    """Digest the clip's file again. → FileChecked."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait at least this long. → Resumed."""

    delay_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The session is over."""

    outcome: Outcome


Command = (
    Authenticate
    | Declare
    | ReadOffset
    | SendPart
    | SendSpans
    | OpenSpan
    | JoinSpans
    | ReadStatus
    | VerifyFile
    | Pause
    | Finish
)

# Events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """Begin."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A token is at hand."""


@dataclass(frozen=True, slots=True)
class AuthRefused:
    """The server does not take this vehicle."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replied:
    """An HTTP answer, with what its command asked for where it could be read.

    `is_of_clip`: a refusal that asks this clip alone to wait. `location`: of what was made.
    """

    status: int
    answer: UploadAnswer | None = None
    status_body: UploadStatus | None = None
    offset_bytes: int | None = None
    retry_after_s: float | None = None
    reason: str = ""
    is_of_clip: bool = False
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer: the connection broke or timed out."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The vehicle stops the transfer: link, budget, power, or something more urgent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """A pause is over."""


@dataclass(frozen=True, slots=True)
class FileChecked:
    """Whether the file's bytes still match the declared digests."""

    intact: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SpansEnded:
    """How the session of each span that was begun has ended, in the clip's order."""

    outcomes: tuple[Outcome, ...]


Event = (
    Started
    | Authenticated
    | AuthRefused
    | Replied
    | Failed
    | Interrupted
    | Resumed
    | FileChecked
    | SpansEnded
)

# Outcomes -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The receiver holds the clip, proven."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class NotWanted:
    """The fleet has enough of this scene."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The server said no for a reason that waiting does not cure, to a clip or the vehicle."""

    reason: str
    scope: Literal["clip", "vehicle"]


@dataclass(frozen=True, slots=True)
class FileCorrupt:
    """The clip's own bytes have changed, or are gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """Try again after `delay_s`: this clip, or anything at all."""

    delay_s: float
    reason: str
    scope: Literal["clip", "server"]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The vehicle stopped it; what the receiver holds stays there."""

    reason: str


@dataclass(frozen=True, slots=True)
class SpanSent:
    """The receiver holds all of a span, as the upload at `url`."""

    url: str


@dataclass(frozen=True, slots=True)
class NotSplit:
    """The receiver takes no such span; the clip can still go as a whole."""

    reason: str


ClipOutcome = Uploaded | NotWanted | Refused | FileCorrupt | Postponed | Stopped
Outcome = ClipOutcome | SpanSent | NotSplit
