"""The fault matrix: a vehicle's life cut off, filled up or failing at each of its durable steps.

The steps are enumerated by the disk itself (`failing_disk`), those of the ledger's transactions
included. What must hold whatever happens: no safety clip is lost that the spool had taken, no event
is at the receiver twice, and no metered byte goes over the cap. By default a sample of the steps is
tried, spread evenly and over all kinds of steps; `make soak` tries every one of them.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from contracts.errors import LongtailError
from tests.edge_agent.failing_disk import CrashError, FailingDisk, Loss
from tests.edge_agent.fault_rig import (
    CAP_BYTES,
    CELLULAR,
    ORDINARY,
    SAFETY,
    WIFI,
    Trip,
    event_of,
)
from tests.edge_agent.receiver_simulator import ReceiverSimulator

DRIVES = {1: ORDINARY, 2: SAFETY, 3: ORDINARY, 4: SAFETY, 5: ORDINARY, 6: SAFETY}
SAFE = [number for number, text in DRIVES.items() if text == SAFETY]
SAMPLE = 8
"""Steps tried of each fault in the default suite."""


async def life(trip: Trip) -> None:
    """Capture, pack, spool, tell, send over a capped link, evict, send over a free one."""
    for number in (1, 2, 3):
        trip.drive(number, DRIVES[number])
    await trip.upload(CELLULAR)
    for number in (4, 5):
        trip.drive(number, DRIVES[number])
    await trip.upload(WIFI)
    trip.drive(6, DRIVES[6])
    await trip.upload(WIFI)
    trip.close()


async def run(trip: Trip, disk: FailingDisk) -> None:
    """One process over the life, until it ends or dies."""
    trip.disk = disk
    try:
        trip.start()
        await life(trip)
    except CrashError:
        pass
    finally:
        await trip.end()


async def try_at(folder: Path, disk: FailingDisk) -> Trip:
    """The life with this fault, then the next process on a sound disk over the same recording."""
    simulator = ReceiverSimulator()
    async with simulator.serve() as base_url:
        trip = Trip(folder, base_url, simulator)
        try:
            await run(trip, disk)
        except LongtailError as error:
            # A process that could not come up is started again by its supervisor.
            assert disk.failed, error
        trip.lost_first = trip.lost
        taken = [clip for clip in trip.packed if "hard-brake" in clip.trigger_ids]
        trip.disk = FailingDisk()
        trip.start()
        here = {row.entry.clip_id for row in trip.spool.ls() if row.entry is not None}
        sent = {clip_id for clip_id, held in simulator.held.items() if held.committed}
        for clip in taken:
            assert clip.clip_id in here | sent, "a safety clip that was taken is gone"
        for number, text in DRIVES.items():
            trip.drive(number, text)
            if number % 2 == 0:
                await trip.upload(WIFI)
        assert trip.spool.queue() == ()
        assert trip.ledger.outbox.waiting() == ()
        await trip.end()
    check_receiver(trip)
    assert trip.metered_bytes <= CAP_BYTES
    check_folder(folder)
    return trip


def check_receiver(trip: Trip) -> None:
    """All safety events are there, and no event twice."""
    held = trip.simulator.held.values()
    assert all(clip.committed for clip in held)
    events = Counter(clip.request.event.text() for clip in held)
    assert set(events.values()) <= {1}, "an event is at the receiver twice"
    for number in SAFE:
        assert event_of(number).text() in events, f"safety event {number} never came"
    told = Counter(
        (record.event.text(), record.cause.trigger_id, record.outcome) for record in trip.told()
    )
    assert set(told.values()) <= {1}
    for number in DRIVES:
        assert any(event == event_of(number).text() for event, _, _ in told)


def check_folder(folder: Path) -> None:
    """Nothing is left over: each file is a clip, its sidecar, or set aside with a reason."""
    spool = folder / "spool"
    assert list((spool / "active").iterdir()) == []
    stems = Counter(path.stem for path in (spool / "clips").iterdir())
    assert set(stems.values()) <= {2}
    aside = {path.name for path in (spool / "quarantine").iterdir()}
    for name in aside:
        assert name.endswith(".reason.json") or f"{name}.reason.json" in aside


@cache
def trace() -> tuple[str, ...]:
    """Every durable step of the life without faults, by name."""
    import tempfile

    disk = FailingDisk()

    async def go(folder: Path) -> None:
        simulator = ReceiverSimulator()
        async with simulator.serve() as base_url:
            trip = Trip(folder, base_url, simulator)
            await run(trip, disk)
            assert trip.lost == 0
            assert len(simulator.held) == len(DRIVES) - 1, "one made room"

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(go(Path(folder)))
    return tuple(disk.trace)


def sampled(every: bool, offset: int = 0, only: str = "") -> list[int]:
    """Steps to fail at: all, or the first of each kind and others at even distances."""
    steps = [number for number, name in enumerate(trace()) if only in name]
    if every:
        return steps
    stride = max(1, len(steps) // SAMPLE)
    return steps[offset % stride :: stride]


def try_all(folder: Path, disks: Iterable[FailingDisk]) -> list[Trip]:
    trips = []
    for number, disk in enumerate(disks):
        place = folder / f"{number}"
        trips.append(asyncio.run(try_at(place, disk)))
        shutil.rmtree(place)
    return trips


def test_the_life_takes_every_kind_of_durable_step() -> None:
    kinds = Counter(trace())
    assert len(trace()) > 200
    for kind in (
        "create active/*.active", "write active/*.active", "sync active/*.active",
        "write clips/*.json.tmp", "rename clips/*.json.tmp clips/*.json",
        "rename active/*.active clips/*.mcap", "sync clips/", "sync active/",
        "remove clips/*.mcap", "remove clips/*.json", "commit ledger",
        "write allowances.json.tmp", "sync scenes.json.tmp",
        "rename thresholds.json.tmp thresholds.json",
    ):  # fmt: skip
        assert kinds[kind] > 0, kind


def cut(folder: Path, loss: Loss, every: bool, offset: int) -> None:
    steps = [*sampled(every, offset), len(trace())]
    try_all(folder, (FailingDisk(stop_at=step, loss=loss) for step in steps))


@pytest.mark.parametrize(("loss", "offset"), [("nothing", 0), ("unsynced", 7), ("content", 13)])
def test_a_cut_at_a_durable_step_loses_and_doubles_nothing(
    tmp_path: Path, loss: Loss, offset: int
) -> None:
    cut(tmp_path, loss, False, offset)


@pytest.mark.soak
@pytest.mark.parametrize("loss", ["nothing", "unsynced", "content"])
def test_a_cut_at_every_durable_step_loses_and_doubles_nothing(tmp_path: Path, loss: Loss) -> None:
    cut(tmp_path, loss, True, 0)


def fail(folder: Path, code: int, every: bool) -> None:
    steps = sampled(every, 5)
    for trip in try_all(folder, (FailingDisk(fail_at=step, fail_errno=code) for step in steps)):
        assert trip.lost_first == 0, "one failure is got over by writing again"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_one_failure_of_the_disk_costs_no_clip(tmp_path: Path, code: int) -> None:
    fail(tmp_path, code, False)


@pytest.mark.soak
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_one_failure_at_every_step_costs_no_clip(tmp_path: Path, code: int) -> None:
    fail(tmp_path, code, True)


async def fill_at(folder: Path, step: int) -> None:
    """The disk is full from a step on; later it has room again."""
    disk = FailingDisk(full_at=step)
    simulator = ReceiverSimulator()
    async with simulator.serve() as base_url:
        trip = Trip(folder, base_url, simulator)
        try:
            await run(trip, disk)
        except LongtailError:
            assert trip.packed == [], "only a process that never came up may end"
        told_lost = trip.lost
        # The supervisor's next try, on the same full disk: it must come up to send what is here.
        trip.disk = FailingDisk(full_at=0)
        waiting = await send_what_is_here(trip)
        trip.disk = FailingDisk()
        trip.start()
        assert {entry.clip_id for entry in trip.spool.queue()} <= waiting
        trip.drive(8, SAFETY)
        await trip.upload(WIFI)
        await trip.end()
    events = {held.request.event.text() for held in simulator.held.values() if held.committed}
    assert event_of(8).text() in events
    assert len(trip.packed) - 1 + told_lost <= len(DRIVES)
    assert trip.metered_bytes <= CAP_BYTES
    for clip in trip.packed:
        if "hard-brake" in clip.trigger_ids:
            assert clip.event in events, "a safety clip that was taken never came"


async def send_what_is_here(trip: Trip) -> set[str]:
    """Send on a full disk. What waited before; nothing when the vehicle has never been up."""
    try:
        trip.start()
    except LongtailError:
        trip.disk.abandon()
        return set()
    before = {entry.clip_id for entry in trip.spool.queue()}
    await trip.upload(WIFI)
    held = {clip_id for clip_id, held in trip.simulator.held.items() if held.committed}
    assert before <= held
    assert trip.spool.queue() == ()
    await trip.end()
    return before


def fill(folder: Path, every: bool) -> None:
    for step in sampled(every, 3):
        place = folder / f"{step}"
        asyncio.run(fill_at(place, step))
        shutil.rmtree(place)


def test_a_disk_full_from_a_step_on_stops_capture_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, False)


@pytest.mark.soak
def test_a_disk_full_from_any_step_on_stops_capture_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, True)
