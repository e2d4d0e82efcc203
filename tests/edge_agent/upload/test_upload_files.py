"""Clips and logs whose files vanish or cannot be read: told, set aside, and nothing else waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES
from contracts.upload import UploadStatus
from edge_agent.ledger import Ledger
from edge_agent.spool import Receipt
from edge_agent.upload.protocol import Event
from edge_agent.upload.receiver import Receiver
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
