"""The manifest: bounded, signed, with numbers that only rise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.check_in import (
    CHECK_IN_CONTEXT,
    MAX_CHECK_IN_BYTES,
    CheckIn,
    RejectedRelease,
    Suppressed,
)
from contracts.clock import NS_PER_DAY, ClockQuality, VirtualClock
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.ledger import Ledger
from edge_agent.ota.manifest import (
    Figures,
    Sequence,
    VehicleFacts,
    bounded_text,
    build_check_in,
    sign,
)
from edge_agent.ota.ports import RuntimeReport
from edge_agent.ota.state import OtaState
from edge_agent.selection.budget import VehicleLimits
from edge_agent.upload import CellularLimits
from tests.edge_agent.failing_disk import CrashError, FailingDisk
from tests.edge_agent.receiver_simulator import unpad
from tests.edge_agent.upload_rig import BOOT, VEHICLE, add_clip, clip_bytes, open_spool, record


def manifest(**changes: object) -> CheckIn:
    fields = {
        "vehicle_id": VEHICLE, "boot_id": BOOT, "sequence": 1, "nonce": "0" * 32, "utc_ns": 1,
        "mono_ns": 1, "clock": ClockQuality(synchronised=True),
    }  # fmt: skip
    return CheckIn.model_validate({**fields, **changes})


def test_what_is_gathered_is_what_happened(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    spool = open_spool(tmp_path / "spool", ledger, clock)
    facts = VehicleFacts(
        BOOT, lambda: ClockQuality(synchronised=False), VehicleLimits(), CellularLimits(), 10**9
    )
    figures = Figures(ledger, spool, tmp_path, facts)
    entries = [add_clip(spool, clip_bytes(number, 1000), number) for number in range(3)]
    spool.evict(entries[0].clip_id, "room")
    ledger.outbox.put(record())
    ledger.spending.reserve(("brake", 5), "ordinary", 700)
    ledger.spending.reserve(("ttc", 6), "safety", 50)
    ledger.cellular.debit(1234)
    ledger.suppressions.count("old", "budget", 9)
    clock.set_mono_ns(clock.mono_ns() + 2 * NS_PER_DAY)
    ledger.suppressions.count("brake", "cooldown", 3)
    ledger.spending.reserve(("brake", 7), "ordinary", 70)
    made = build_check_in(
        vehicle_id=VEHICLE,
        facts=facts,
        clock=clock,
        sequence=4,
        nonce="1" * 32,
        state=OtaState(taken_up_counter=8),
        report=RuntimeReport(),
        figures=figures,
        reasons={},
        note="n" * 900,
    )
    assert (made.queue.clips, made.queue.size_bytes, made.queue.waiting_events) == (2, 2000, 1)
    assert made.queue.tombstones == 1
    assert [(one.trigger_id, one.reason, one.fires) for one in made.suppressed] == [
        ("brake", "cooldown", 3)
    ]
    assert made.budget is not None
    assert (made.budget.clips, made.budget.size_bytes) == (1, 70)
    assert made.budget.clips_per_day == VehicleLimits().clips_per_day
    assert (made.budget.cellular_day_bytes, made.budget.cellular_month_bytes) == (0, 1234)
    assert made.disk is not None
    assert 0 < made.disk.free_bytes <= made.disk.total_bytes
    assert made.assignment_counter == 8
    assert len(made.ota_note) == 500
    ledger.close()


def test_too_long_a_manifest_sheds_its_oldest_counts_and_says_so() -> None:
    rows = tuple(
        Suppressed(day=number // 2500, trigger_id=f"t{number:04}" * 10, reason="budget", fires=1)
        for number in range(5000)
    )
    text = bounded_text(manifest(suppressed=rows, ota_note="all is well"))
    read = CheckIn.model_validate_json(text)
    left_out = 5000 - len(read.suppressed)
    assert MAX_CHECK_IN_BYTES - 500 < len(text.encode()) <= MAX_CHECK_IN_BYTES
    assert 0 < left_out < 5000
    assert read.suppressed == rows[left_out:]
    assert f"{left_out} suppression counts left out" in read.ota_note
    assert "all is well" in read.ota_note


def test_other_rows_go_when_the_counts_were_not_enough() -> None:
    rejected = tuple(
        RejectedRelease(slot=f"trigger:{n}", digest="a" * 64, stage="verify", reason="é" * 500)
        for n in range(200)
    )
    text = bounded_text(manifest(rejected=rejected), most_bytes=20_000)
    read = CheckIn.model_validate_json(text)
    assert len(text.encode()) <= 20_000
    assert read.rejected == rejected[200 - len(read.rejected) :] != ()


def test_a_short_manifest_is_left_as_it_is() -> None:
    made = manifest(ota_note="well")
    assert CheckIn.model_validate_json(bounded_text(made)) == made


def test_the_signature_is_over_context_and_exact_text(tmp_path: Path) -> None:
    key = VehicleKey.load_or_create(tmp_path / "key.pem", VEHICLE, RealDisk())
    text = bounded_text(manifest())
    signed = sign(text, key)
    public = Ed25519PublicKey.from_public_bytes(unpad(key.public_key))
    public.verify(unpad(signed.signature), CHECK_IN_CONTEXT + signed.manifest.encode())
    assert signed.manifest == text


@pytest.mark.parametrize("forget", [False, True])
def test_numbers_rise_over_every_crash(tmp_path: Path, forget: bool) -> None:
    path = tmp_path / "sequence.json"
    last = 0
    for stop_at in [*range(6), None]:
        disk = FailingDisk(stop_at=stop_at, forget=forget)
        sequence = Sequence(path, disk)
        try:
            for _ in range(150):
                number = sequence.next()
                assert number > last
                last = number
        except CrashError:
            continue
    assert last >= 150
    assert Sequence(path, RealDisk()).next() > last


def test_a_damaged_number_is_told_and_put_right_by_the_service(tmp_path: Path) -> None:
    path = tmp_path / "sequence.json"
    path.write_bytes(b"\x00")
    sequence = Sequence(path, RealDisk())
    assert sequence.problem
    assert sequence.next() == 1
    sequence.at_least(5000)
    assert sequence.next() == 5001
    sequence.at_least(2**60)
    assert sequence.next() == 5002
    assert json.loads(path.read_bytes())["reserved"] >= 5002
