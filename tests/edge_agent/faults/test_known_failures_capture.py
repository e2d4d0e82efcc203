"""Windows, sides and specs: failures known from other agents.

Each is a way in which a recorder on a vehicle has lost, doubled or overspent something in the
field while every part of it worked as written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S, ClockQuality
from contracts.samples import SignalSample
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.clips.describe import describe_clip
from edge_agent.clips.event_records import EventTeller
from edge_agent.clips.pack import DriveFacts, collect, is_partial, prepare
from edge_agent.clips.packer import Packer
from edge_agent.disk import RealDisk
from edge_agent.drive.ring import Ring
from edge_agent.runtime import BuiltIn
from edge_agent.selection.capture import MAX_CLIP_NS, CaptureBook
from edge_agent.spool import Spool
from kernels.clip.encoding import encode_sample
from kernels.clip.reader import read_manifest, read_spec_texts
from kernels.triggers.engine import Fire
from tests.edge_agent import runtime_rig
from tests.kernels.test_triggers import drive as drive_triggers
from tests.kernels.test_triggers import spec as trigger_spec

FACTS = DriveFacts("d", 0, ClockQuality(synchronised=True), None, {})


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
