"""The spool: what it keeps, what it gives up, and what it says about both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import VirtualClock
from contracts.errors import CorruptError, ExhaustedError, InputError
from contracts.upload import UploadStatus
from edge_agent.disk import RealDisk, replace_file
from edge_agent.ledger import Ledger
from edge_agent.spool import PRIORITIES, Entry, Receipt, Spool, list_spool
from edge_agent.spool.eviction import choose_victims, eviction_rank, newcomer_rank
from tests.edge_agent.failing_disk import FailingDisk
from tests.edge_agent.upload_rig import BOOT, add_clip, clip_bytes, open_spool, request_for

SIZE = 1000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: VirtualClock) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", clock, BOOT)


def receipt(spool: Spool, clip_id: str) -> Receipt:
    return Receipt(spool.request(clip_id), UploadStatus(clip_id=clip_id, state="committed"))


def tombstones(ledger: Ledger) -> list[str]:
    return [stone.clip_id for _, stone in ledger.tombstones.after()]


def test_commit_is_visible_whole_and_once(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    spool = open_spool(tmp_path / "spool", ledger, clock)
    content = clip_bytes(1, SIZE)
    entry = add_clip(spool, content, 1, priority="high", value=3.0)
    assert spool.path(entry.clip_id).read_bytes() == content
    assert spool.request(entry.clip_id) == request_for(content, 1)
    assert add_clip(spool, content, 1, priority="high", value=3.0) == entry
    assert spool.queue() == (entry,)
    assert list((tmp_path / "spool" / "active").iterdir()) == []
    assert spool.used_bytes() == SIZE


def test_the_index_is_rebuilt_from_the_folder(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    spool = open_spool(tmp_path / "spool", ledger, clock)
    clips = [
        add_clip(spool, clip_bytes(number, SIZE + number), number, PRIORITIES[number % 5])
        for number in range(8)
    ]
    spool.mark_uploaded(receipt(spool, clips[3].clip_id))
    spool.mark_unwanted(clips[4].clip_id, "quota")
    queue, rows = spool.queue(), spool.ls()
    # What earlier versions kept beside the folder is neither read nor left.
    (tmp_path / "spool" / "index.sqlite").write_bytes(b"rubbish" * 1000)
    spool = open_spool(tmp_path / "spool", ledger, clock)
    assert (spool.queue(), spool.ls()) == (queue, rows)
    assert {path.name for path in (tmp_path / "spool").iterdir()} == {
        "active", "clips", "quarantine",
    }  # fmt: skip


def test_commits_after_a_restart_come_after_those_before(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    first = add_clip(open_spool(tmp_path / "spool", ledger, clock), clip_bytes(1, SIZE), 1)
    spool = open_spool(tmp_path / "spool", ledger, clock)
    second = add_clip(spool, clip_bytes(2, SIZE), 2)
    assert spool.queue() == (first, second)


def test_a_file_that_is_not_what_was_declared_is_rejected(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    spool = open_spool(tmp_path / "spool", ledger, clock)
    path = spool.begin("x")
    path.write_bytes(b"abc")
    with pytest.raises(InputError, match="3 bytes"):
        spool.commit(path, request_for(b"abcd"), "normal", "allowed", 1.0)
    with pytest.raises(InputError, match="active folder"):
        spool.commit(tmp_path / "elsewhere", request_for(b"abc"), "normal", "allowed", 1.0)
    spool.discard(path)
    assert spool.ls() == ()


def test_only_a_proof_makes_a_receipt() -> None:
    request = request_for(b"abc")
    for status in (
        UploadStatus(clip_id=request.clip_id, state="uploading", size_bytes=3, offset_bytes=3),
        UploadStatus(clip_id=request.clip_id, state="absent"),
        UploadStatus(clip_id="0" * 64, state="committed"),
        UploadStatus(clip_id=request.clip_id, state="committed", size_bytes=4),
    ):
        with pytest.raises(CorruptError):
            Receipt(request, status)


def test_pressure_gives_up_uploaded_then_least_value_and_safety_last(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    spool = open_spool(tmp_path / "spool", ledger, clock, quota_bytes=6 * SIZE)

    def add(number: int, value: float, **changed: object) -> str:
        content = clip_bytes(number, SIZE)
        return add_clip(spool, content, number, value=value, **changed).clip_id  # type: ignore[arg-type]

    safety = add(1, 0.1, safety=True)
    random = add(2, 0.2, stream="random")
    poor = add(3, 0.3)
    rich = add(4, 9.0)
    uploaded = add(5, 50.0, safety=True)
    unwanted = add(6, 60.0)
    spool.mark_uploaded(receipt(spool, uploaded))
    spool.mark_unwanted(unwanted, "quota")
    expected = [uploaded, unwanted, poor, rich, random]
    for number in range(5):
        add(10 + number, 100.0 + number, safety=True)
        assert tombstones(ledger) == expected[: number + 1]
    assert spool.path(safety).exists()
    add(20, 0.05 + 100, safety=True)
    assert tombstones(ledger) == [*expected, safety]
    stones = {stone.clip_id: stone for _, stone in ledger.tombstones.after()}
    assert (stones[uploaded].uploaded, stones[safety].uploaded) == (True, False)
    assert stones[safety].event == request_for(clip_bytes(1, SIZE), 1).event


def test_a_newcomer_of_less_value_finds_no_room(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    spool = open_spool(tmp_path / "spool", ledger, clock, quota_bytes=2 * SIZE)
    kept = [add_clip(spool, clip_bytes(number, SIZE), number, value=5.0) for number in (1, 2)]
    with pytest.raises(ExhaustedError, match="no room"):
        add_clip(spool, clip_bytes(3, SIZE), 3, value=1.0)
    assert spool.queue() == tuple(kept)
    assert tombstones(ledger) == []
    spool.discard(tmp_path / "spool" / "active" / "clip-3.active")
    with pytest.raises(ExhaustedError):
        spool.begin("huge", 3 * SIZE, "safety")
    assert spool.has_room("ordinary", SIZE)
    assert not spool.has_room("safety", 3 * SIZE)


def test_a_clip_that_is_being_sent_is_not_given_up(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    spool = open_spool(tmp_path / "spool", ledger, clock, quota_bytes=2 * SIZE)
    first = add_clip(spool, clip_bytes(1, SIZE), 1, value=1.0)
    second = add_clip(spool, clip_bytes(2, SIZE), 2, value=2.0)
    with spool.hold(first.clip_id):
        add_clip(spool, clip_bytes(3, SIZE), 3, value=3.0)
    assert tombstones(ledger) == [second.clip_id]


def test_a_clip_that_vanished_leaves_its_share_of_the_quota(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    spool = open_spool(tmp_path / "spool", ledger, clock, quota_bytes=2 * SIZE)
    first = add_clip(spool, clip_bytes(1, SIZE), 1, value=1.0)
    second = add_clip(spool, clip_bytes(2, SIZE), 2, value=9.0)
    spool.path(first.clip_id).unlink()
    third = add_clip(spool, clip_bytes(3, SIZE), 3, value=3.0)
    assert spool.queue() == (second, third)
    assert tombstones(ledger) == [first.clip_id]


def test_the_floor_of_free_disk_is_kept(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    disk = FailingDisk()
    spool = open_spool(tmp_path / "spool", ledger, clock, disk=disk, floor_free_bytes=5000)
    first = add_clip(spool, clip_bytes(1, SIZE), 1)
    disk.free = 4500
    add_clip(spool, clip_bytes(2, SIZE), 2, value=2.0)
    assert tombstones(ledger) == [first.clip_id]


def test_a_full_disk_is_told_and_the_spool_goes_on(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    disk = FailingDisk()
    spool = open_spool(tmp_path / "spool", ledger, clock, disk=disk)
    disk.full_at = 0
    with pytest.raises(ExhaustedError):
        add_clip(spool, clip_bytes(1, SIZE), 1)
    assert spool.queue() == ()
    disk.full_at = None
    path = tmp_path / "spool" / "active" / "clip-1.active"
    request = request_for(clip_bytes(1, SIZE), 1)
    assert spool.commit(path, request, "normal", "allowed", 1.0).clip_id == request.clip_id


def test_what_is_not_a_whole_clip_is_quarantined_with_its_reason(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    folder = tmp_path / "spool"
    open_spool(folder, ledger, clock)
    (folder / "active" / "a.active").write_bytes(b"cut short TRUNCATED")
    (folder / "active" / "empty.active").write_bytes(b"")
    wrong_name = folder / "clips" / f"{'0' * 64}.mcap"
    wrong_name.write_bytes(b"other bytes")
    (folder / "clips" / f"{'1' * 64}.json").write_text("{}")
    spool = open_spool(folder, ledger, clock)
    assert spool.queue() == ()
    reasons = {row.name: row.reason for row in spool.ls()}
    assert reasons.keys() == {"a.active", "empty.active", wrong_name.name, f"{'1' * 64}.json"}
    assert "ends early" in reasons["a.active"]
    assert "empty" in reasons["empty.active"]
    assert "are those of clip" in reasons[wrong_name.name]
    again = open_spool(folder, ledger, clock)
    assert {row.name: row.reason for row in again.ls()} == reasons


def test_orphans_and_broken_sidecars_are_recovered(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    folder = tmp_path / "spool"
    spool = open_spool(folder, ledger, clock)
    first = add_clip(spool, clip_bytes(1, SIZE), 0)
    second = add_clip(spool, clip_bytes(2, SIZE), 0)
    (folder / "clips" / f"{first.clip_id}.json").unlink()
    (folder / "clips" / f"{second.clip_id}.json").write_text("{rubbish")
    (folder / "active" / "left.active").write_bytes(clip_bytes(3, SIZE))
    (folder / "clips" / "half.json.tmp").write_text("{")
    spool = open_spool(folder, ledger, clock)
    third = request_for(clip_bytes(3, SIZE)).clip_id
    assert {entry.clip_id for entry in spool.queue()} == {first.clip_id, second.clip_id, third}
    assert {entry.note for entry in spool.queue()} == {"recovered"}
    assert spool.request(first.clip_id) == request_for(clip_bytes(1, SIZE))
    assert not (folder / "clips" / "half.json.tmp").exists()


def test_a_clip_cut_short_on_disk_is_quarantined(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    folder = tmp_path / "spool"
    spool = open_spool(folder, ledger, clock)
    entry = add_clip(spool, clip_bytes(1, SIZE))
    spool.path(entry.clip_id).write_bytes(b"short")
    spool = open_spool(folder, ledger, clock)
    assert [row.kind for row in spool.ls()] == ["quarantined"]
    assert not (folder / "clips" / f"{entry.clip_id}.json").exists()


def test_quarantine_is_bounded_and_its_reasons_stay(
    tmp_path: Path, ledger: Ledger, clock: VirtualClock
) -> None:
    folder = tmp_path / "spool"
    open_spool(folder, ledger, clock)
    for name in "abc":
        (folder / "active" / f"{name}.active").write_bytes(b"x" * SIZE + b"TRUNCATED")
    spool = open_spool(folder, ledger, clock, quota_bytes=11 * SIZE)
    assert len([row for row in spool.ls() if row.kind == "quarantined"]) == 2
    reasons = list((folder / "quarantine").glob("*.reason.json"))
    told = [json.loads(path.read_text()) for path in reasons]
    assert len(told) == 3
    assert sorted(entry.get("dropped_bytes", 0) for entry in told) == [0, 0, SIZE + 9]


def test_listing_changes_nothing(tmp_path: Path, ledger: Ledger, clock: VirtualClock) -> None:
    spool = open_spool(tmp_path / "spool", ledger, clock)
    entry = add_clip(spool, clip_bytes(1, SIZE))
    writing = spool.begin("now")
    writing.write_bytes(b"TRUNCATED")
    rows = list_spool(tmp_path / "spool")
    assert [(row.kind, row.entry) for row in rows] == [("clip", entry), ("active", None)]
    assert writing.exists()


def test_replacing_a_file_on_a_full_disk_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(RealDisk(), path, b"old")
    with pytest.raises(ExhaustedError):
        replace_file(FailingDisk(full_at=0), path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


ENTRIES = st.builds(
    Entry,
    clip_id=st.integers(0, 10**9).map(lambda number: f"{number:064x}"),
    size_bytes=st.integers(1, 1000),
    priority=st.sampled_from(PRIORITIES),
    cellular=st.just("allowed"),
    value=st.floats(0, 10),
    sequence=st.integers(1, 10**6),
    utc_ns=st.just(0),
    state=st.sampled_from(["queued", "uploaded", "unwanted"]),
    safety=st.booleans(),
    stream=st.sampled_from(["triggered", "random"]),
)


@settings(deadline=None)
@given(
    st.lists(ENTRIES, max_size=20, unique_by=lambda entry: entry.clip_id),
    st.integers(-10, 9000),
    st.one_of(
        st.none(),
        st.builds(
            newcomer_rank, st.sampled_from(["ordinary", "safety", "random"]), st.floats(0, 5)
        ),
    ),
)
def test_victims_are_the_least_and_no_more_than_needed(
    entries: list[Entry], needed: int, below: tuple[int, float, int] | None
) -> None:
    victims = choose_victims(entries, needed, below)
    allowed = [entry for entry in entries if below is None or eviction_rank(entry) < below]
    if victims is None:
        assert sum(entry.size_bytes for entry in allowed) < needed
        return
    assert sum(victim.size_bytes for victim in victims) >= needed
    assert sum(victim.size_bytes for victim in victims[:-1]) < max(needed, 1)
    kept = [entry for entry in entries if entry not in victims]
    if victims and kept:
        assert max(map(eviction_rank, victims)) <= min(map(eviction_rank, kept))
    if any(victim.safety and victim.state == "queued" for victim in victims):
        assert all(entry.safety and entry.state == "queued" for entry in kept)
