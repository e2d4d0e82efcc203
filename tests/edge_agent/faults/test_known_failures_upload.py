"""Uploads that were lost or taken for sent: failures known from other agents.

Each is a way in which a recorder on a vehicle has lost, doubled or overspent something in the
field while every part of it worked as written.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES
from contracts.signal_log import SIGNAL_LOG_SUFFIX
from contracts.upload import UploadRequest, UploadStatus
from edge_agent.ledger import Ledger
from edge_agent.spool import Entry, Receipt, list_spool
from edge_agent.spool import spool as spool_module
from edge_agent.spool.eviction import Rank, choose_victims
from edge_agent.upload.protocol import Authenticated, Event, Finish, Replied, Started, Uploaded
from edge_agent.upload.session import UploadSession
from edge_agent.upload.signal_logs import REFUSED, SENT
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload.test_upload_session import SIZE, UP_TO_PART, at, declared
from tests.edge_agent.upload_rig import (
    BOOT,
    Rig,
    add_clip,
    cause,
    clip_bytes,
    open_spool,
    record,
    request_for,
    rig,
)

PHASES: dict[str, Sequence[Event]] = {
    "declare": (Authenticated(),),
    "offset": (Authenticated(), declared()),
    "part": UP_TO_PART,
    "status": (*UP_TO_PART, at(PART_BYTES), at(2 * PART_BYTES), at(SIZE)),
}
SMALL = 10_000
LARGE = 2 * PART_BYTES + 12_345


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "status", [100, 202, 204, 301, 304, 400, 401, 402, 403, 404, 409, 412, 413, 418, 451, 500, 507]
)
def test_no_status_alone_marks_a_clip_as_uploaded(phase: str, status: int) -> None:
    """401, 403 and 412 least of all; a bare 2xx proves nothing either."""
    session = UploadSession(request_for(clip_bytes(1, SIZE)))
    command = session.step(Started())
    for event in PHASES[phase]:
        command = session.step(event)
    for _ in range(50):
        if isinstance(command, Finish):
            break
        command = session.step(Replied(status))
    assert not (isinstance(command, Finish) and isinstance(command.outcome, Uploaded))


@pytest.mark.parametrize("letter", ["u", "f", "p", "b"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "GET"])
def test_401_403_412_and_413_leave_the_clip_in_the_queue(
    tmp_path: Path, letter: str, method: str
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(3, SMALL))
        await vehicle.receiver.authenticate(renew=False)
        simulator.script, simulator.faulty = letter * 99, (method,)
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 600 * NS_PER_S)
        assert report.uploaded == ()
        assert vehicle.spool.queue() == (entry,)
        simulator.script = ""
        await vehicle.restart()
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 7200 * NS_PER_S)
        assert report.uploaded == (entry.clip_id,)

    served(tmp_path, body)


def test_an_oversized_file_is_refused_and_never_marked_as_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.upload.signal_logs.MAX_SIGNAL_LOG_BYTES", 1000)
    logs = tmp_path / "signals"
    logs.mkdir()
    (logs / f"boot-1{SIGNAL_LOG_SUFFIX}").write_bytes(bytes(1001))

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        vehicle.uploader.send_logs_of(logs, lambda: None)
        await vehicle.uploader.drain(vehicle.clock.mono_ns() + 60 * NS_PER_S)
        add_clip(vehicle.spool, clip_bytes(3, SMALL))
        simulator.script, simulator.faulty = "b" * 9, ("PATCH",)
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 60 * NS_PER_S)
        assert report.uploaded == ()
        assert "413" in report.kept[0][1]
        names = [path.name for path in logs.iterdir()]
        assert names and all(REFUSED in name and SENT not in name for name in names)

    served(tmp_path, body)


def test_a_clip_that_is_held_after_it_was_chosen_to_go_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload takes a clip up between the choice of what goes and its removal."""
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    spool = open_spool(tmp_path / "spool", ledger, clock, quota_bytes=2 * SMALL)
    first = add_clip(spool, clip_bytes(1, SMALL), 1, value=1.0)
    second = add_clip(spool, clip_bytes(2, SMALL), 2, value=2.0)
    holding = spool.hold(first.clip_id)
    chosen: list[tuple[str, ...]] = []

    def choose(entries: Sequence[Entry], needed: int, below: Rank | None = None):  # type: ignore[no-untyped-def]
        victims = choose_victims(entries, needed, below)
        if victims and not chosen:
            holding.__enter__()
        chosen.append(tuple(victim.clip_id for victim in victims or ()))
        return victims

    monkeypatch.setattr(spool_module, "choose_victims", choose)
    add_clip(spool, clip_bytes(3, SMALL), 3, value=3.0)
    holding.__exit__(None, None, None)
    assert chosen == [(first.clip_id,), (second.clip_id,)]
    assert spool.path(first.clip_id).exists()
    assert [stone.clip_id for _, stone in ledger.tombstones.after()] == [second.clip_id]


