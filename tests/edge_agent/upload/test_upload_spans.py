"""Spans: runs of a clip's parts, each by a session of its own, joined at the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ids import PART_BYTES, part_count
from contracts.upload import MAX_CLIP_BYTES, UploadAnswer, UploadStatus
from edge_agent.upload.protocol import (
    Authenticated,
    Command,
    Declare,
    Event,
    Failed,
    FileChecked,
    FileCorrupt,
    Finish,
    JoinSpans,
    NotSplit,
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
)
from edge_agent.upload.session import MAX_LOSSES, UploadSession
from edge_agent.upload.spans import split
from tests.edge_agent.upload_rig import clip_bytes, request_for

SIZE = 4 * PART_BYTES + 10
REQUEST = request_for(clip_bytes(2, SIZE))
DIGESTS = REQUEST.part_digests
URL = "http://cloud/v1/tus/x"
OPENED_AT = "http://cloud/v1/tus"
LAST = Span(2 * PART_BYTES, SIZE - 2 * PART_BYTES)
SPANS = (Span(0, 2 * PART_BYTES), LAST)
SENT = SpansEnded((SpanSent("a"), SpanSent("b")))


def declared(max_spans: int = 2) -> Replied:
    answer = UploadAnswer(
        answer="upload", clip_id=REQUEST.clip_id, upload_url=URL, max_spans=max_spans
    )
    return Replied(200, answer=answer)


def at(offset: int) -> Replied:
    return Replied(204, offset_bytes=offset)


def opened(offset: int | None = 0) -> Replied:
    return Replied(201, offset_bytes=offset, location="span")


COMMITTED = Replied(
    200, status_body=UploadStatus(clip_id=REQUEST.clip_id, state="committed", size_bytes=SIZE)
)


def walk(*events: Event, most_spans: int = 4) -> list[Command]:
    session = UploadSession(REQUEST, most_spans)
    return [session.step(event) for event in (Started(), Authenticated(), *events)]


def walk_span(*events: Event) -> list[Command]:
    session = UploadSession(REQUEST, span=LAST, spans_url=OPENED_AT)
    return [session.step(event) for event in (Started(), Authenticated(), *events)]


@given(st.integers(1, MAX_CLIP_BYTES), st.integers(1, 16))
def test_a_split_is_all_of_the_clip_in_runs_of_parts(size: int, most: int) -> None:
    spans = split(size, most)
    assert len(spans) == min(most, part_count(size))
    assert spans[0].first_byte == 0
    assert all(span.first_byte % PART_BYTES == 0 and span.length_bytes > 0 for span in spans)
    ends = [span.first_byte + span.length_bytes for span in spans]
    assert ends == [*(span.first_byte for span in spans[1:]), size]
    parts = [part_count(span.length_bytes) for span in spans]
    assert max(parts) - min(parts) <= 1


def test_a_new_clip_goes_in_spans_and_is_joined() -> None:
    commands = walk(declared(), at(0), SENT, Replied(201), COMMITTED)
    assert commands[2:6] == [
        ReadOffset(URL),
        SendSpans(OPENED_AT, SPANS),
        JoinSpans(OPENED_AT, ("a", "b")),
        ReadStatus(),
    ]
    assert isinstance(commands[-1], Finish)
    assert isinstance(commands[-1].outcome, Uploaded)


@pytest.mark.parametrize(
    ("answer", "offset", "most"),
    [(declared(0), 0, 4), (declared(1), 0, 4), (declared(4), 0, 1), (declared(4), PART_BYTES, 4)],
)
def test_it_goes_as_a_whole_where_it_must(answer: Replied, offset: int, most: int) -> None:
    last = walk(answer, at(offset), most_spans=most)[-1]
    digest = DIGESTS[offset // PART_BYTES]
    assert last == SendPart(URL, offset, PART_BYTES, digest, True)


def test_a_clip_of_one_part_has_no_spans() -> None:
    request = request_for(clip_bytes(3, 1000))
    session = UploadSession(request, 4)
    answer = UploadAnswer(answer="upload", clip_id=request.clip_id, upload_url=URL, max_spans=4)
    events = (Started(), Authenticated(), Replied(200, answer=answer), at(0))
    last = [session.step(event) for event in events][-1]
    assert last == SendPart(URL, 0, 1000, request.part_digests[0], True)


def test_a_receiver_that_takes_no_spans_gets_the_whole() -> None:
    ended = SpansEnded((NotSplit("400"), SpanSent("b")))
    commands = walk(declared(), at(0), ended, at(PART_BYTES))
    assert commands[-2:] == [
        SendPart(URL, 0, PART_BYTES, DIGESTS[0], True),
        SendPart(URL, PART_BYTES, PART_BYTES, DIGESTS[1], False),
    ]


@pytest.mark.parametrize(
    "gravest",
    [
        FileCorrupt("changed"),
        Stopped("link_metered"),
        Refused("401", "vehicle"),
        Postponed(5.0, "503", "server"),
    ],
)
def test_it_ends_as_the_gravest_of_its_spans(gravest: Outcome) -> None:
    for outcomes in ((gravest, SpanSent("b")), (NotSplit("400"), gravest)):
        assert walk(declared(), at(0), SpansEnded(outcomes))[-1] == Finish(gravest)


def test_what_cannot_be_joined_is_declared_again_but_not_without_end() -> None:
    events = (declared(), at(0), SENT, Replied(404))
    assert walk(*events)[-1] == Declare()
    last = walk(*events * (MAX_LOSSES + 1))[-1]
    assert isinstance(last, Finish)
    assert isinstance(last.outcome, Postponed)


def test_a_join_without_an_answer_is_asked_for_again() -> None:
    commands = walk(declared(), at(0), SENT, Failed("cut"), Resumed())
    assert isinstance(commands[-2], Pause)
    assert commands[-1] == JoinSpans(OPENED_AT, ("a", "b"))


def test_a_span_sends_its_run_of_the_clip() -> None:
    commands = walk_span(opened(), at(PART_BYTES), at(2 * PART_BYTES), at(LAST.length_bytes))
    begin = LAST.first_byte
    assert commands[1:] == [
        OpenSpan(OPENED_AT, LAST),
        SendPart("span", 0, PART_BYTES, DIGESTS[2], True, begin),
        SendPart("span", PART_BYTES, PART_BYTES, DIGESTS[3], False, begin),
        SendPart("span", 2 * PART_BYTES, 10, DIGESTS[4], False, begin),
        Finish(SpanSent("span")),
    ]


def test_a_span_goes_on_where_the_receiver_has_it() -> None:
    part = walk_span(opened(PART_BYTES + 3))[-1]
    assert part == SendPart("span", PART_BYTES + 3, PART_BYTES - 3, None, True, LAST.first_byte)
    assert walk_span(opened(LAST.length_bytes))[-1] == Finish(SpanSent("span"))
    assert walk_span(opened(None))[-1] == ReadOffset("span")


@pytest.mark.parametrize(
    ("events", "last"),
    [
        ((Replied(400),), Finish(NotSplit("400"))),
        ((Replied(404),), Finish(NotSplit("404"))),
        ((Replied(503, retry_after_s=9),), Finish(Postponed(9, "503", "server"))),
        ((opened(), Replied(404)), OpenSpan(OPENED_AT, LAST)),
        ((opened(), Replied(409)), ReadOffset("span")),
        ((opened(), Replied(403)), Finish(Refused("403", "clip"))),
        (
            (opened(), Replied(460), FileChecked(False, "other bytes")),
            Finish(FileCorrupt("other bytes")),
        ),
    ],
)
def test_a_span_has_the_same_answers_as_a_clip(events: tuple[Event, ...], last: Command) -> None:
    assert walk_span(*events)[-1] == last
