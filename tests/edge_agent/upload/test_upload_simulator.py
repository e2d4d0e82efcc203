"""The upload client against the simulated receiver, with faults as data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import ConflictError, RefusedError
from contracts.ids import PART_BYTES
from contracts.upload import UploadAnswer
from edge_agent.ports import Link
from edge_agent.upload.payload import Pace
from tests.edge_agent.receiver_simulator import RETRY_AFTER_S, ReceiverSimulator
from tests.edge_agent.upload_rig import Rig, add_clip, clip_bytes, record, rig

LARGE = 2 * PART_BYTES + 12_345
SMALL = 10_000
HOUR_NS = 3600 * NS_PER_S

Body = Callable[[Rig, ReceiverSimulator], Awaitable[None]]


def run(folder: Path, simulator: ReceiverSimulator, body: Body, **options: object) -> None:
    """Run `body` on a vehicle that is enrolled with the simulator."""

    async def go() -> None:
        async with simulator.serve() as base_url:
            vehicle = rig(folder, base_url, **options)  # type: ignore[arg-type]
            try:
                await vehicle.receiver.enrol(None)
                await body(vehicle, simulator)
            finally:
                await vehicle.close()

    asyncio.run(go())


def deadline(vehicle: Rig, hours: float = 1.0) -> int:
    return vehicle.clock.mono_ns() + int(hours * HOUR_NS)


def test_uploads_a_clip_and_proves_it(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        content = clip_bytes(1, LARGE)
        entry = add_clip(vehicle.spool, content)
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,)
        assert report.kept == ()
        assert simulator.held[entry.clip_id].content == content
        assert simulator.requests.count("PATCH /v1/tus/" + entry.clip_id[:4]) == 3
        assert report.wire_bytes > LARGE
        assert vehicle.spool.queue() == ()
        assert [row.entry.state for row in vehicle.spool.ls() if row.entry] == ["uploaded"]

    run(tmp_path, ReceiverSimulator(), body)


@pytest.mark.parametrize(
    ("script", "faulty"),
    [
        ("rEErr", ("PATCH",)),
        ("rDdar", ("PATCH",)),
        ("rcGr", ("PATCH",)),
        ("xrx", ("PATCH",)),
        ("Lr", ("PATCH",)),
        ("LEDu", ("HEAD",)),
        ("uruE", ("PATCH",)),
        ("EgLDr", ("GET",)),
        ("JrErL", ("POST", "GET", "HEAD")),
        ("raraada", ("PATCH", "HEAD", "GET")),
    ],
)
def test_recovers_from_faults(tmp_path: Path, script: str, faulty: tuple[str, ...]) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        content = clip_bytes(2, LARGE)
        entry = add_clip(vehicle.spool, content)
        simulator.script, simulator.faulty = script, faulty
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert report.uploaded == (entry.clip_id,), report
        assert simulator.held[entry.clip_id].content == content
        assert simulator.script == ""

    run(tmp_path, ReceiverSimulator(), body)


@pytest.mark.parametrize("letter", ["f", "b", "m", "R"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "HEAD"])
def test_a_refusal_is_not_success_and_is_not_repeated(
    tmp_path: Path, letter: str, method: str
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(3, SMALL))
        await vehicle.receiver.authenticate(renew=False)
        simulator.script, simulator.faulty = letter * 99, (method,)
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 600 * NS_PER_S)
        assert report.uploaded == ()
        assert [clip_id for clip_id, _ in report.kept] == [entry.clip_id]
        assert len(simulator.script) == 98
        assert vehicle.spool.queue() == (entry,)

    run(tmp_path, ReceiverSimulator(), body)


def test_a_refused_clip_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        first = add_clip(vehicle.spool, clip_bytes(4, SMALL), 1, priority="high")
        second = add_clip(vehicle.spool, clip_bytes(5, SMALL), 2)
        simulator.script = "b"
        report = await vehicle.uploader.drain()
        assert report.uploaded == (second.clip_id,)
        assert report.kept == ((first.clip_id, "413 scripted_b: scripted"),)

    run(tmp_path, ReceiverSimulator(), body)


@pytest.mark.parametrize("letter", ["S", "T"])
def test_backpressure_is_obeyed_and_never_early(tmp_path: Path, letter: str) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        add_clip(vehicle.spool, clip_bytes(6, SMALL), 1)
        add_clip(vehicle.spool, clip_bytes(7, SMALL), 2)
        simulator.script = letter
        begin_ns = vehicle.clock.mono_ns()
        report = await vehicle.uploader.drain()
        assert report.uploaded == ()
        asked = len(simulator.requests)
        report = await vehicle.uploader.drain(begin_ns + (RETRY_AFTER_S - 1) * NS_PER_S)
        assert (report.uploaded, len(simulator.requests)) == ((), asked)
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert len(report.uploaded) == 2
        assert vehicle.clock.mono_ns() - begin_ns >= RETRY_AFTER_S * NS_PER_S

    run(tmp_path, ReceiverSimulator(), body)


def test_one_new_token_then_refused(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(8, SMALL))
        await vehicle.receiver.authenticate(renew=False)
        simulator.revoke_tokens()
        assert (await vehicle.uploader.drain()).uploaded == (entry.clip_id,)
        add_clip(vehicle.spool, clip_bytes(9, SMALL), 2)
        simulator.script = "u" * 99
        report = await vehicle.uploader.drain()
        assert report.uploaded == ()
        assert len(simulator.script) == 97

    run(tmp_path, ReceiverSimulator(), body)


def test_an_unknown_vehicle_is_refused_and_waits(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        add_clip(vehicle.spool, clip_bytes(8, SMALL))
        simulator.keys.clear()
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 60 * NS_PER_S)
        assert report.uploaded == ()
        assert "bad_signature" in report.kept[0][1]
        assert simulator.requests.count("POST /v1/auth/tok") == 1

    run(tmp_path, ReceiverSimulator(), body)


def test_have_it_is_believed_only_when_committed(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(10, SMALL))
        clip_id = entry.clip_id
        lie = UploadAnswer(answer="have_it", clip_id=clip_id)
        simulator.declare_answers[clip_id] = lie
        report = await vehicle.uploader.drain()
        assert report.uploaded == ()
        del simulator.declare_answers[clip_id]
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert report.uploaded == (clip_id,)
        again = add_clip(vehicle.spool, clip_bytes(10, SMALL))
        assert (again.clip_id, again.state) == (clip_id, "uploaded")

    run(tmp_path, ReceiverSimulator(), body)


def test_lying_status_is_no_receipt(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(11, SMALL))
        simulator.script, simulator.faulty = "L" * 99, ("GET",)
        report = await vehicle.uploader.drain()
        assert (report.uploaded, vehicle.spool.queue()) == ((), (entry,))

    run(tmp_path, ReceiverSimulator(), body)


def test_not_wanted_and_wait(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        plain = add_clip(vehicle.spool, clip_bytes(12, SMALL), 1)
        safety = add_clip(vehicle.spool, clip_bytes(13, SMALL), 2, safety=True)
        later = add_clip(vehicle.spool, clip_bytes(14, SMALL), 3)
        for entry in (plain, safety):
            simulator.declare_answers[entry.clip_id] = UploadAnswer(
                answer="not_wanted", clip_id=entry.clip_id, reason="quota"
            )
        simulator.declare_answers[later.clip_id] = UploadAnswer(
            answer="wait", clip_id=later.clip_id, retry_after_s=20
        )
        report = await vehicle.uploader.drain()
        assert report.uploaded == ()
        assert [entry.clip_id for entry in vehicle.spool.queue()] == [
            safety.clip_id,
            later.clip_id,
        ]
        simulator.declare_answers.clear()
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 60 * NS_PER_S)
        assert report.uploaded == (later.clip_id,)

    run(tmp_path, ReceiverSimulator(), body)


def test_a_clip_that_rotted_is_quarantined(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(15, LARGE))
        path = vehicle.spool.path(entry.clip_id)
        content = bytearray(path.read_bytes())
        content[PART_BYTES + 5] ^= 1
        path.write_bytes(content)
        report = await vehicle.uploader.drain()
        assert report.uploaded == ()
        assert vehicle.spool.queue() == ()
        quarantined = [row for row in vehicle.spool.ls() if row.kind == "quarantined"]
        assert len(quarantined) == 1
        assert "the bytes are those of clip" in quarantined[0].reason

    run(tmp_path, ReceiverSimulator(), body)


def test_a_truncated_clip_is_quarantined(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(15, LARGE))
        path = vehicle.spool.path(entry.clip_id)
        path.write_bytes(path.read_bytes()[:-1])
        report = await vehicle.uploader.drain()
        assert (report.uploaded, report.kept) == ((), ())
        assert [row.kind for row in vehicle.spool.ls()] == ["quarantined"]

    run(tmp_path, ReceiverSimulator(), body)


def test_resumes_in_the_middle_of_a_part_after_a_restart(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        content = clip_bytes(16, LARGE)
        entry = add_clip(vehicle.spool, content)
        simulator.script = "b"
        await vehicle.uploader.drain()
        simulator.held[entry.clip_id].content += content[: PART_BYTES + 1000]
        await vehicle.restart()
        simulator.body_bytes = 0
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,)
        assert simulator.body_bytes == LARGE - PART_BYTES - 1000

    run(tmp_path, ReceiverSimulator(), body)


def test_a_link_that_turns_metered_stops_the_part_at_once(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(17, LARGE), cellular="forbidden")

        def on_chunk() -> None:
            if simulator.body_bytes > PART_BYTES + 100_000:
                vehicle.link.change(Link("cellular", metered=True))

        simulator.on_body_chunk = on_chunk
        report = await vehicle.uploader.drain()
        assert report.uploaded == ()
        assert report.kept[0][1] in ("link_metered", "cellular_forbidden")
        assert len(simulator.held[entry.clip_id].content) == PART_BYTES
        assert simulator.body_bytes < 2 * PART_BYTES
        simulator.on_body_chunk = lambda: None
        vehicle.link.change(Link("wifi"))
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,)

    run(tmp_path, ReceiverSimulator(), body)


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


def test_a_token_is_never_sent_to_another_origin(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        add_clip(vehicle.spool, clip_bytes(34, SMALL))
        simulator.location_prefix = "http://192.0.2.7"
        report = await vehicle.uploader.drain()
        assert "not at the receiver's origin" in report.kept[0][1]

    run(tmp_path, ReceiverSimulator(), body)


def test_polls_until_committed(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(35, SMALL))
        simulator.polls_until_committed = 5
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert report.uploaded == (entry.clip_id,)

    run(tmp_path, ReceiverSimulator(), body)


def test_enrolment_needs_the_token_that_is_asked_for(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        simulator.enrolment_token = "good"
        with pytest.raises(RefusedError, match="bad_token"):
            await vehicle.receiver.enrol("bad")
        assert (await vehicle.receiver.enrol("good")).vehicle_id == "car-1"
        simulator.script, simulator.faulty = "c", ("POST",)
        with pytest.raises(ConflictError):
            await vehicle.receiver.enrol("good")

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
