"""A vehicle's link: virtual time that waits for what is real, and a relay that takes it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import NS_PER_S
from edge_agent.spool.folder import ACTIVE_SUFFIX
from sim_fleet.fleet.faults import FaultSpec, PlannedFault
from sim_fleet.fleet.framing import Framing
from sim_fleet.fleet.harm import ClipWriting, Saboteur
from sim_fleet.fleet.journal import ByteCounts, Journal, read_counts, read_journal
from sim_fleet.fleet.links import LinkSpan, LinkTrace
from sim_fleet.fleet.relay import OUTAGE_S, Passage, Relay
from sim_fleet.fleet.virtual_loop import LoopClock, VirtualLoop
from sim_fleet.seeds import generator

MBIT = 1e6
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def virtually(job: Callable[[VirtualLoop], Awaitable[None]]) -> None:
    loop = VirtualLoop(100 * NS_PER_S)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:

        async def run() -> None:
            await job(loop)

        runner.run(run())


def test_sleeps_take_no_real_time_and_happen_in_order() -> None:
    async def job(loop: VirtualLoop) -> None:
        clock, seen = LoopClock(loop, 5), []

        async def rest(hours: int) -> None:
            await clock.sleep_ns(hours * 3600 * NS_PER_S)
            seen.append((hours, round(loop.time() - 100)))

        await asyncio.gather(rest(30), rest(2), rest(7))
        assert seen == [(2, 7200), (7, 25_200), (30, 108_000)]
        assert clock.utc_ns() == clock.mono_ns() + 5
        clock.jump_utc_ns(-3)
        assert clock.utc_ns() == clock.mono_ns() + 2

    virtually(job)


def test_time_stands_still_while_a_thread_works() -> None:
    async def job(loop: VirtualLoop) -> None:
        gate = threading.Event()
        nap = asyncio.create_task(asyncio.sleep(50))
        work = loop.run_in_executor(None, gate.wait)
        await asyncio.sleep(0)
        assert not nap.done()
        gate.set()
        await work
        assert loop.time() == pytest.approx(100)
        await nap
        assert loop.time() == pytest.approx(150)

    virtually(job)


def test_drive_and_network_keep_step() -> None:
    """Neither gets ahead: what the loop does at a moment is done when the drive passes it."""

    async def job(loop: VirtualLoop) -> None:
        ticks: list[int] = []
        seen: list[tuple[int, int]] = []

        async def tick() -> None:
            while True:
                await asyncio.sleep(1)
                ticks.append(round(loop.time()))

        def drive() -> None:
            for second in range(101, 111):
                loop.reach(second * NS_PER_S + 1000)
                seen.append((second, ticks[-1] if ticks else 0))
            loop.let_go()

        ticking = asyncio.create_task(tick())
        await loop.run_in_executor(None, drive)
        assert seen == [(s, s) for s in range(101, 111)]
        await asyncio.sleep(5)
        ticking.cancel()
        assert ticks[-1] >= 114

    virtually(job)


@given(st.data())
def test_framing_finds_the_messages_however_they_are_cut(data: st.DataObject) -> None:
    parts = [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n0\r\n\r\nHTTP/1",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab0\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",  # to a HEAD
        b"HTTP/1.1 460 Checksum Mismatch\r\nContent-Length: 0\r\n\r\n",
    ]
    stream = b"".join(parts)
    framing = Framing(is_request=False)
    framing.asked_heads.extend([False, False, False, True, False])
    at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        framing.feed(stream[at : at + size])
        at += size
    assert framing.finished == 5 and framing.heads == 6 and not framing.is_in_body
    assert framing.start_line == "HTTP/1.1 460 Checksum Mismatch"


def test_framing_tells_who_is_to_speak() -> None:
    framing = Framing(is_request=True)
    framing.feed(b"PATCH /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert framing.expects_continue and framing.is_in_body and framing.body_left_bytes == 4
    framing.feed(b"abc")
    assert (framing.finished, framing.body_bytes) == (0, 3)
    framing.feed(b"dGET / HTTP/1.1\r\n\r\n")
    assert framing.finished == 2 and not framing.expects_continue


class Road:
    """A relay, and a plain server behind it that keeps what it got."""

    def __init__(self, relay: Relay, port: int, got: bytearray) -> None:
        self.relay, self.port, self.got = relay, port, got

    async def post(self, size_bytes: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"PATCH /v1/tus/a HTTP/1.1\r\nContent-Length: {size_bytes}\r\n\r\n"
        try:
            writer.write(head.encode() + bytes(size_bytes))
            return await reader.readexactly(len(ANSWER))
        finally:
            writer.close()


@asynccontextmanager
async def road(
    loop: VirtualLoop,
    folder: Path,
    *spans: LinkSpan,
    harm: Callable[[Passage], None] = lambda _: None,
) -> AsyncIterator[Road]:
    got = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framing = Framing(is_request=True)
        while data := await reader.read(65_536):
            got.extend(data)
            framing.feed(data)
            if framing.finished:
                writer.write(ANSWER)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()[:2]
    relay = Relay(
        loop, address, LinkTrace(spans=spans), loop.time, ByteCounts(folder / "counts"),
        generator(1, "packets"), harm,
    )  # fmt: skip
    port = await relay.start(0)
    try:
        yield Road(relay, port, got)
    finally:
        await relay.close()
        server.close()
        await asyncio.sleep(1)


def span(
    start_s: float, kind: str = "cellular", rate_bps: float = MBIT, **more: object
) -> LinkSpan:
    values = {"start_s": start_s, "kind": kind, "up_bps": rate_bps, "down_bps": rate_bps, **more}
    return LinkSpan.model_validate(values)


def test_bytes_take_the_time_of_the_link(tmp_path: Path) -> None:
    async def job(loop: VirtualLoop) -> None:
        async with road(loop, tmp_path, span(0.0, delay_s=0.05)) as way:
            assert await way.post(250_000) == ANSWER
            # 2 s at 1 Mbit/s, a round trip to connect, one more to ask and be answered.
            assert loop.time() - 100 == pytest.approx(2.0 + 4 * 0.05, abs=0.02)
            assert len(way.got) > 250_000

    virtually(job)
    carried = read_counts(tmp_path / "counts")["cellular"]
    assert carried.down_bytes == len(ANSWER) and carried.again_bytes == 0
    assert 250_000 < carried.up_bytes < 250_100


def test_a_thread_may_wait_for_the_link(tmp_path: Path) -> None:
    """The agent sends parts from a thread, which blocks while the link is full."""
    size_bytes = 8_000_000

    def send(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as own:
            head = f"PATCH /v1/tus/a HTTP/1.1\r\nContent-Length: {size_bytes}\r\n\r\n"
            own.sendall(head.encode() + bytes(size_bytes))
            return own.recv(len(ANSWER), socket.MSG_WAITALL)

    async def job(loop: VirtualLoop) -> None:
        async with road(loop, tmp_path, span(0.0)) as way:
            assert await asyncio.to_thread(send, way.port) == ANSWER
            assert loop.time() - 100 == pytest.approx(64.0, abs=0.1)

    virtually(job)


def test_lost_packets_cost_time_and_bytes(tmp_path: Path) -> None:
    async def job(loop: VirtualLoop) -> None:
        async with road(loop, tmp_path, span(0.0, loss=0.1)) as way:
            assert await way.post(250_000) == ANSWER
            assert 2.1 < loop.time() - 100 < 4.0

    virtually(job)
    assert 10_000 < read_counts(tmp_path / "counts")["cellular"].again_bytes < 50_000


def test_a_link_that_ends_breaks_the_transfer(tmp_path: Path) -> None:
    async def job(loop: VirtualLoop) -> None:
        spans = (span(0.0), span(101.0, "none"), span(120.0, "wifi", 8 * MBIT))
        async with road(loop, tmp_path, *spans) as way:
            loop.call_at(101.0, way.relay.cut)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await way.post(250_000)
            assert 100_000 < len(way.got) < 130_000
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await way.post(10)
            await asyncio.sleep(30)
            assert await way.post(250_000) == ANSWER

    virtually(job)
    assert set(read_counts(tmp_path / "counts")) == {"cellular", "wifi"}


def test_a_server_that_is_away_is_away_for_a_while(tmp_path: Path) -> None:
    async def job(loop: VirtualLoop) -> None:
        async with road(loop, tmp_path, span(0.0)) as way:
            there = way.relay._upstream
            way.relay._upstream = ("127.0.0.1", 1)
            for _ in range(2):
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await way.post(10)
            way.relay._upstream = there
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await way.post(10)
            await asyncio.sleep(OUTAGE_S)
            assert await way.post(10) == ANSWER

    virtually(job)


def fault(kind: str, **changes: object) -> PlannedFault:
    return PlannedFault(
        name=f"{kind}-1", spec=FaultSpec(kind=kind, **changes), vehicle_id="v", trip=1, at_s=1.0,
        share=0.5,
    )  # type: ignore[arg-type]  # fmt: skip


def test_one_bit_of_a_part_is_turned_once(tmp_path: Path) -> None:
    told: list[str] = []
    saboteur = Saboteur(
        1, [fault("corrupted_part")], lambda _: None, lambda: None,
        lambda what, **more: told.append(f"{what} {more['note']}"),
    )  # fmt: skip

    async def job(loop: VirtualLoop) -> None:
        async with road(loop, tmp_path, span(0.0), harm=saboteur.harm) as way:
            for _ in range(2):
                assert await way.post(250_000) == ANSWER
            assert sum(byte.bit_count() for byte in way.got[-250_000:]) == 0
            first = way.got.index(b"\r\n\r\n") + 4
            assert sum(byte.bit_count() for byte in way.got[first : first + 250_000]) == 1

    virtually(job)
    saboteur.answered("HTTP/1.1 100 Continue", "PATCH /v1/tus/a HTTP/1.1")
    saboteur.answered("HTTP/1.1 460 Checksum Mismatch", "PATCH /v1/tus/a HTTP/1.1")
    assert len(told) == 2 and "is turned" in told[0]
    assert told[1] == "followed the receiver answered 460 Checksum Mismatch"


def test_a_signal_log_is_harmed_only_when_there_was_no_part() -> None:
    struck: list[str] = []
    for trip in (1, 2):
        saboteur = Saboteur(
            trip, [fault("power_cut", during="upload")], struck.append, lambda: None,
            lambda what, **more: None,
        )  # fmt: skip
        saboteur.harm(Passage("PUT /v1/signal-logs/ab HTTP/1.1", 50, 40, bytearray(10)))
        assert len(struck) == trip - 1


def test_the_power_is_cut_while_a_clip_is_written(tmp_path: Path) -> None:
    struck: list[str] = []
    writing = ClipWriting(tmp_path, fault("power_cut", during="pack"), struck.append)
    writing.see("open", (str(tmp_path / "status.json"), "w", os.O_WRONLY))
    writing.see("open", (f"/elsewhere/x{ACTIVE_SUFFIX}", "w", os.O_WRONLY))
    steps = 0
    while not struck:
        steps += 1
        writing.see("open", (str(tmp_path / f"x{ACTIVE_SUFFIX}"), "w", os.O_WRONLY))
        writing.see("open", (str(tmp_path / "x"), "r", os.O_RDONLY))
    # Half of eight steps into the writing.
    assert struck == ["power_cut-1"] and steps == 5


def test_a_journal_keeps_all_but_its_last_broken_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write("fire", 1.23456, outcome="kept")
    journal.write("packed", 2.0, clip="ab")
    journal.close()
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'{"what": "half')
    assert [r["what"] for r in read_journal(tmp_path / "journal")] == ["fire", "packed"]
    assert list(read_journal(tmp_path / "none")) == [] and read_counts(tmp_path / "none") == {}
