"""The upload client against the simulated receiver, with faults as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.clock import NS_PER_S
from contracts.errors import ConflictError, RefusedError
from contracts.ids import PART_BYTES
from contracts.upload import UploadAnswer
from edge_agent.ports import Link
from tests.edge_agent.receiver_simulator import RETRY_AFTER_S, ReceiverSimulator
from tests.edge_agent.upload_rig import (
    LARGE,
    SMALL,
    Rig,
    add_clip,
    clip_bytes,
    deadline,
    run,
)


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
