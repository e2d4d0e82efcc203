"""Clips and logs whose files vanish or cannot be read: told, set aside, and nothing else waits."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import ExhaustedError
from contracts.ids import PART_BYTES
from contracts.upload import UploadStatus
from edge_agent.ledger import Ledger
from edge_agent.ports import Link
from edge_agent.spool import Receipt
from edge_agent.upload.protocol import Event
from edge_agent.upload.receiver import Receiver
from tests.edge_agent.failing_reads import FailingReads
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import (
    BOOT,
    LARGE,
    SMALL,
    Rig,
    add_clip,
    clip_bytes,
    deadline,
    open_spool,
    run,
)


def stones(ledger: Ledger) -> list[tuple[str, str]]:
    return [(stone.clip_id, stone.reason) for _, stone in ledger.tombstones.after()]


@pytest.mark.parametrize("gone", [(".mcap",), (".mcap", ".json")])
def test_a_clip_that_vanishes_before_it_is_sent_is_on_record_and_asks_for_nothing(
    tmp_path: Path, gone: tuple[str, ...]
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        lost = add_clip(vehicle.spool, clip_bytes(1, SMALL), 1, priority="high")
        kept = add_clip(vehicle.spool, clip_bytes(2, SMALL), 2)
        for suffix in gone:
            vehicle.spool.path(lost.clip_id).with_suffix(suffix).unlink()
        report = await vehicle.uploader.drain()
        assert (report.uploaded, report.kept) == ((kept.clip_id,), ())
        assert simulator.requests.count("POST /v1/uploads") == 1
        assert stones(vehicle.ledger) == [(lost.clip_id, "missing")]
        await vehicle.restart()
        assert stones(vehicle.ledger) == [(lost.clip_id, "missing")]

    run(tmp_path, ReceiverSimulator(), body)


def test_a_clip_that_vanishes_while_it_is_sent_is_on_record_and_the_next_one_goes(
    tmp_path: Path,
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        lost = add_clip(vehicle.spool, clip_bytes(1, LARGE), 1, priority="high")
        kept = add_clip(vehicle.spool, clip_bytes(2, SMALL), 2)

        def on_chunk() -> None:
            if simulator.body_bytes > PART_BYTES + 100_000:
                vehicle.spool.path(lost.clip_id).unlink(missing_ok=True)

        simulator.on_body_chunk = on_chunk
        report = await vehicle.uploader.drain(deadline(vehicle))
        assert (report.uploaded, report.kept) == ((kept.clip_id,), ())
        assert stones(vehicle.ledger) == [(lost.clip_id, "missing")]
        assert len(simulator.requests) < 20

    run(tmp_path, ReceiverSimulator(), body)


def test_a_clip_that_vanishes_as_a_part_begins_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the file and its opening; the part is resumed in its middle."""

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        content = clip_bytes(1, LARGE)
        entry = add_clip(vehicle.spool, content)
        simulator.script = "b"
        await vehicle.uploader.drain()
        simulator.held[entry.clip_id].content += content[:1000]
        await vehicle.restart()
        send_part = Receiver.send_part

        async def just_gone(self: Receiver, *arguments: object) -> Event:
            vehicle.spool.path(entry.clip_id).unlink(missing_ok=True)
            return await send_part(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Receiver, "send_part", just_gone)
        simulator.requests.clear()
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 60 * NS_PER_S)
        assert (report.uploaded, report.kept) == ((), ())
        assert stones(vehicle.ledger) == [(entry.clip_id, "missing")]
        assert "PATCH /v1/tus/" + entry.clip_id[:4] not in simulator.requests

    run(tmp_path, ReceiverSimulator(), body)


def test_a_spool_whose_clips_vanish_says_so_once(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    spool = open_spool(tmp_path / "spool", ledger, clock, quota_bytes=5 * SMALL)
    entries = [add_clip(spool, clip_bytes(number, SMALL), number) for number in range(5)]
    ids = [entry.clip_id for entry in entries]
    receipts = [
        Receipt(spool.request(clip_id), UploadStatus(clip_id=clip_id, state="committed"))
        for clip_id in ids
    ]
    for clip_id in ids:
        spool.path(clip_id).unlink()
    for clip_id in ids[1:4]:
        spool.path(clip_id).with_suffix(".json").unlink()
    spool.path(ids[4]).with_suffix(".json").write_bytes(b"{")
    spool.quarantine(ids[0], "cannot be read")
    spool.mark_uploaded(receipts[1])
    with pytest.raises(FileNotFoundError):
        spool.request(ids[2])
    assert not spool.evict(ids[3], "room")
    spool.quarantine(ids[4], "cannot be read")
    assert stones(ledger) == [(clip_id, "missing") for clip_id in ids]
    assert [stone.uploaded for _, stone in ledger.tombstones.after()] == [
        False, True, False, False, False
    ]  # fmt: skip
    assert spool.queue() == ()
    with pytest.raises(FileNotFoundError):
        spool.request(ids[2])
    for clip_id in ids:
        spool.quarantine(clip_id, "again")
        spool.mark_uploaded(receipts[0])
    assert len(stones(ledger)) == 5


def test_a_clip_that_rots_with_its_sidecar_is_on_record(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    spool = open_spool(tmp_path / "spool", ledger, clock)
    entry = add_clip(spool, clip_bytes(1, SMALL))
    path = spool.path(entry.clip_id)
    path.with_suffix(".json").write_bytes(b"{")
    path.write_bytes(b"TRUNCATED")
    with pytest.raises(FileNotFoundError):
        spool.request(entry.clip_id)
    assert stones(ledger) == [(entry.clip_id, "damaged")]


@pytest.mark.parametrize("link", [Link("wifi"), Link("wifi", metered=True)])
@pytest.mark.parametrize("held_bytes", [0, 1000])
def test_a_clip_that_cannot_be_read_is_put_off_and_the_next_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Link, held_bytes: int
) -> None:
    """Copied by the kernel or through the buffer; from its start or resumed in mid-part."""
    reads = FailingReads(monkeypatch)

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        content = clip_bytes(1, LARGE)
        broken = add_clip(vehicle.spool, content, 1, priority="high")
        simulator.script = "b"
        await vehicle.uploader.drain()
        simulator.held[broken.clip_id].content += content[:held_bytes]
        await vehicle.restart()
        kept = add_clip(vehicle.spool, clip_bytes(2, SMALL), 2)
        path = vehicle.spool.path(broken.clip_id)
        reads.paths.add(path)
        simulator.requests.clear()
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 1800 * NS_PER_S)
        assert report.uploaded == (kept.clip_id,)
        assert report.kept == ((broken.clip_id, f"{path}: cannot be read: Input/output error"),)
        assert len(simulator.requests) < 12
        assert stones(vehicle.ledger) == []
        reads.paths.clear()
        report = await vehicle.uploader.drain(deadline(vehicle, 2))
        assert report.uploaded == (broken.clip_id,)

    run(tmp_path, ReceiverSimulator(), body, link=link)


