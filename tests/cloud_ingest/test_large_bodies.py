"""Large bodies past the parser: whole however they are cut, never more in memory than a slab."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from cloud_ingest import large_body
from cloud_ingest.http_protocol import LARGE_BYTES, READ_BYTES, LargeBodiesProtocol
from cloud_ingest.large_body import EXTENSION
from cloud_ingest.slabs import SLAB_BYTES, Slabs

App = Callable[[Scope, Receive, Send], Awaitable[None]]
NOISE = random.Random(1).randbytes(3 * SLAB_BYTES + 77)


class Wire(asyncio.Transport):
    """A connection without a network: what is fed is read as far as the protocol reads."""

    def __init__(self, app: App) -> None:
        super().__init__()
        config = Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
        self.state = ServerState()
        self.protocol = LargeBodiesProtocol(config, self.state, {}, asyncio.get_running_loop())
        self.answers = bytearray()
        self.is_paused = False
        self.is_closed = False
        self.protocol.connection_made(self)

    def feed(self, sent: bytes, most_a_read: int = 2**30) -> int:
        """How much of it was read before the protocol rested."""
        at = 0
        while at < len(sent) and not self.is_paused:
            buffer = self.protocol.get_buffer(-1)
            assert len(buffer) > 0
            piece = sent[at : at + min(len(buffer), most_a_read)]
            buffer[: len(piece)] = piece
            self.protocol.buffer_updated(len(piece))
            at += len(piece)
        return at

    async def feed_all(self, sent: bytes, most_a_read: int = 2**30) -> None:
        while sent:
            sent = sent[self.feed(sent, most_a_read) :]
            await asyncio.sleep(0)

    async def ended(self) -> None:
        """All answers have been given."""
        while tasks := set(self.state.tasks):
            await asyncio.wait(tasks)

    def break_off(self) -> None:
        self.is_closed = True
        self.protocol.connection_lost(ConnectionResetError())

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


def head(length: int, *fields: str) -> bytes:
    lines = ["PUT /x HTTP/1.1", "Host: h", f"Content-Length: {length}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def turned() -> None:
    """All that can be done without more bytes has been done."""
    for _ in range(20):
        await asyncio.sleep(0)


async def answer(send: Send, status: int = 204) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Keeper:
    """An application that keeps what it hears, message by message."""

    def __init__(self, wants_views: bool = True) -> None:
        self.heard: list[list[Message]] = []
        self._wants_views = wants_views

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._wants_views and EXTENSION in scope.get("extensions", {}):
            scope["extensions"][EXTENSION]["wanted"] = True
        messages: list[Message] = []
        self.heard.append(messages)
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
        await answer(send)

    def bodies(self) -> list[bytes]:
        return [b"".join(one.get("body", b"") for one in messages) for messages in self.heard]


LENGTHS = [0, LARGE_BYTES - 1, LARGE_BYTES, SLAB_BYTES, SLAB_BYTES + 1, len(NOISE)]


@pytest.mark.parametrize("most_a_read", [2**30, READ_BYTES - 1, 5003])
def test_bodies_arrive_whole_however_they_are_cut(most_a_read: int) -> None:
    keeper = Keeper()

    async def scenario() -> None:
        wire = Wire(keeper)
        for length in LENGTHS:
            await wire.feed_all(head(length) + NOISE[:length], most_a_read)
            await wire.ended()
        assert wire.answers.count(b"HTTP/1.1 204") == len(LENGTHS)
        wire.break_off()

    asyncio.run(scenario())
    assert keeper.bodies() == [NOISE[:length] for length in LENGTHS]
    whole = [len(message["body"]) for message in keeper.heard[-1]]
    assert whole == [SLAB_BYTES] * 3 + [77], "a message a slab"
    assert all(isinstance(message["body"], memoryview) for message in keeper.heard[-1])


def test_requests_behind_one_another_are_answered_in_order() -> None:
    keeper = Keeper()

    async def scenario() -> None:
        wire = Wire(keeper)
        sent = b"".join(head(length) + NOISE[:length] for length in [*LENGTHS, *LENGTHS])
        await wire.feed_all(sent)
        await wire.ended()
        wire.break_off()

    asyncio.run(scenario())
    assert keeper.bodies() == [NOISE[:length] for length in [*LENGTHS, *LENGTHS]]


def test_who_does_not_ask_for_views_gets_bytes() -> None:
    keeper = Keeper(wants_views=False)

    async def scenario() -> None:
        wire = Wire(keeper)
        await wire.feed_all(head(len(NOISE)) + NOISE)
        await wire.ended()
        wire.break_off()

    asyncio.run(scenario())
    assert keeper.bodies() == [NOISE]
    assert {type(message["body"]) for message in keeper.heard[0]} == {bytes}


def test_a_slow_application_holds_the_sender_back() -> None:
    turns: asyncio.Queue[None]
    taken: list[int] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            await turns.get()
            message = await receive()
            taken.append(len(message["body"]))
            more = message["more_body"]
        await answer(send)

    async def scenario() -> None:
        nonlocal turns
        turns = asyncio.Queue()
        wire = Wire(slow)
        sent = head(len(NOISE)) + NOISE
        read = wire.feed(sent)
        assert read <= READ_BYTES, "nothing behind the head's read before it is asked for"
        for number in range(1, 5):
            turns.put_nowait(None)
            while len(taken) < number:
                read += wire.feed(sent[read:])
                await asyncio.sleep(0)
            read += wire.feed(sent[read:])
            assert read <= (number + 1) * SLAB_BYTES + READ_BYTES
            assert wire.feed(sent[read:]) == 0, "it rests till the application asks again"
        await wire.ended()
        assert read == len(sent)
        wire.break_off()

    asyncio.run(scenario())
    assert sum(taken) == len(NOISE)


def test_a_refusal_drops_the_rest_and_the_connection_goes_on() -> None:
    keeper = Keeper()
    refused: list[str] = []

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        if refused:
            await keeper(scope, receive, send)
            return
        refused.append(scope["path"])
        await answer(send, 403)

    async def scenario() -> None:
        wire = Wire(refusing)
        before = LargeBodiesProtocol.slabs.kept
        sent = head(len(NOISE)) + NOISE
        read = wire.feed(sent)
        await wire.ended()
        assert wire.answers.startswith(b"HTTP/1.1 403")
        assert wire.feed(sent[read:]) == len(sent) - read
        gc.collect()
        assert LargeBodiesProtocol.slabs.kept >= before, "what was refused holds no memory"
        await wire.feed_all(head(LARGE_BYTES) + NOISE[:LARGE_BYTES])
        await wire.ended()
        wire.break_off()

    asyncio.run(scenario())
    assert keeper.bodies() == [NOISE[:LARGE_BYTES]]


def test_a_client_that_waits_is_told_to_go_on_once_its_body_is_asked_for() -> None:
    may_ask = asyncio.Event()
    keeper = Keeper()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await may_ask.wait()
        await keeper(scope, receive, send)

    async def scenario() -> None:
        wire = Wire(late)
        wire.feed(head(len(NOISE), "Expect: 100-continue"))
        await asyncio.sleep(0)
        assert wire.answers == b""
        may_ask.set()
        await turned()
        assert wire.answers == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.feed_all(NOISE)
        await wire.ended()
        assert wire.answers.count(b"HTTP/1.1 204") == 1
        wire.break_off()

    asyncio.run(scenario())
    assert keeper.bodies() == [NOISE]


@pytest.mark.parametrize("length", [10, SLAB_BYTES - 1, SLAB_BYTES + 10])
def test_what_came_before_a_break_is_heard(length: int) -> None:
    heard: list[Message] = []

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        while not heard or heard[-1]["type"] == "http.request":
            heard.append(await receive())

    async def scenario() -> None:
        wire = Wire(listening)
        await wire.feed_all(head(len(NOISE)) + NOISE[:length])
        wire.break_off()
        await wire.ended()

    asyncio.run(scenario())
    assert heard[-1] == {"type": "http.disconnect"}
    assert b"".join(message["body"] for message in heard[:-1]) == NOISE[:length]
    assert all(message["more_body"] for message in heard[:-1])


def test_a_slow_sender_is_heard_before_its_slab_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_body, "HAND_OVER_S", 0.0)
    heard: list[bytes] = []

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            heard.append(message["body"])
            more = message["more_body"]
        await answer(send)

    async def scenario() -> None:
        wire = Wire(listening)
        await wire.feed_all(head(LARGE_BYTES) + NOISE[:7])
        await turned()
        assert b"".join(heard) == NOISE[:7]
        await wire.feed_all(NOISE[7:LARGE_BYTES])
        await wire.ended()
        wire.break_off()

    asyncio.run(scenario())
    assert b"".join(heard) == NOISE[:LARGE_BYTES]


@pytest.mark.parametrize(
    "fields", [("Transfer-Encoding: chunked",), (f"Content-Length: {LARGE_BYTES + 1}",)]
)
def test_lengths_that_contradict_are_turned_away(fields: tuple[str, ...]) -> None:
    keeper = Keeper()

    async def scenario() -> None:
        wire = Wire(keeper)
        wire.feed(head(LARGE_BYTES, *fields) + b"0\r\n\r\n")
        await asyncio.sleep(0)
        assert wire.answers.startswith(b"HTTP/1.1 400")
        assert wire.is_closed
        wire.break_off()
        await wire.ended()

    asyncio.run(scenario())
    assert b"".join(keeper.bodies()) == b""


def test_slabs_come_back_when_nobody_sees_them_any_more() -> None:
    slabs = Slabs(slab_bytes=16, most_kept=1)
    first, second = slabs.take(), slabs.take()
    first[:4] = b"mine"
    seen = first[:4]
    del first
    assert slabs.kept == 0
    slabs.take()[:] = b"x" * 16
    assert bytes(seen) == b"mine"
    del seen
    assert slabs.kept == 1
    del second
    assert slabs.kept == 1, "no more are kept than that"
