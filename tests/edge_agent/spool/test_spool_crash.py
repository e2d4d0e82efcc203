"""The spool under power cuts: at every durable step, with and without unsynced writes lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import VirtualClock
from contracts.upload import UploadStatus
from edge_agent.ledger import Ledger
from edge_agent.spool import Receipt, Spool
from tests.edge_agent.failing_disk import CrashError, FailingDisk
from tests.edge_agent.upload_rig import BOOT, add_clip, clip_bytes, open_spool, request_for

SIZE = 1000
QUOTA = 3 * SIZE
MOST_STEPS = 80


def scenario(spool: Spool) -> None:
    """Commits, an upload, an eviction and a quarantine."""
    for number in range(3):
        add_clip(spool, clip_bytes(number, SIZE), number, value=1.0 + number)
    first = request_for(clip_bytes(1, SIZE), 1)
    status = UploadStatus(clip_id=first.clip_id, state="committed")
    spool.mark_uploaded(Receipt(first, status))
    add_clip(spool, clip_bytes(3, SIZE), 3, value=9.0)
    spool.quarantine(request_for(clip_bytes(2, SIZE), 2).clip_id, "rotted")


def crash_at(folder: Path, ledger: Ledger, stop_at: int | None, forget: bool) -> int:
    """Run the scenario up to its step `stop_at`; the steps taken."""
    disk = FailingDisk(stop_at=stop_at, forget=forget)
    with contextlib.suppress(CrashError):
        scenario(open_spool(folder / "spool", ledger, VirtualClock(), QUOTA, disk))
    return disk.steps


def check(folder: Path, ledger: Ledger) -> None:
    """After a restart every clip ever begun is there whole, set aside, or accounted for."""
    root = folder / "spool"
    spool = open_spool(root, ledger, VirtualClock(), QUOTA)
    known = {request_for(clip_bytes(number, SIZE), number).clip_id for number in range(4)}
    entries = {entry.clip_id: entry for entry in spool.queue()}
    for row in spool.ls():
        assert row.kind in ("clip", "quarantined"), row
        if row.kind == "clip":
            assert row.entry is not None
            found = spool.request(row.entry.clip_id)
            content = spool.path(row.entry.clip_id).read_bytes()
            assert request_for(content).clip_id == found.clip_id
            assert row.entry.clip_id in known
    assert {path.suffix for path in (root / "clips").iterdir()} <= {".mcap", ".json"}
    assert list((root / "active").iterdir()) == []
    again = open_spool(root, ledger, VirtualClock(), QUOTA)
    assert {entry.clip_id: entry for entry in again.queue()} == entries
    # Work goes on: a clip of value finds its place.
    added = add_clip(again, clip_bytes(50, SIZE), 50, priority="safety", value=99.0)
    assert added.clip_id in {entry.clip_id for entry in again.queue()}


@pytest.mark.parametrize("forget", [False, True])
def test_every_crash_point_is_recovered(tmp_path: Path, forget: bool) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", VirtualClock(), BOOT)
    steps = crash_at(tmp_path / "whole", ledger, None, forget)
    assert 20 < steps < MOST_STEPS
    for stop_at in range(steps + 1):
        crash_at(tmp_path / f"{stop_at}", ledger, stop_at, forget)
        check(tmp_path / f"{stop_at}", ledger)


@pytest.mark.parametrize("forget", [False, True])
def test_what_commit_returned_for_is_never_lost(tmp_path: Path, forget: bool) -> None:
    content = clip_bytes(1, SIZE)
    clip_id = request_for(content, 1).clip_id
    for stop_at in range(MOST_STEPS):
        folder = tmp_path / f"{stop_at}"
        folder.mkdir()
        clock = VirtualClock()
        ledger = Ledger(folder / "ledger.sqlite", clock, BOOT)
        disk = FailingDisk(stop_at=stop_at, forget=forget)
        committed = False
        try:
            spool = open_spool(folder / "spool", ledger, clock, disk=disk)
            entry = add_clip(spool, content, 1)
            committed = True
            add_clip(spool, clip_bytes(2, SIZE), 2)
        except CrashError:
            pass
        else:
            disk.crash()
        spool = open_spool(folder / "spool", ledger, clock)
        found = {kept.clip_id: kept for kept in spool.queue()}
        if committed:
            assert found[clip_id] == entry
            assert spool.path(clip_id).read_bytes() == content
        ledger.close()
        if disk.steps < stop_at:
            return
    pytest.fail(f"two commits take more than {MOST_STEPS} steps")


@pytest.mark.parametrize("forget", [False, True])
def test_what_was_evicted_left_a_tombstone_before(tmp_path: Path, forget: bool) -> None:
    def evict(spool: Spool) -> None:
        spool.evict(request_for(clip_bytes(0, SIZE)).clip_id, "room")

    for folder, ledger, crashed in _crashes(tmp_path, evict, forget):
        gone = not list((folder / "spool" / "clips").glob("*.mcap"))
        stones = ledger.tombstones.after()
        assert len(stones) == 1 or not gone
        assert gone or crashed
        spool = open_spool(folder / "spool", ledger, VirtualClock())
        assert len(spool.queue()) == (0 if gone else 1)


@pytest.mark.parametrize("forget", [False, True])
def test_a_crash_in_marking_leaves_queued_or_uploaded(tmp_path: Path, forget: bool) -> None:
    request = request_for(clip_bytes(0, SIZE))

    def mark(spool: Spool) -> None:
        status = UploadStatus(clip_id=request.clip_id, state="committed")
        spool.mark_uploaded(Receipt(request, status))

    for folder, ledger, crashed in _crashes(tmp_path, mark, forget):
        spool = open_spool(folder / "spool", ledger, VirtualClock())
        states = [row.entry.state for row in spool.ls() if row.entry is not None]
        assert states in (["queued"], ["uploaded"])
        assert crashed or states == ["uploaded"]


def _crashes(
    tmp_path: Path, act: Callable[[Spool], None], forget: bool
) -> list[tuple[Path, Ledger, bool]]:
    """What is left when `act` on a spool of one clip is cut at each of its steps."""
    left = []
    for stop_at in range(MOST_STEPS):
        folder = tmp_path / f"{stop_at}"
        folder.mkdir()
        ledger = Ledger(folder / "ledger.sqlite", VirtualClock(), BOOT)
        disk = FailingDisk(forget=forget)
        spool = open_spool(folder / "spool", ledger, VirtualClock(), disk=disk)
        add_clip(spool, clip_bytes(0, SIZE))
        disk.stop_at = disk.steps + stop_at
        crashed = False
        try:
            act(spool)
        except CrashError:
            crashed = True
        left.append((folder, ledger, crashed))
        if not crashed:
            break
    return left


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), min_size=1, max_size=6),
    st.booleans(),
)
def test_crash_after_crash(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, int]], forget: bool
) -> None:
    """Cuts also hit recovery itself; nothing that was committed and not evicted is lost."""
    folder = tmp_path_factory.mktemp("crash")
    ledger = Ledger(folder / "ledger.sqlite", VirtualClock(), BOOT)
    committed: set[str] = set()
    for number, stop_at in runs:
        try:
            disk = FailingDisk(stop_at=stop_at, forget=forget)
            spool = open_spool(folder / "spool", ledger, VirtualClock(), QUOTA, disk)
            committed.add(add_clip(spool, clip_bytes(number, SIZE), number).clip_id)
        except CrashError:
            continue
    spool = open_spool(folder / "spool", ledger, VirtualClock(), QUOTA)
    present = {entry.clip_id for entry in spool.queue()}
    evicted = {stone.clip_id for _, stone in ledger.tombstones.after()}
    assert committed <= present | evicted