def test_a_folder_in_a_clip_s_place_is_set_aside(tmp_path: Path) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        broken = add_clip(vehicle.spool, clip_bytes(1, SMALL), 1, priority="high")
        kept = add_clip(vehicle.spool, clip_bytes(2, SMALL), 2)
        vehicle.spool.path(broken.clip_id).unlink()
        vehicle.spool.path(broken.clip_id).mkdir()
        report = await vehicle.uploader.drain()
        assert (report.uploaded, report.kept) == ((kept.clip_id,), ())
        assert stones(vehicle.ledger) == [(broken.clip_id, "damaged")]

    run(tmp_path, ReceiverSimulator(), body)


def test_a_quarantine_without_room_does_not_hold_up_the_next_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        broken = add_clip(vehicle.spool, clip_bytes(1, SMALL), 1, priority="high")
        kept = add_clip(vehicle.spool, clip_bytes(2, SMALL), 2)
        vehicle.spool.path(broken.clip_id).write_bytes(b"short")

        def full(*_: object) -> None:
            raise ExhaustedError("the disk is full")

        monkeypatch.setattr(vehicle.spool, "quarantine", full)
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 90 * NS_PER_S)
        assert report.uploaded == (kept.clip_id,)
        assert report.kept == ((broken.clip_id, "the disk is full"),)

    run(tmp_path, ReceiverSimulator(), body)


def test_a_ledger_that_fails_once_does_not_give_a_clip_s_bytes_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day's cap has room for one of the two."""

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        urgent = add_clip(vehicle.spool, clip_bytes(1, 60 * SMALL), 1, priority="high")
        other = add_clip(vehicle.spool, clip_bytes(2, 60 * SMALL), 2)
        debit, failures = vehicle.ledger.cellular.debit, [ExhaustedError("the disk is full")]

        def fail_once(granted_bytes: int) -> int:
            if failures:
                raise failures.pop()
            return debit(granted_bytes)

        monkeypatch.setattr(vehicle.ledger.cellular, "debit", fail_once)
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 120 * NS_PER_S)
        assert not failures
        assert report.uploaded == (urgent.clip_id,)
        assert report.kept == ((other.clip_id, "cellular_budget"),)

    run(
        tmp_path, ReceiverSimulator(), body,
        link=Link("cellular", metered=True), bytes_per_day=90 * SMALL,
        event_reserve_bytes=SMALL, slack_bytes=SMALL,
    )  # fmt: skip


def test_a_log_that_cannot_be_read_is_left_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = FailingReads(monkeypatch)
    logs = tmp_path / "signals"
    logs.mkdir()
    for age, name in enumerate(("folder", "broken", "whole")):
        path = logs / f"{name}.ltsl"
        path.mkdir() if name == "folder" else path.write_bytes(name.encode())
        os.utime(path, (age, age))
    reads.paths.add(logs / "broken.ltsl")

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        vehicle.uploader.send_logs_of(logs, lambda: None)
        await vehicle.uploader.drain(vehicle.clock.mono_ns() + 1800 * NS_PER_S)
        assert simulator.logs == [b"whole"]
        assert sorted(path.name for path in logs.iterdir()) == [
            "broken.ltsl", "folder.ltsl", "whole.sent.ltsl"
        ]  # fmt: skip
        assert not vehicle.uploader.has_waiting()
        reads.paths.clear()
        vehicle.clock.set_mono_ns(deadline(vehicle, 2))
        assert vehicle.uploader.has_waiting()
        await vehicle.uploader.drain()
        assert simulator.logs == [b"whole", b"broken"]

    run(tmp_path / "vehicle", ReceiverSimulator(), body)


def test_a_log_that_cannot_be_marked_is_not_sent_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "signals"
    logs.mkdir()
    for name in ("first", "second"):
        (logs / f"{name}.ltsl").write_bytes(name.encode())
    os.utime(logs / "first.ltsl", (1, 1))
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == "first.ltsl":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)

    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        vehicle.uploader.send_logs_of(logs, lambda: None)
        await vehicle.uploader.drain(vehicle.clock.mono_ns() + 1800 * NS_PER_S)
        assert simulator.logs == [b"first", b"second"]

    run(tmp_path / "vehicle", ReceiverSimulator(), body)
