"""Packing when things go wrong: a broken picture, a ledger that fails, no room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg

from contracts.clip import Cause
from contracts.clock import NS_PER_S, ClockQuality, VirtualClock
from contracts.ids import EventKey
from contracts.samples import ImageSample
from contracts.trigger_spec import parse_spec
from contracts.upload import MAX_EVENT_BYTES, EventRecord
from edge_agent.clips.describe import describe_clip
from edge_agent.clips.event_records import EventTeller, fitting
from edge_agent.clips.pack import DriveFacts, prepare
from edge_agent.clips.packer import PackedClip, Packer
from edge_agent.disk import RealDisk
from edge_agent.ledger import Ledger
from edge_agent.ledger.outbox import event_body
from edge_agent.selection.budget import BudgetBook, VehicleLimits
from edge_agent.selection.capture import CaptureBook, ClipJob
from edge_agent.spool import Spool
from kernels.clip.encoding import EncodedMessage, encode_sample
from kernels.triggers.engine import Fire

FACTS = DriveFacts("d", 0, ClockQuality(synchronised=True), None, {})
SPEC = "apiVersion: longtail/v1\nkind: hard_brake\nid: hard-brake\nversion: 1\nowner: x\n"


def job() -> ClipJob:
    book = CaptureBook("v", "b")
    at_ns = 10 * NS_PER_S
    book.add(Fire(parse_spec(SPEC, "s"), at_ns, at_ns, at_ns, 1.0, {"decel_mps2": 4.0}, ""))
    (made,) = book.flush()
    return made


def image(at_s: float, content: bytes) -> EncodedMessage:
    at_ns = round(at_s * NS_PER_S)
    return encode_sample(ImageSample("/camera/a", at_ns, "jpeg", content, 0, 0, "a"), 0)


def jpeg() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels))


def test_a_broken_picture_does_not_cost_the_clip() -> None:
    broken = prepare(job(), [image(10.0, b"\xff\xd8 torn"), image(10.5, jpeg())], FACTS)
    whole = prepare(job(), [image(10.5, jpeg())], FACTS)
    assert broken.manifest.scene_hash == whole.manifest.scene_hash is not None
    only = prepare(job(), [image(10.0, b"\xff\xd8 torn")], FACTS)
    assert only.manifest.scene_hash is None


def test_a_record_always_fits_its_size() -> None:
    evidence = {f"perception.some_long_signal_name_{i}": i / 3 for i in range(200)}
    cause = Cause(
        trigger_id="t", trigger_version=1, spec_digest="0" * 64, kind="expression",
        fired_mono_ns=1, start_mono_ns=1, end_mono_ns=1, score=1.0, evidence=evidence,
    )  # fmt: skip
    event = EventKey(vehicle_id="v", boot_id="b", start_mono_ns=1, end_mono_ns=1)
    record = fitting(EventRecord(event=event, utc_ns=1, cause=cause, outcome="captured"))
    assert len(event_body(record).encode()) <= MAX_EVENT_BYTES
    assert 10 < len(record.cause.evidence) < 200
    assert (
        list(record.cause.evidence.items()) == list(evidence.items())[: len(record.cause.evidence)]
    )


class Vehicle:
    """The pack task on a real spool and ledger."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        clock = VirtualClock()
        self.ledger = Ledger(folder / "ledger.sqlite", clock, "b")
        self.spool = Spool(
            folder / "spool", quota_bytes, 0, clock, RealDisk(), self.ledger, describe_clip
        )
        self.events = EventTeller(self.ledger, 0)
        self.packed: list[PackedClip] = []
        book = BudgetBook(self.ledger, VehicleLimits())
        self.packer = Packer(self.spool, book, self.events, FACTS, self.packed.append)
        self.packer.start()


def test_a_clip_without_room_is_told_as_lost(tmp_path: Path) -> None:
    vehicle = Vehicle(tmp_path, quota_bytes=100)
    vehicle.packer.submit(job(), [image(10.0, jpeg())])
    vehicle.packer.finish()
    assert vehicle.packed == []
    assert vehicle.packer.counts["lost"] == 1
    (row,) = vehicle.ledger.outbox.waiting()
    record = EventRecord.model_validate_json(row.body)
    assert record.outcome == "lost"
    assert record.reason is not None
    assert "no room" in record.reason


def test_a_ledger_that_fails_ends_neither_the_task_nor_a_clip(tmp_path: Path) -> None:
    vehicle = Vehicle(tmp_path, quota_bytes=10**8)
    vehicle.ledger.close()  # from here on it answers nothing
    vehicle.packer.submit(job(), [image(10.0, jpeg())])
    vehicle.packer.finish()
    assert [clip.clip_id for clip in vehicle.packed] == [e.clip_id for e in vehicle.spool.queue()]
    assert len(vehicle.packed) == 1


def test_a_ledger_that_fails_while_clips_are_lost_ends_nothing(tmp_path: Path) -> None:
    cramped = Vehicle(tmp_path, quota_bytes=100)
    cramped.ledger.close()
    cramped.packer.submit(job(), [image(10.0, jpeg())])
    cramped.packer.submit(job(), [image(10.0, jpeg())])
    cramped.packer.finish()
    assert cramped.packer.counts["lost"] == 2
    assert cramped.events.untold == 2
