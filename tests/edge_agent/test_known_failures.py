"""Failures known from other agents, each by name, against the real parts.

Each is a way in which a recorder on a vehicle has lost, doubled or overspent something in the
field while every part of it worked as written.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from contracts.clip import ClipManifest
from contracts.clock import NS_PER_DAY, NS_PER_S, ClockQuality, VirtualClock
from contracts.ids import PART_BYTES, part_count
from contracts.samples import SignalSample
from contracts.signal_log import SIGNAL_LOG_SUFFIX
from contracts.trigger_spec import LoadedSpec, parse_spec
from contracts.upload import TokenAnswer, UploadRequest, UploadStatus
from edge_agent.budget import BudgetBook, Keep, VehicleLimits
from edge_agent.capture import MAX_CLIP_NS, CaptureBook
from edge_agent.config import SpoolConfig
from edge_agent.describe import describe_clip
from edge_agent.disk import RealDisk
from edge_agent.event_records import EventTeller
from edge_agent.identity import token_of
from edge_agent.ledger import Ledger
from edge_agent.pack import DriveFacts, collect, is_partial, prepare
from edge_agent.packer import Packer
from edge_agent.ports import Link
from edge_agent.ring import Ring
from edge_agent.runtime import BuiltIn
from edge_agent.spool import Entry, Receipt, Spool, list_spool
from edge_agent.spool import spool as spool_module
from edge_agent.spool.eviction import Rank, choose_victims
from edge_agent.upload.policy import CellularLimits, Wait, decide
from edge_agent.upload.protocol import Authenticated, Event, Finish, Replied, Started, Uploaded
from edge_agent.upload.session import UploadSession
from edge_agent.upload.signal_logs import REFUSED, SENT
from kernels.clip.encoding import encode_sample
from kernels.clip.reader import read_manifest, read_spec_texts
from kernels.triggers.engine import Fire
from tests.edge_agent import runtime_rig
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.test_upload_session import SIZE, UP_TO_PART, at, declared
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
from tests.kernels.test_triggers import drive as drive_triggers
from tests.kernels.test_triggers import spec as trigger_spec

GIB = 2**30
SMALL = 10_000
LARGE = 2 * PART_BYTES + 12_345
FACTS = DriveFacts("d", 0, ClockQuality(synchronised=True), None, {})


# Quotas and lifetimes that wrap in 32 bits -------------------------------------------------------


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


# A refusal taken for success ---------------------------------------------------------------------


PHASES: dict[str, Sequence[Event]] = {
    "declare": (Authenticated(),),
    "offset": (Authenticated(), declared()),
    "part": UP_TO_PART,
    "status": (*UP_TO_PART, at(PART_BYTES), at(2 * PART_BYTES), at(SIZE)),
}


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


# A preserve flag set after its absence was cached ------------------------------------------------


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


# Items in flight missing from the persisted queue ------------------------------------------------


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


# Expiry on the wall clock ------------------------------------------------------------------------


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


# A window clamped below what its spec asked ------------------------------------------------------


def spec(name: str = "a", body: str = "") -> LoadedSpec:
    text = f"apiVersion: longtail/v1\nkind: hard_brake\nid: {name}\nversion: 1\nowner: x\n{body}"
    return parse_spec(text, f"{name}.yaml")


def fire(loaded: LoadedSpec, at_s: float) -> Fire:
    at_ns = round(at_s * NS_PER_S)
    return Fire(loaded, at_ns, at_ns, at_ns, 1.0, {}, "")


@pytest.mark.parametrize(("pre_s", "post_s"), [(0, 0), (45, 30), (100, 90), (300, 1)])
def test_a_window_is_what_its_spec_asked_however_long(pre_s: int, post_s: int) -> None:
    book = CaptureBook("v", "b")
    book.add(fire(spec(body=f"capture: {{pre: {pre_s}s, post: {post_s}s}}\n"), 400.0))
    assert book.due(round((400 + post_s) * NS_PER_S)) == []
    (job,) = book.due((400 + post_s) * NS_PER_S + 1)
    assert job.requested.start_mono_ns == (400 - pre_s) * NS_PER_S
    assert job.requested.end_mono_ns == (400 + post_s) * NS_PER_S


def test_windows_that_would_merge_past_the_longest_clip_are_two_and_both_whole() -> None:
    book = CaptureBook("v", "b")
    half_s = MAX_CLIP_NS // NS_PER_S * 2 // 3
    for at_s in (500.0, 500.0 + half_s):
        book.add(fire(spec(body=f"capture: {{pre: {half_s}s, post: 1s}}\n"), at_s))
    windows = [(job.requested.start_mono_ns, job.requested.end_mono_ns) for job in book.flush()]
    assert windows == [
        (round((at_s - half_s) * NS_PER_S), round((at_s + 1) * NS_PER_S))
        for at_s in (500.0, 500.0 + half_s)
    ]


def test_a_ring_that_no_longer_holds_the_window_says_so(tmp_path: Path) -> None:
    ring = Ring(1000)
    for tenth in range(1000):
        sample = SignalSample("ego.speed_mps", tenth * NS_PER_S // 10, 1.0)
        ring.push(encode_sample(sample, 0))
    book = CaptureBook("v", "b")
    book.add(fire(spec(body="capture: {pre: 60s, post: 1s}\n"), 95.0))
    (job,) = book.flush()
    manifest = prepare(job, collect(job, ring), FACTS).manifest
    assert manifest.requested.start_mono_ns == 35 * NS_PER_S, "what was asked is not rewritten"
    assert manifest.actual.start_mono_ns > 80 * NS_PER_S
    assert is_partial(manifest)


# A one-sided swerve ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("by", ["lateral", "reversal"])
def test_a_swerve_fires_to_either_side(side: float, by: str) -> None:
    loaded = trigger_spec("swerve", "when: {filter_s: 0, reversal_s: 1.0}\n")

    def lateral(i: int) -> dict[str, float]:
        hit = 50 < i < 80
        return {
            "ego.yaw_rate_radps": 0.0, "ego.speed_mps": 12.0,
            "ego.lat_accel_mps2": side * (5.0 if hit else 0.0),
        }  # fmt: skip

    def reversal(i: int) -> dict[str, float]:
        """Out and back once, to this side first."""
        yaw = 0.4 if 40 <= i < 60 else -0.4 if 60 <= i < 80 else 0.0
        return {
            "ego.yaw_rate_radps": side * yaw, "ego.speed_mps": 12.0, "ego.lat_accel_mps2": 0.5,
        }  # fmt: skip

    signals: Callable[[int], dict[str, float]] = lateral if by == "lateral" else reversal
    (found,) = drive_triggers(loaded, 150, signals)
    mirrored = drive_triggers(
        loaded, 150, lambda i: {k: _mirror(k, v) for k, v in signals(i).items()}
    )
    assert [one.fired_mono_ns for one in mirrored] == [found.fired_mono_ns]


def _mirror(name: str, value: float) -> float:
    return value if name == "ego.speed_mps" else -value


# Windows counted in samples ----------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [1, 7, 10, 50, 400])
def test_a_window_is_the_same_time_at_any_rate(rate_hz: int) -> None:
    ring = Ring(4_000_000)
    step_ns = NS_PER_S // rate_hz
    for number in range(30 * rate_hz):
        sample = SignalSample("ego.speed_mps", number * step_ns, 1.0)
        ring.push(encode_sample(sample, 0))
    book = CaptureBook("v", "b")
    book.add(fire(spec(body="capture: {pre: 8s, post: 5s}\n"), 15.0))
    (job,) = book.flush()
    times = [message.mono_ns for message in collect(job, ring)]
    assert 0 <= min(times) - 7 * NS_PER_S < step_ns
    assert 0 <= 20 * NS_PER_S - max(times) < step_ns
    assert len(times) == pytest.approx(13 * rate_hz, abs=1.01)


# A spec change that clears history or deletes unsent clips; a removed spec -----------------------


@pytest.mark.parametrize("change", ["new version", "removed", "killed"])
def test_a_changed_or_removed_spec_keeps_history_and_unsent_clips(
    tmp_path: Path, change: str
) -> None:
    drive = runtime_rig.Rig(tmp_path, BuiltIn((runtime_rig.spec(),)))
    spool = Spool(
        tmp_path / "spool", 10**8, 0, drive.clock, RealDisk(), drive.ledger, describe_clip
    )
    packer = Packer(spool, drive.book, EventTeller(drive.ledger, 0), FACTS, lambda _: None)
    drive.go(10.0)
    drive.go(10.2, accel=-4)
    drive.go(14.0)
    drive.go(14.2, accel=-4)
    drive.go(14.6)  # its window is open when the change comes
    held_bytes = drive.ring.used_bytes
    spent = drive.ledger.spending.of("brakes")
    for job, messages in drive.clips:
        packer.pack(job, messages, FACTS)
    before = spool.queue()
    assert len(before) == 1
    other = runtime_rig.spec("other", when="ego.speed_mps > 99")
    match change:
        case "new version":
            drive.offer(runtime_rig.release(runtime_rig.spec(version=2, when="ego.decel_mps2 > 3")))
        case "removed":
            drive.offer(runtime_rig.release(other))
        case _:
            drive.offer(runtime_rig.release(other), killed=frozenset({"brakes"}))
    drive.go(14.8)
    assert drive.ring.used_bytes >= held_bytes, "the pre-roll is there"
    after = drive.ledger.spending.of("brakes")
    assert (after.trigger.clips, after.last_fire_mono_ns) == (
        spent.trigger.clips, spent.last_fire_mono_ns,
    )  # fmt: skip
    drive.go(18.0)
    for job, messages in drive.clips[1:]:
        packer.pack(job, messages, FACTS)
    assert packer.counts["lost"] == 0
    assert spool.queue()[:1] == before and len(spool.queue()) >= 2, "both clips wait"
    # They can still be told apart, described and recovered without the spec that is gone.
    for entry in spool.queue():
        spool_path = spool.path(entry.clip_id)
        manifest: ClipManifest = read_manifest(spool_path)
        assert manifest.causes[0].trigger_id == "brakes"
        assert read_spec_texts(spool_path).keys() == {"brakes-v1.yaml"}
        (tmp_path / "spool" / "clips" / f"{entry.clip_id}.json").unlink()
    again = Spool(
        tmp_path / "spool", 10**8, 0, drive.clock, RealDisk(), drive.ledger, describe_clip
    )
    assert {e.clip_id for e in again.queue()} == {e.clip_id for e in spool.queue()}


# Shared ------------------------------------------------------------------------------------------


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
