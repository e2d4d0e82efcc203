"""Limits that wrapped, and clocks that were believed: failures known from other agents.

Each is a way in which a recorder on a vehicle has lost, doubled or overspent something in the
field while every part of it worked as written.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.ids import part_count
from contracts.samples import SignalSample
from contracts.upload import TokenAnswer
from edge_agent.config import SpoolConfig
from edge_agent.drive.ring import Ring
from edge_agent.identity import token_of
from edge_agent.ledger import Ledger
from edge_agent.ports import Link
from edge_agent.selection.budget import BudgetBook, Keep, VehicleLimits
from edge_agent.spool import Entry, Spool
from edge_agent.upload.policy import CellularLimits, Wait, decide
from kernels.clip.encoding import encode_sample
from tests.edge_agent.faults.test_known_failures_capture import spec
from tests.edge_agent.faults.test_known_failures_upload import served
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import (
    BOOT,
    Rig,
    add_clip,
    clip_bytes,
    open_spool,
    record,
    request_for,
)

GIB = 2**30
SMALL = 10_000


def huge_clip(spool: Spool, number: int, size_bytes: int, value: float) -> Entry:
    """A clip that is one hole: it has its size, and takes no disk."""
    path = spool.begin(f"huge-{number}")
    with path.open("wb") as file:
        os.truncate(file.fileno(), size_bytes)
    digests = ("0" * 64,) * part_count(size_bytes)
    request = request_for(b"x", number).model_copy(
        update={"clip_id": f"{number:064x}", "size_bytes": size_bytes, "part_digests": digests}
    )
    return spool.commit(path, request, "normal", "allowed", value)


def test_a_quota_beyond_32_bits_holds_and_does_not_wrap(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    spool = open_spool(tmp_path / "spool", ledger, clock, quota_bytes=9 * GIB)
    for number in (1, 2, 3):
        huge_clip(spool, number, 3 * GIB - 1, value=float(number))
    assert spool.used_bytes() == 9 * GIB - 3
    assert [stone for _, stone in ledger.tombstones.after()] == []
    huge_clip(spool, 4, 5 * GIB, value=100.0)
    # One that is past 2^32 alone drives out just enough: the two least.
    assert [stone.clip_id[-1] for _, stone in ledger.tombstones.after()] == ["1", "2"]
    assert spool.used_bytes() == 8 * GIB - 1
    again = open_spool(tmp_path / "spool", ledger, clock, quota_bytes=9 * GIB)
    assert [entry.size_bytes for entry in again.queue()] == [3 * GIB - 1, 5 * GIB]


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("4294967296B", 2**32), ("5GB", 5 * 10**9), ("3000GB", 3 * 10**12)]
)
def test_a_configured_quota_beyond_32_bits_is_read_whole(text: str, size_bytes: int) -> None:
    assert SpoolConfig.model_validate({"quota": text}).quota == size_bytes


def test_a_metered_budget_beyond_32_bits_does_not_wrap_into_room(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    limits = CellularLimits(bytes_per_day=5 * GIB, bytes_per_month=5 * GIB)
    entry = queue_entry()
    for _ in range(5):
        made = decide([entry], Link("cellular"), ledger.cellular.spent(), limits, 0, spool_advice())
        assert not isinstance(made, Wait)
        ledger.cellular.settle(ledger.cellular.debit(GIB), GIB - 1)
    assert ledger.cellular.spent().month_bytes == 5 * GIB - 5
    made = decide([entry], Link("cellular"), ledger.cellular.spent(), limits, 0, spool_advice())
    assert made == Wait(None, "cellular_budget")


def queue_entry() -> Entry:
    return Entry("0" * 64, 1000, "normal", "allowed", 1.0, 1, 0, "queued", False, "triggered")


def spool_advice():  # type: ignore[no-untyped-def]
    from edge_agent.upload.policy import ServerAdvice

    return ServerAdvice()


@pytest.mark.parametrize("uptime_ns", [2**31 * 10**6, 2**32 * 10**6, 2**32 * NS_PER_S])
def test_an_uptime_past_32_bits_ends_no_token_window_or_budget(
    tmp_path: Path, uptime_ns: int
) -> None:
    """Of milliseconds after 25 or 50 days, of seconds after 136 years."""
    clock = VirtualClock(mono_ns=uptime_ns - 5 * NS_PER_S)
    life_ns = 3600 * NS_PER_S
    token = token_of(
        TokenAnswer(token="t", server_utc_ns=0, expires_utc_ns=life_ns), clock.mono_ns()
    )
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    day = ledger.budget_day()
    book = BudgetBook(ledger, VehicleLimits())
    loaded = spec("a", "cooldown: 8s\n")
    first_ns = clock.mono_ns()
    assert isinstance(book.admit(loaded, first_ns), Keep)
    clock.set_mono_ns(uptime_ns + 2 * NS_PER_S)
    assert token.is_fresh(clock.mono_ns())
    assert not isinstance(book.admit(loaded, clock.mono_ns()), Keep), "the cooldown still runs"
    clock.set_mono_ns(uptime_ns + 9 * NS_PER_S)
    assert isinstance(book.admit(loaded, clock.mono_ns()), Keep)
    assert ledger.budget_day() - day in (0, 1)
    ring = Ring(1_000_000)
    for second in range(-4, 5):
        at_ns = uptime_ns + second * NS_PER_S
        ring.push(encode_sample(SignalSample("ego.speed_mps", at_ns, float(second)), 0))
    found = ring.window(uptime_ns - 2 * NS_PER_S, uptime_ns + 2 * NS_PER_S, lambda _: True)
    assert [message.mono_ns - uptime_ns for message in found] == [
        n * NS_PER_S for n in range(-2, 3)
    ]


@pytest.mark.parametrize("days", [-4000, -1, 1, 4000])
def test_a_wrong_wall_clock_expires_nothing(tmp_path: Path, days: int) -> None:
    async def body(vehicle: Rig, simulator: ReceiverSimulator) -> None:
        entries = [add_clip(vehicle.spool, clip_bytes(n, SMALL), n) for n in (1, 2)]
        vehicle.ledger.outbox.put(record(1))
        today = dt.date(1970, 1, 1) + dt.timedelta(days=vehicle.ledger.budget_day())
        soon = spec("soon", f"target: {{expires: {today + dt.timedelta(days=2)}}}\n")
        book = BudgetBook(vehicle.ledger, VehicleLimits())
        await vehicle.receiver.authenticate(renew=False)
        asked = len(simulator.requests)
        vehicle.clock.jump_utc_ns(days * NS_PER_DAY)
        assert isinstance(book.admit(soon, vehicle.clock.mono_ns()), Keep), "not expired"
        assert vehicle.receiver.has_fresh_token()
        spool = open_spool(vehicle.folder / "spool", vehicle.ledger, vehicle.clock)
        assert spool.queue() == tuple(entries)
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + 3600 * NS_PER_S)
        assert len(report.uploaded) == 2 and report.events_sent == 1
        assert not any("auth" in request for request in simulator.requests[asked:])
        vehicle.clock.set_mono_ns(vehicle.clock.mono_ns() + 3 * NS_PER_DAY)
        assert not isinstance(book.admit(soon, vehicle.clock.mono_ns()), Keep), "two days passed"

    served(tmp_path, body)
