"""The session's state machine: every status has its meaning, and it always ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ids import PART_BYTES
from contracts.upload import UploadAnswer, UploadRequest, UploadStatus
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
    NotWanted,
    Pause,
    Postponed,
    ReadOffset,
    ReadStatus,
    Refused,
    Replied,
    Resumed,
    SendPart,
    Started,
    Stopped,
    Uploaded,
    VerifyFile,
)
from edge_agent.upload.session import MAX_FAILURES, MAX_LOSSES, UploadSession
from tests.edge_agent.upload_rig import clip_bytes, request_for

FAULTS = ["ok", "cut_before", "cut_after", "lost", "500", "409"]
SIZE = 2 * PART_BYTES + 10
URL = "/v1/tus/x"
REQUEST = request_for(clip_bytes(1, SIZE))


def declared(answer: str = "upload", **changed: object) -> Replied:
    url = URL if answer == "upload" else None
    fields = {"answer": answer, "clip_id": REQUEST.clip_id, "upload_url": url, **changed}
    return Replied(200, answer=UploadAnswer.model_validate(fields))


def told(state: str = "committed", **changed: object) -> Replied:
    fields = {"clip_id": REQUEST.clip_id, "state": state, "size_bytes": SIZE, **changed}
    return Replied(200, status_body=UploadStatus.model_validate(fields))


def at(offset: int) -> Replied:
    return Replied(204, offset_bytes=offset)


def walk(*events: Event, request: UploadRequest = REQUEST) -> list[Command]:
    session = UploadSession(request)
    return [session.step(event) for event in (Started(), *events)]


UP_TO_PART = (Authenticated(), declared(), at(0))


def test_the_straight_way() -> None:
    commands = walk(*UP_TO_PART, at(PART_BYTES), at(2 * PART_BYTES), at(SIZE), told())
    assert commands[:3] == [Authenticate(False), Declare(), ReadOffset(URL)]
    digests = REQUEST.part_digests
    assert commands[3:7] == [
        SendPart(URL, 0, PART_BYTES, digests[0], True),
        SendPart(URL, PART_BYTES, PART_BYTES, digests[1], False),
        SendPart(URL, 2 * PART_BYTES, 10, digests[2], False),
        ReadStatus(),
    ]
    end = commands[-1]
    assert isinstance(end, Finish)
    assert isinstance(end.outcome, Uploaded)
    assert end.outcome.receipt.request == REQUEST


def test_it_goes_on_from_what_the_receiver_holds() -> None:
    assert walk(Authenticated(), declared(), at(PART_BYTES + 3))[-1] == SendPart(
        URL, PART_BYTES + 3, PART_BYTES - 3, None, True
    )
    assert walk(Authenticated(), declared(), at(SIZE))[-1] == ReadStatus()


@pytest.mark.parametrize(
    ("events", "last"),
    [
        ((*UP_TO_PART, Replied(401)), Authenticate(True)),
        ((*UP_TO_PART, Replied(401), Authenticated()), ReadOffset(URL)),
        (
            (*UP_TO_PART, Replied(401), Authenticated(), at(0), Replied(401)),
            Finish(Refused("401", "vehicle")),
        ),
        ((AuthRefused("no"),), Finish(Refused("no", "vehicle"))),
        ((*UP_TO_PART, Replied(403, reason="x")), Finish(Refused("403 x", "clip"))),
        ((*UP_TO_PART, Replied(404)), Declare()),
        ((*UP_TO_PART, Replied(410)), Declare()),
        ((Authenticated(), declared(), Replied(404)), Declare()),
        ((Authenticated(), Replied(404)), Finish(Refused("404", "clip"))),
        ((*UP_TO_PART, Replied(409)), ReadOffset(URL)),
        ((Authenticated(), Replied(409)), Finish(Refused("409", "clip"))),
        ((*UP_TO_PART, Replied(413)), Finish(Refused("413", "clip"))),
        ((*UP_TO_PART, Replied(415)), Finish(Refused("415", "clip"))),
        ((*UP_TO_PART, Replied(302)), Finish(Refused("302", "clip"))),
        (
            (*UP_TO_PART, Replied(429, retry_after_s=9.0)),
            Finish(Postponed(9.0, "429", "server")),
        ),
        ((Authenticated(), Replied(503)), Finish(Postponed(30.0, "503", "server"))),
        (
            (*UP_TO_PART, Replied(503, retry_after_s=9.0, is_of_clip=True)),
            Finish(Postponed(9.0, "503", "clip")),
        ),
        ((*UP_TO_PART, Replied(460)), VerifyFile()),
        ((*UP_TO_PART, Replied(460), FileChecked(False, "x")), Finish(FileCorrupt("x"))),
        ((*UP_TO_PART, Replied(460), FileChecked(True), Resumed()), ReadOffset(URL)),
        ((*UP_TO_PART, Replied(500)), Pause(0.5, "500")),
        ((*UP_TO_PART, Failed("cut"), Resumed()), ReadOffset(URL)),
        ((*UP_TO_PART, Failed("cut"), Resumed(), Failed("cut")), Pause(1.0, "cut")),
        ((*UP_TO_PART, Interrupted("no_link")), Finish(Stopped("no_link"))),
        ((Authenticated(), declared("have_it")), ReadStatus()),
        ((Authenticated(), declared("not_wanted", reason="q")), Finish(NotWanted("q"))),
        (
            (Authenticated(), declared("wait", retry_after_s=4.0, reason="r")),
            Finish(Postponed(4.0, "r", "clip")),
        ),
    ],
)
def test_every_status_has_its_meaning(events: tuple[Event, ...], last: Command) -> None:
    assert walk(*events)[-1] == last


def test_a_new_token_may_be_needed_again_after_progress() -> None:
    events = (
        *UP_TO_PART, Replied(401), Authenticated(), at(0), at(PART_BYTES), Replied(401),
    )  # fmt: skip
    assert walk(*events)[-1] == Authenticate(True)


@pytest.mark.parametrize("changed", [{"safety": True}, {"stream": "random"}])
def test_exempt_clips_are_kept_though_not_wanted(changed: dict[str, object]) -> None:
    request = REQUEST.model_copy(update=changed)
    end = walk(Authenticated(), declared("not_wanted"), request=request)[-1]
    assert isinstance(end, Finish)
    assert isinstance(end.outcome, Postponed)


@pytest.mark.parametrize(
    "lie",
    [
        told("uploading", offset_bytes=SIZE),
        told("absent"),
        told(clip_id="0" * 64),
        told(size_bytes=SIZE - 1),
        Replied(200),
        Replied(204),
    ],
)
def test_no_lie_is_a_receipt(lie: Replied) -> None:
    end = walk(*UP_TO_PART, at(PART_BYTES), at(2 * PART_BYTES), at(SIZE), lie)[-1]
    assert not (isinstance(end, Finish) and isinstance(end.outcome, Uploaded))


@pytest.mark.parametrize("offset", [None, -1, SIZE + 1])
def test_an_impossible_offset_is_not_followed(offset: int | None) -> None:
    reply = Replied(204, offset_bytes=offset)
    assert isinstance(walk(Authenticated(), declared(), reply)[-1], Pause)


def test_failures_without_progress_end() -> None:
    session = UploadSession(REQUEST)
    for event in (Started(), *UP_TO_PART):
        session.step(event)
    for _ in range(MAX_FAILURES):
        assert isinstance(session.step(Failed("cut")), Pause)
        assert session.step(Resumed()) == ReadOffset(URL)
        session.step(at(0))
    end = session.step(Failed("cut"))
    assert isinstance(end, Finish)
    assert isinstance(end.outcome, Postponed)


REPLIES = st.one_of(
    st.builds(
        Replied,
        st.sampled_from(
            [200, 201, 204, 302, 400, 401, 403, 404, 408, 409, 410, 413, 415, 423, 429, 460, 500,
             502, 503]
        ),
        offset_bytes=st.one_of(
            st.none(),
            st.sampled_from([0, 5, PART_BYTES, 2 * PART_BYTES, SIZE, SIZE + 1]),
        ),
        answer=st.one_of(
            st.none(),
            st.sampled_from(["have_it", "upload", "upload", "not_wanted", "wait"]).map(
                lambda word: declared(word).answer
            ),
            st.just(declared("upload", clip_id="0" * 64).answer),
        ),
        status_body=st.one_of(
            st.none(),
            st.sampled_from(["absent", "uploading", "committed"]).map(
                lambda state: told(state).status_body
            ),
            st.just(told(clip_id="0" * 64).status_body),
            st.just(told(size_bytes=1).status_body),
            st.just(told("uploading", offset_bytes=5).status_body),
        ),
        retry_after_s=st.one_of(st.none(), st.floats(-5, 1e9)),
    ),
    st.just(Failed("cut")),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_server_gets_a_session_that_ends_and_keeps_its_word(data: st.DataObject) -> None:
    session = UploadSession(REQUEST)
    event: Event = Started()
    held: int | None = None
    for _ in range(2000):
        command = session.step(event)
        match command:
            case Finish(outcome):
                if isinstance(outcome, Uploaded):
                    assert isinstance(event, Replied)
                    assert event.status < 300
                    assert event.status_body == outcome.receipt.status
                    assert outcome.receipt.status.state == "committed"
                    assert outcome.receipt.status.clip_id == REQUEST.clip_id
                return
            case Pause():
                event = Resumed()
                continue
            case Authenticate():
                event = data.draw(
                    st.one_of(st.just(Authenticated()), st.just(Failed("x")), REPLIES)
                )
                continue
            case VerifyFile():
                event = FileChecked(data.draw(st.integers(0, 9)) > 0)
                continue
            case SendPart(_, offset, length, digest, _):
                assert offset == held
                assert 0 < length <= PART_BYTES
                assert offset // PART_BYTES == (offset + length - 1) // PART_BYTES
                whole = offset % PART_BYTES == 0
                assert digest == (REQUEST.part_digests[offset // PART_BYTES] if whole else None)
        event = data.draw(REPLIES)
        if isinstance(event, Replied) and event.status < 300 and event.offset_bytes is not None:
            held = event.offset_bytes
    pytest.fail("the session does not end")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(FAULTS), max_size=MAX_LOSSES))
def test_a_sound_server_with_few_faults_gets_the_clip(faults: list[str]) -> None:
    """A model of a receiver: what it acknowledges it holds, unless it loses the upload."""
    session = UploadSession(REQUEST)
    event: Event = Started()
    offset, script = 0, list(faults)
    for _ in range(200):
        match session.step(event):
            case Finish(outcome):
                assert isinstance(outcome, Uploaded)
                assert offset == SIZE
                return
            case Authenticate():
                event = Authenticated()
            case Declare():
                event = declared()
            case ReadOffset():
                event = at(offset)
            case ReadStatus():
                event = told() if offset == SIZE else told("uploading", offset_bytes=offset)
            case Pause():
                event = Resumed()
            case SendPart(_, begin, length, _, _):
                fault = script.pop(0) if script else "ok"
                if fault in ("ok", "cut_after"):
                    assert begin == offset
                    offset = begin + length
                elif fault == "lost":
                    offset = 0
                event = {
                    "ok": at(offset),
                    "lost": Replied(404),
                    "500": Replied(500),
                    "409": Replied(409),
                }.get(fault, Failed("cut"))
            case _:
                pytest.fail("not asked for here")
    pytest.fail("the session does not end")
