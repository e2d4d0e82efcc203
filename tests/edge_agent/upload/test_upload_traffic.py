"""What goes over a link, in which order and at which pace, and what a cap holds back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES
from edge_agent.ports import Link
from edge_agent.upload.payload import Pace
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import (
    LARGE,
    SMALL,
    Rig,
    add_clip,
    clip_bytes,
    deadline,
    record,
    rig,
    run,
)


def test_cellular_carries_what_is_allowed_and_counts_it(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        allowed = add_clip(vehicle.spool, clip_bytes(18, LARGE), 1)
        forbidden = add_clip(vehicle.spool, clip_bytes(19, SMALL), 2, cellular="forbidden")
        report = await vehicle.uploader.drain()
        assert report.uploaded == (allowed.clip_id,)
        assert report.kept == ((forbidden.clip_id, "cellular_forbidden"),)
        spent = vehicle.ledger.cellular.spent()
        assert LARGE < spent.day_bytes < LARGE * 1.1
        # Closing packets may still come; what is counted is all that the client saw.
        assert abs(spent.day_bytes - vehicle.meter.total_bytes()) < 2_000

    run(tmp_path, ReceiverSimulator(), body, link=Link("wifi", metered=True))


def test_the_cap_holds_over_faults_and_restarts(tmp_path: Path) -> None:
    cap_bytes = 3 * PART_BYTES

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        for number in range(3):
            add_clip(vehicle.spool, clip_bytes(20 + number, LARGE), number)
        simulator.script = "rdEaxd"
        wire_bytes = 0
        for _ in range(6):
            report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 1200 * NS_PER_S)
            wire_bytes += report.wire_bytes
            await vehicle.restart()
        assert simulator.body_bytes < wire_bytes <= cap_bytes
        assert wire_bytes <= vehicle.ledger.cellular.spent().day_bytes + 2_000
        assert len(vehicle.spool.queue()) >= 2

    run(tmp_path, ReceiverSimulator(), body, link=Link("cellular"), bytes_per_day=cap_bytes)


def test_events_go_first_and_survive(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        add_clip(vehicle.spool, clip_bytes(30, SMALL))
        for number in range(3):
            vehicle.ledger.outbox.put(record(number))
        await vehicle.receiver.authenticate(renew=False)
        simulator.script, simulator.faulty = "Drb", ("POST",)
        simulator.requests.clear()
        report = await vehicle.uploader.drain()
        assert report.events_sent == 2
        assert len(simulator.events) == 2
        assert len(vehicle.ledger.outbox.refused()) == 1
        assert vehicle.ledger.outbox.waiting() == ()
        first_upload = simulator.requests.index("POST /v1/uploads")
        assert simulator.requests[:first_upload].count("POST /v1/events") == first_upload

    run(tmp_path, ReceiverSimulator(), body)


def test_an_event_that_fails_does_not_hold_up_clips_and_is_tried_again(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(30, SMALL))
        vehicle.ledger.outbox.put(record(1))
        await vehicle.receiver.authenticate(renew=False)
        simulator.script, simulator.faulty = "E", ("POST",)
        report = await vehicle.uploader.drain()
        assert (report.uploaded, report.events_kept) == ((entry.clip_id,), 1)
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert (report.events_sent, report.events_kept) == (1, 0)

    run(tmp_path, ReceiverSimulator(), body)


def test_no_link_sends_nothing(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(30, SMALL))
        vehicle.ledger.outbox.put(record(1))
        vehicle.link.change(Link("none"))
        simulator.requests.clear()
        report = await vehicle.uploader.drain()
        assert report.kept == ((entry.clip_id, "no_link"),)
        assert (report.events_kept, simulator.requests) == (1, [])

    run(tmp_path, ReceiverSimulator(), body)


def test_a_record_during_which_the_link_turns_metered_is_charged(tmp_path: Path) -> None:
    class Roaming(ReceiverSimulator):
        async def _event(self, request: web.Request) -> web.Response:
            roam()
            return await super()._event(request)

    def roam() -> None:
        vehicles[0].link.change(Link("cellular"))

    vehicles: list[Rig] = []

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        vehicles.append(vehicle)
        await vehicle.receiver.authenticate(renew=False)
        vehicle.ledger.outbox.put(record(1))
        before = vehicle.meter.total_bytes()
        assert (await vehicle.uploader.drain()).events_sent == 1
        sent = vehicle.meter.total_bytes() - before
        assert vehicle.ledger.cellular.spent().day_bytes >= sent - 300 > 500

    run(tmp_path, Roaming(), body)


def test_a_more_urgent_clip_goes_ahead_between_parts(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        slow = add_clip(vehicle.spool, clip_bytes(31, LARGE), 1, priority="low")
        urgent: list[str] = []

        def on_chunk() -> None:
            if not urgent:
                entry = add_clip(vehicle.spool, clip_bytes(32, SMALL), 2, priority="interactive")
                urgent.append(entry.clip_id)

        simulator.on_body_chunk = on_chunk
        report = await vehicle.uploader.drain()
        assert report.uploaded == (urgent[0], slow.clip_id)
        assert simulator.body_bytes == LARGE + SMALL

    run(tmp_path, ReceiverSimulator(), body)


def test_run_stops_when_told_and_wakes_for_work(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        stop = asyncio.Event()
        task = asyncio.ensure_future(vehicle.uploader.run(stop))
        entry = add_clip(vehicle.spool, clip_bytes(33, SMALL))
        vehicle.uploader.wake()
        while vehicle.spool.queue():  # noqa: ASYNC110 - the part under test runs beside
            await asyncio.sleep(0)
        stop.set()
        await task
        assert simulator.held[entry.clip_id].committed

    run(tmp_path, ReceiverSimulator(), body)


def test_shaping_paces_on_the_clock(tmp_path: Path) -> None:
    async def go() -> None:
        simulator = ReceiverSimulator()
        async with simulator.serve() as base_url:
            vehicle = rig(tmp_path, base_url)
            vehicle.transport_limits = type(vehicle.transport_limits)(bytes_per_s=100_000)
            await vehicle.restart()
            await vehicle.receiver.enrol(None)
            add_clip(vehicle.spool, clip_bytes(36, 500_000))
            begin_ns = vehicle.clock.mono_ns()
            report = await vehicle.uploader.drain()
            assert len(report.uploaded) == 1
            # The pause after the last piece is not waited for when the answer comes first.
            took_ns = vehicle.clock.mono_ns() - begin_ns
            assert 4.7 * NS_PER_S <= took_ns <= 5 * NS_PER_S
            await vehicle.close()

    asyncio.run(go())


def test_advice_paces_beside_the_limits() -> None:
    clock = VirtualClock()
    pace = Pace(100_000, clock)
    pace.advise(50_000.0)
    assert pace(50_000) == 1.0
    pace.advise(1_000_000.0)
    assert pace(100_000) == 2.0  # the configured limit, behind what was sent before
    for nothing in (None, float("nan"), float("inf")):
        free = Pace(None, clock)
        free.advise(nothing)
        assert free(10**9) == 0.0
    free.advise(-5.0)
    assert free(16_000) == 1.0
