"""Torn and bit-flipped files of every kind that the durable half keeps.

Whatever bit flips and wherever a file ends: the next process comes up, what is whole reaches the
receiver once and as it was, and what is not is set aside with a reason. Nothing is deleted without
a word, and no cap is exceeded for it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from contracts.errors import CorruptError
from edge_agent.ledger import Ledger, open_ledger
from edge_agent.ledger.cellular import ALL_BYTES
from edge_agent.upload.policy import event_allowance
from tests.edge_agent.fault_rig import CELLULAR, LIMITS, ORDINARY, SAFETY, WIFI, Trip, event_of
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import BOOT, JumpingClock, record

ROOM_BYTES = 10**6
"""Nothing has to make room here, what is set aside neither."""

Damage = Callable[[bytes], bytes]


def cut_at(ratio: float) -> Damage:
    return lambda content: content[: int(len(content) * ratio)]


def shorter_by(count: int) -> Damage:
    return lambda content: content[: max(0, len(content) - count)]


def flipped_at(ratio: float, bit: int) -> Damage:
    def damage(content: bytes) -> bytes:
        made = bytearray(content)
        made[min(len(made) - 1, int(len(made) * ratio))] ^= 1 << bit
        return bytes(made)

    return damage


TORN = {f"cut at {ratio:.0%}": cut_at(ratio) for ratio in (0.0, 0.03, 0.3, 0.6, 0.9)}
TORN |= {f"short by {count}": shorter_by(count) for count in (1, 2, 8)}
FLIPPED = {
    f"bit {bit} at {ratio:.1%}": flipped_at(ratio, bit)
    for number, ratio in enumerate(n / 24 + 0.005 for n in range(24))
    for bit in ((number * 3) % 8,)
}
EVERY_FLIP = {
    f"bit {bit} at {ratio:.2%}": flipped_at(ratio, bit)
    for ratio in (n / 400 for n in range(400))
    for bit in (0, 3, 5)
}
QUICK = {**TORN, **FLIPPED}
EVERY = {**TORN, **EVERY_FLIP}


@cache
def parked(folder: Path) -> Path:
    """A vehicle with a safety clip and an ordinary one that wait, and one still in `active`."""
    place = folder / "parked"
    simulator = ReceiverSimulator()

    async def go() -> None:
        async with simulator.serve() as base_url:
            trip = Trip(place, base_url, simulator, quota_bytes=ROOM_BYTES)
            trip.start()
            trip.drive(1, SAFETY)
            trip.drive(2, ORDINARY)
            whole = trip.spool.path(trip.spool.queue()[0].clip_id).read_bytes()
            (place / "spool" / "active" / "x.active").write_bytes(whole)
            await trip.end()

    asyncio.run(go())
    return place


def harmed(folder: Path, number: int, pattern: str, damage: Damage) -> tuple[Path, Path, bytes]:
    """A copy of the parked vehicle with one file damaged: its folder, that file, its bytes now."""
    place = folder / f"{number}"
    shutil.copytree(parked(folder), place)
    path = sorted(place.glob(pattern))[0]
    content = damage(path.read_bytes())
    path.write_bytes(content)
    return place, path, content


async def wake(place: Path) -> ReceiverSimulator:
    """The next process: it comes up and sends what it has."""
    simulator = ReceiverSimulator()
    async with simulator.serve() as base_url:
        trip = Trip(place, base_url, simulator, quota_bytes=ROOM_BYTES)
        trip.start()
        await trip.upload(WIFI, hours=4)
        assert trip.spool.queue() == ()
        for row in trip.spool.ls():
            assert row.kind in ("clip", "quarantined")
            assert row.kind == "clip" or row.reason
        await trip.end()
    return simulator


def events_at(simulator: ReceiverSimulator) -> list[str]:
    held = simulator.held.values()
    return sorted(each.request.event.text() for each in held if each.committed)


BOTH = sorted([event_of(1).text(), event_of(2).text()])


def try_clips(folder: Path, damages: dict[str, Damage]) -> None:
    for number, (name, damage) in enumerate(damages.items()):
        place, path, content = harmed(folder, number, "spool/clips/*.mcap", damage)
        event = json.loads(path.with_suffix(".json").read_bytes())["request"]["event"]
        simulator = asyncio.run(wake(place))
        found = events_at(simulator)
        # The copy in `active` stands in for the first clip; the second has none.
        safety_was_hit = event["start_mono_ns"] == event_of(1).start_mono_ns
        assert found == (BOTH if safety_was_hit else [event_of(1).text()]), name
        aside = [p for p in (place / "spool" / "quarantine").iterdir() if p.suffix == ".mcap"]
        assert [p.read_bytes() for p in aside] == [content], name
        shutil.rmtree(place)


def try_sidecars(folder: Path, damages: dict[str, Damage]) -> None:
    for number, (name, damage) in enumerate(damages.items()):
        place, _, content = harmed(folder, number, "spool/clips/*.json", damage)
        simulator = asyncio.run(wake(place))
        assert events_at(simulator) == BOTH, f"{name}: the clips are whole"
        for held in simulator.held.values():
            is_safety = held.request.event == event_of(1)
            assert held.request.safety == is_safety, name
        kept = [p for p in (place / "spool").rglob("*.json") if p.read_bytes() == content]
        assert kept or len(simulator.held) == 2, name
        shutil.rmtree(place)


def try_active(folder: Path, damages: dict[str, Damage]) -> None:
    for number, (name, damage) in enumerate(damages.items()):
        place, path, content = harmed(folder, number, "spool/active/*.active", damage)
        simulator = asyncio.run(wake(place))
        assert set(BOTH) <= set(events_at(simulator)), name
        assert not path.exists()
        aside = [p.read_bytes() for p in (place / "spool" / "quarantine").glob("*.active")]
        taken = [bytes(held.content) for held in simulator.held.values()]
        assert content in aside or content in taken, f"{name}: neither set aside nor sent"
        shutil.rmtree(place)


@pytest.mark.parametrize("attempt", [try_clips, try_sidecars, try_active])
def test_damaged_spool_files(
    tmp_path: Path, attempt: Callable[[Path, dict[str, Damage]], None]
) -> None:
    attempt(tmp_path, QUICK)


@pytest.mark.soak
@pytest.mark.parametrize("attempt", [try_clips, try_sidecars, try_active])
def test_spool_files_damaged_all_over(
    tmp_path: Path, attempt: Callable[[Path, dict[str, Damage]], None]
) -> None:
    attempt(tmp_path, EVERY)


# The ledger ----------------------------------------------------------------------------------


def spent_ledger(path: Path) -> Ledger:
    """A ledger with metered bytes spent, and records that wait."""
    ledger = Ledger(path, JumpingClock(), BOOT)
    for number in range(20):
        ledger.outbox.put(record(number))
    debit = ledger.cellular.debit(150_000)
    ledger.cellular.settle(debit, 120_000)
    return ledger


def try_ledger(folder: Path, damages: dict[str, Damage]) -> int:
    """How many of the damages made the ledger be set aside."""
    whole = folder / "whole.sqlite"
    spent_ledger(whole).close()
    aside = 0
    for number, (name, damage) in enumerate(damages.items()):
        place = folder / f"{number}"
        place.mkdir()
        path = place / "ledger.sqlite"
        content = damage(whole.read_bytes())
        path.write_bytes(content)
        ledger = open_ledger(path, JumpingClock(), BOOT)
        left = event_allowance(ledger.cellular.spent(), LIMITS)
        assert left <= LIMITS.bytes_per_day - 120_000, f"{name}: metered bytes were forgotten"
        ledger.outbox.put(record(99))
        ledger.close()
        found = sorted(place.glob("*.damaged-1"))
        if found:
            aside += 1
            assert found[0].read_bytes() == content, name
            told = json.loads(found[0].with_name(found[0].name + ".reason.json").read_bytes())
            assert told["reason"]
        shutil.rmtree(place)
    return aside


def test_a_damaged_ledger_is_set_aside_and_forgets_no_metered_byte(tmp_path: Path) -> None:
    some = {name: damage for name, damage in QUICK.items() if name != "cut at 0%"}
    assert try_ledger(tmp_path, some) >= 4, "most of a small ledger is empty: a flip there is none"


@pytest.mark.soak
def test_a_ledger_damaged_all_over_forgets_no_metered_byte(tmp_path: Path) -> None:
    try_ledger(tmp_path, {n: d for n, d in EVERY.items() if n != "cut at 0%"})


def test_what_can_be_read_of_a_damaged_ledger_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    spent_ledger(path).close()
    waiting = Ledger(path, JumpingClock(), BOOT)
    bodies = [row.body for row in waiting.outbox.waiting()]
    waiting.close()
    content = bytearray(path.read_bytes())
    # A bit of the settled count, found by the value that it has.
    connection = sqlite3.connect(path)
    connection.execute("UPDATE cellular SET bytes = 1")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptError, match="not those that were written"):
        Ledger(path, JumpingClock(), BOOT)
    ledger = open_ledger(path, JumpingClock(), BOOT)
    assert ledger.cellular.spent().month_bytes == ALL_BYTES
    assert [row.body for row in ledger.outbox.waiting()] == bodies
    ledger.close()
    # With its seal whole the count is known, whatever else is broken.
    content[-4096:] = bytes(4096)
    path.write_bytes(content)
    again = open_ledger(path, JumpingClock(), BOOT)
    assert again.cellular.spent().month_bytes >= 120_000
    again.close()


def test_a_ledger_whose_log_is_torn_loses_no_more_than_its_end(tmp_path: Path) -> None:
    """A power cut in the middle of a transaction: the log ends in half of it."""
    path = tmp_path / "ledger.sqlite"
    spent_ledger(path)
    wal = path.with_name(path.name + "-wal")
    whole = wal.read_bytes()
    for number in range(12):
        place = tmp_path / f"{number}"
        place.mkdir()
        shutil.copy(path, place / "ledger.sqlite")
        torn = whole + whole[32 : 32 + 350 * number]
        (place / "ledger.sqlite-wal").write_bytes(torn)
        ledger = open_ledger(place / "ledger.sqlite", JumpingClock(), BOOT)
        assert ledger.cellular.spent().day_bytes == 120_000
        assert len(ledger.outbox.waiting()) == 20
        ledger.close()


def test_a_vehicle_with_a_lost_month_sends_on_free_links_only(tmp_path: Path) -> None:
    place, _, _ = harmed(tmp_path, 0, "ledger.sqlite", cut_at(0.3))

    async def go() -> None:
        simulator = ReceiverSimulator()
        async with simulator.serve() as base_url:
            trip = Trip(place, base_url, simulator)
            open_ledger(place / "ledger.sqlite", trip.clock, BOOT).close()
            trip.start()
            await trip.upload(CELLULAR)
            assert (trip.metered_bytes, simulator.body_bytes) == (0, 0)
            await trip.upload(WIFI)
            assert events_at(simulator) == BOTH
            await trip.end()

    asyncio.run(go())