def test_a_clip_that_is_going_cannot_be_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    spool = open_spool(tmp_path / "spool", ledger, clock)
    entry = add_clip(spool, clip_bytes(1, SMALL), 1)
    add = ledger.tombstones.add

    def while_it_goes(stone) -> bool:  # type: ignore[no-untyped-def]
        with pytest.raises(FileNotFoundError), spool.hold(entry.clip_id):
            pass
        return add(stone)

    monkeypatch.setattr(ledger.tombstones, "add", while_it_goes)
    assert spool.evict(entry.clip_id, "room")
    assert spool.queue() == ()


def test_what_is_being_sent_is_still_in_the_queue_on_disk(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entry = add_clip(vehicle.spool, clip_bytes(1, LARGE))
        vehicle.ledger.outbox.put(record(1))
        copies: list[Path] = []

        def on_chunk() -> None:
            if simulator.body_bytes > PART_BYTES and not copies:
                copies.append(tmp_path / "as-it-was")
                shutil.copytree(vehicle.folder, copies[0])

        simulator.on_body_chunk = on_chunk
        assert (await vehicle.uploader.drain()).uploaded == (entry.clip_id,)
        (row,) = list_spool(copies[0] / "spool")
        assert row.entry is not None and row.entry.state == "queued"
        ledger = Ledger(copies[0] / "ledger.sqlite", vehicle.clock, BOOT)
        spool = open_spool(copies[0] / "spool", ledger, vehicle.clock)
        assert spool.queue() == (entry,)
        ledger.close()

    served(tmp_path, body)


def test_an_event_record_under_way_is_still_in_the_outbox(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        vehicle.ledger.outbox.put(record(1))
        await vehicle.receiver.authenticate(renew=False)
        simulator.script, simulator.faulty = "a" * 9, ("POST",)  # taken, and the answer is lost
        await vehicle.uploader.drain(vehicle.clock.mono_ns() + NS_PER_S)
        assert len(vehicle.ledger.outbox.waiting()) == 1
        await vehicle.restart()
        simulator.script = ""
        await vehicle.uploader.drain(vehicle.clock.mono_ns() + 60 * NS_PER_S)
        assert vehicle.ledger.outbox.waiting() == ()
        assert len(simulator.events) == 1

    served(tmp_path, body)


def served(folder: Path, body) -> None:  # type: ignore[no-untyped-def]
    async def go() -> None:
        simulator = ReceiverSimulator()
        async with simulator.serve() as base_url:
            vehicle = rig(folder / "vehicle", base_url)
            try:
                await vehicle.uploader.enrol(None)
                await body(vehicle, simulator)
            finally:
                await vehicle.close()

    asyncio.run(go())


def test_a_receipt_for_other_bytes_is_none() -> None:
    request: UploadRequest = request_for(b"abc")
    other = UploadStatus(clip_id=request.clip_id, state="committed", size_bytes=2**32 + 3)
    with pytest.raises(Exception, match="of 3"):
        Receipt(request, other)
    assert cause().trigger_id
