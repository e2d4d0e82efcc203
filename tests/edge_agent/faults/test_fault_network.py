"""Bad roads: lossy, flapping and metered links, clocks that jump, a server that forgets.

Lossy and flapping links are the fleet simulator's relay on virtual time: real sockets and the real
client, whose bytes arrive when rate, delay and loss let them. What it sends again for a loss is
counted apart, since a loopback socket's kernel never sees it; on a vehicle's link `TCP_INFO` counts
that too (`test_upload_wire`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from contracts.clock import NS_PER_DAY, NS_PER_S
from contracts.errors import TransientError
from contracts.ids import PART_BYTES
from edge_agent.upload import CellularLimits, FixedLink
from sim_fleet.fleet.journal import ByteCounts, Carried, read_counts
from sim_fleet.fleet.links import LinkSpan, LinkTrace
from sim_fleet.fleet.relay import Relay
from sim_fleet.fleet.virtual_loop import LoopClock, VirtualLoop
from sim_fleet.seeds import generator
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import Rig, add_clip, clip_bytes, record, rig

HOUR_NS = 3600 * NS_PER_S
START_S = 100.0
LARGE = PART_BYTES + 1_000_000
SMALL = 20_000


@dataclass
class Road:
    """A vehicle, a receiver, and the link between them."""

    vehicle: Rig
    simulator: ReceiverSimulator
    folder: Path

    def carried(self) -> dict[str, Carried]:
        return read_counts(self.folder / "counts")


def on_the_road(
    folder: Path, trace: LinkTrace, body: Callable[[Road], Awaitable[None]], **limits: int
) -> None:
    """Run `body` in virtual time over a link that follows the trace."""
    loop = VirtualLoop(int(START_S * NS_PER_S))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_drive(loop, folder, trace, body, limits))


async def _drive(
    loop: VirtualLoop,
    folder: Path,
    trace: LinkTrace,
    body: Callable[[Road], Awaitable[None]],
    limits: dict[str, int],
) -> None:
    simulator = ReceiverSimulator()
    counts = ByteCounts(folder / "counts")
    link = FixedLink(trace.at(0.0).as_link())

    def now_s() -> float:
        return loop.time() - START_S

    async def follow(relay: Relay) -> None:
        while (change_s := trace.next_change_s(now_s())) is not None:
            await asyncio.sleep(change_s - now_s() + 1e-6)
            link.change(trace.at(now_s()).as_link())
            relay.cut()

    async with simulator.serve() as base_url:
        place = urlsplit(base_url)
        relay = Relay(
            loop, (str(place.hostname), int(place.port or 0)), trace, now_s, counts,
            generator(1, "road"),
        )  # fmt: skip
        port = await relay.start(0)
        clock = LoopClock(loop, 0)
        vehicle = Rig(
            folder / "vehicle", f"http://127.0.0.1:{port}", clock, link,  # type: ignore[arg-type]
            CellularLimits(**limits),
        )  # fmt: skip
        following = asyncio.create_task(follow(relay))
        try:
            while not simulator.keys:
                try:
                    await vehicle.uploader.enrol(None)
                except TransientError:  # a road that is bad from its first second
                    await clock.sleep_ns(NS_PER_S)
            await body(Road(vehicle, simulator, folder))
        finally:
            following.cancel()
            await vehicle.close()
            await relay.close()
            await asyncio.sleep(0)
            counts.close()


def spans(*each: LinkSpan) -> LinkTrace:
    return LinkTrace(spans=each)


def good(start_s: float, kind: str, metered: bool = False) -> LinkSpan:
    return LinkSpan.model_validate(
        {"start_s": start_s, "kind": kind, "metered": metered, "up_bps": 20e6,
         "down_bps": 20e6, "delay_s": 0.01}
    )  # fmt: skip


def only_once(road: Road, *contents: bytes) -> None:
    """The receiver holds each of these once, whole, and the vehicle knows."""
    held = list(road.simulator.held.values())
    assert all(clip.committed for clip in held)
    assert sorted(bytes(clip.content) for clip in held) == sorted(contents)
    assert road.vehicle.spool.queue() == ()


@pytest.mark.parametrize("kind", ["wifi", "cellular"])
def test_five_percent_loss_at_80_ms(tmp_path: Path, kind: str) -> None:
    content = clip_bytes(1, LARGE)
    span = LinkSpan.model_validate(
        {"start_s": 0.0, "kind": kind, "up_bps": 8e6, "down_bps": 8e6, "delay_s": 0.04,
         "loss": 0.05}
    )  # fmt: skip

    async def body(road: Road) -> None:
        for number in range(5):
            road.vehicle.ledger.outbox.put(record(number))
        add_clip(road.vehicle.spool, content)
        begin_ns = road.vehicle.clock.mono_ns()
        await road.vehicle.uploader.drain(begin_ns + HOUR_NS)
        only_once(road, content)
        assert len(road.simulator.events) == 5
        carried = road.carried()[kind]
        assert carried.again_bytes > LARGE * 0.03, "the link was lossy indeed"
        # A link is used while it is there: the time is that of its bytes, twice at most.
        needed_s = (carried.up_bytes + carried.again_bytes) * 8 / 8e6
        assert road.vehicle.clock.mono_ns() - begin_ns < 2 * needed_s * NS_PER_S
        spent = road.vehicle.ledger.cellular.spent().day_bytes
        assert (spent > carried.up_bytes + carried.down_bytes) if kind == "cellular" else spent == 0

    on_the_road(tmp_path, spans(span), body)


@pytest.mark.parametrize("seed", range(3))
def test_flapping_and_metered_links(tmp_path: Path, seed: int) -> None:
    """Every few seconds another link, or none; the cap leaves half of what waits."""
    rng = random.Random(seed)
    kinds = [("none", False), ("wifi", False), ("cellular", True), ("wifi", True)]
    times = [0.0]
    while times[-1] < 60.0:
        times.append(times[-1] + rng.uniform(0.2, 3.0))
    trace = spans(*(good(at_s, *rng.choice(kinds)) for at_s in times), good(70.0, "wifi"))
    cap_bytes = LARGE // 2 + 1_000_000
    contents = [clip_bytes(seed * 10 + number, LARGE // 2) for number in range(3)]
    contents.append(clip_bytes(seed * 10 + 5, SMALL))

    async def body(road: Road) -> None:
        for number, content in enumerate(contents):
            add_clip(road.vehicle.spool, content, number)
        stop = asyncio.Event()
        running = asyncio.create_task(road.vehicle.uploader.run(stop))
        while road.vehicle.spool.queue():  # noqa: ASYNC110 - on virtual time
            await asyncio.sleep(1.0)
        stop.set()
        await running
        only_once(road, *contents)
        carried = road.carried()
        metered = [carried[kind] for kind in ("cellular", "metered wifi") if kind in carried]
        assert metered, "something was metered"
        assert sum(each.up_bytes + each.down_bytes for each in metered) <= cap_bytes

    on_the_road(tmp_path, trace, body, bytes_per_day=cap_bytes, bytes_per_month=cap_bytes)


async def _served(
    folder: Path, body: Callable[[Rig, ReceiverSimulator], Awaitable[None]], **limits: int
) -> None:
    simulator = ReceiverSimulator()
    async with simulator.serve() as base_url:
        vehicle = rig(folder, base_url, **limits)
        try:
            await vehicle.uploader.enrol(None)
            await body(vehicle, simulator)
        finally:
            await vehicle.close()


@pytest.mark.parametrize("jump_ns", [2 * HOUR_NS, -2 * HOUR_NS])
def test_a_wall_clock_that_jumps_two_hours_in_mid_part(tmp_path: Path, jump_ns: int) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        contents = [clip_bytes(number, LARGE) for number in (1, 2)]
        for number, content in enumerate(contents):
            add_clip(vehicle.spool, content, number)
        day = vehicle.ledger.budget_day()
        jumps = [200_000, PART_BYTES + 200_000]

        def on_chunk() -> None:
            if jumps and simulator.body_bytes > jumps[0]:
                jumps.pop(0)
                vehicle.clock.jump_utc_ns(jump_ns)

        simulator.on_body_chunk = on_chunk
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + HOUR_NS)
        assert len(report.uploaded) == 2 and jumps == []
        assert vehicle.ledger.budget_day() == day
        assert simulator.body_bytes == 2 * LARGE, "nothing was sent twice"
        await vehicle.restart()
        assert vehicle.ledger.budget_day() == day
        assert vehicle.spool.queue() == ()

    asyncio.run(_served(tmp_path, body))


@pytest.mark.parametrize("jump_ns", [0, 2 * HOUR_NS, -2 * HOUR_NS])
def test_a_night_of_suspend_in_mid_part(tmp_path: Path, jump_ns: int) -> None:
    """The vehicle sleeps for 20 hours: its monotonic clock counts them (`CLOCK_BOOTTIME`), its
    token is over, and the wall clock comes back right or wrong."""

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        content = clip_bytes(1, LARGE)
        add_clip(vehicle.spool, content)
        day = vehicle.ledger.budget_day()
        slept: list[int] = []

        def on_chunk() -> None:
            if simulator.body_bytes > 100_000 and not slept:
                slept.append(1)
                simulator.revoke_tokens()
                vehicle.clock.set_mono_ns(vehicle.clock.mono_ns() + 20 * HOUR_NS)
                vehicle.clock.jump_utc_ns(jump_ns)

        simulator.on_body_chunk = on_chunk
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 2 * NS_PER_DAY)
        assert len(report.uploaded) == 1
        assert bytes(next(iter(simulator.held.values())).content) == content
        assert vehicle.ledger.budget_day() - day in (0, 1), "the hours count, the jump does not"
        begin_ns = vehicle.ledger.budget_utc_ns()
        vehicle.clock.jump_utc_ns(5 * jump_ns)
        assert vehicle.ledger.budget_utc_ns() == begin_ns

    asyncio.run(_served(tmp_path, body))


def test_a_server_that_accepts_and_forgets_is_not_believed(tmp_path: Path) -> None:
    """It says 204 with the right offset, and has nothing when it is asked."""

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(1, SMALL))
        simulator.forgets = 10**9
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 1800 * NS_PER_S)
        assert report.uploaded == ()
        assert vehicle.spool.queue() == (entry,)
        # It is asked again after pauses, and not flooded: a few times in a minute.
        assert simulator.body_bytes < 30 * 7 * SMALL
        simulator.forgets = 0
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + HOUR_NS)
        assert report.uploaded == (entry.clip_id,)
        assert [held.committed for held in simulator.held.values()] == [True]

    asyncio.run(_served(tmp_path, body))


@pytest.mark.parametrize("times", [1, 2])
def test_a_server_that_forgets_now_and_then_gets_it_again(tmp_path: Path, times: int) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        content = clip_bytes(1, LARGE)
        entry = add_clip(vehicle.spool, content)
        simulator.forgets = times
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + HOUR_NS)
        assert report.uploaded == (entry.clip_id,)
        assert bytes(simulator.held[entry.clip_id].content) == content

    asyncio.run(_served(tmp_path, body))


def test_a_server_that_forgets_costs_no_byte_over_the_cap(tmp_path: Path) -> None:
    from edge_agent.ports import Link

    cap_bytes = 3 * PART_BYTES

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        vehicle.link.change(Link("cellular"))
        before_bytes = vehicle.meter.total_bytes()
        add_clip(vehicle.spool, clip_bytes(1, LARGE))
        simulator.forgets = 10**9
        await vehicle.uploader.drain(vehicle.clock.mono_ns() + 4 * HOUR_NS)
        assert PART_BYTES < vehicle.meter.total_bytes() - before_bytes <= cap_bytes
        assert len(vehicle.spool.queue()) == 1

    asyncio.run(_served(tmp_path, body, bytes_per_day=cap_bytes, bytes_per_month=cap_bytes))
