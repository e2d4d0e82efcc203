"""Specs in shadow count what they would have asked for, and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.check_in import ShadowTrigger
from contracts.clip import Window
from contracts.clock import VirtualClock
from contracts.ids import EventKey
from contracts.trigger_spec import parse_spec
from edge_agent.clips.pack import collect
from edge_agent.drive.ring import Ring
from edge_agent.ledger import Ledger
from edge_agent.runtime import BuiltIn
from edge_agent.runtime.shadow_triggers import MESSAGE_BYTES, would_be_bytes
from edge_agent.selection.budget import Suppress, budget_key
from edge_agent.selection.capture import ClipJob
from kernels.clip.encoding import EncodedMessage
from tests.edge_agent.agent_drives import driven, offer, rule
from tests.edge_agent.runtime_rig import BOOT, VEHICLE, Rig, model_release, release, spec

FAST = spec("brakes", version=2, when="ego.decel_mps2 > 1", cooldown="10s")


def brake(rig: Rig, at_s: float, accel: float = -4, **more: float) -> None:
    rig.go(at_s, camera_hz=10)
    rig.go(at_s + 0.3, camera_hz=10, accel=accel, **more)  # type: ignore[arg-type]


def told(rig: Rig) -> ShadowTrigger:
    (found,) = rig.runtime.report().shadow_triggers
    return found


def test_a_shadow_counts_and_the_active_spec_does_not_notice(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    built_in = BuiltIn((spec(cooldown="10s"),), model_release("m"))
    alone, shadowed = Rig(tmp_path / "a", built_in), Rig(tmp_path / "b", built_in)
    shadowed.offer(release(FAST, shadow=True))
    for rig in (alone, shadowed):
        brake(rig, 5.0, accel=-1.5)  # only the shadow fires
        brake(rig, 6.0)  # within the shadow's cooldown, not within the active one's
        brake(rig, 20.0)
        rig.go(30.0)
        rig.runtime.finish()
    assert alone.fires == shadowed.fires
    assert alone.outcomes == shadowed.outcomes == ["kept", "kept"]
    assert alone.clips == shadowed.clips
    assert alone.ledger.spending.of("brakes") == shadowed.ledger.spending.of("brakes")
    assert [reason for _, reason in shadowed.shadow_fires] == ["shadow", "cooldown", "shadow"]
    found = told(shadowed)
    assert (found.trigger_id, found.version, found.digest) == ("brakes", 2, FAST.digest)
    assert (found.fires, found.clips) == (2, 2)
    assert found.driving_s == pytest.approx(30.0, abs=0.1)
    counted = {(r.trigger_id, r.reason): r.fires for r in shadowed.ledger.suppressions.rows()}
    assert counted == {("brakes@shadow", "shadow"): 2, ("brakes@shadow", "cooldown"): 1}
    assert shadowed.ledger.spending.of("brakes@shadow").trigger.clips == 0


def test_windows_merge_as_real_ones_and_sizes_are_those_of_real_clips(tmp_path: Path) -> None:
    """The same spec active and in shadow: what it would take is what it took."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    more = 'capture: {pre: 2s, post: 1s, channels: ["/camera/*", "/signals/ego.*"], '
    more += 'downsample: {"/camera/*": 3}}\n'
    text = spec(more="").text.replace("capture: {pre: 2s, post: 1s}\n", more)
    loaded = parse_spec(text, "brakes")
    model = model_release("m")
    active, shadow = (
        Rig(tmp_path / "a", BuiltIn((), model)),
        Rig(tmp_path / "b", BuiltIn((), model)),
    )
    active.offer(release(loaded))
    shadow.offer(release(loaded, shadow=True))
    for rig in (active, shadow):
        for at_s in (5.0, 5.7, 30.0, 39.5):
            brake(rig, at_s)
        rig.go(40.0)
        rig.runtime.finish()  # the last window is still open
    assert len(active.clips) == 3
    found = told(shadow)
    assert (found.fires, found.clips) == (4, 3)
    sizes = [sum(len(m.payload) + MESSAGE_BYTES for m in messages) for _, messages in active.clips]
    assert found.size_bytes == sum(sizes) > 0
    assert shadow.clips == []


CHANNELS = ("/camera/a", "/camera/b", "/signals/x", "/tf")


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(CHANNELS), st.integers(0, 40), st.integers(0, 30)), max_size=60
    ),
    st.lists(st.tuples(st.sampled_from(("/tf", "/camera/a/calibration")), st.integers(0, 9))),
    st.integers(20, 400),
    st.integers(0, 40),
    st.integers(0, 40),
    st.sets(st.sampled_from(("/camera/*", "/signals/*", "/camera/a")), min_size=1),
    st.dictionaries(st.sampled_from(("/camera/*", "/camera/a", "/signals/*")), st.integers(1, 4)),
)
def test_a_window_is_as_large_as_what_would_be_collected(
    messages: list[tuple[str, int, int]],
    latched: list[tuple[str, int]],
    capacity: int,
    start: int,
    length: int,
    channels: set[str],
    downsample: dict[str, int],
) -> None:
    ring = Ring(capacity)
    for channel, size in latched:
        ring.latch(str(size), EncodedMessage(channel, "s", 0, b"l" * size))
    for now, (channel, late, size) in enumerate(messages):
        if size <= capacity:
            ring.push(EncodedMessage(channel, "s", now - late % 3, b"x" * size))
    job = ClipJob(
        EventKey(vehicle_id=VEHICLE, boot_id=BOOT, start_mono_ns=start, end_mono_ns=start),
        Window(start_mono_ns=start, end_mono_ns=start + length), (), tuple(channels), downsample,
        "normal", False, "triggered", None, (),
    )  # fmt: skip
    taken = list(collect(job, ring))
    assert would_be_bytes(job, ring) == sum(len(m.payload) + MESSAGE_BYTES for m in taken)


@pytest.mark.parametrize("source", ["comma2k19", "sim:seed=1,duration_s=14"])
def test_sizes_are_near_those_of_the_files(shared_data: Path, tmp_path: Path, source: str) -> None:
    """One rule, active and in shadow over the same drive: scalars alone, and all sensors."""
    moving = rule("moving", "ego.speed_mps > 5", mode="level", cooldown="9s")
    path = f"comma2k19:{shared_data / 'comma2k19'}" if source == "comma2k19" else source
    report, _ = driven(
        tmp_path, path, {0.01: offer((moving, False), (moving, True))}, specs=(), rules=()
    )
    (shadow,) = report.lineup.shadow_triggers
    assert shadow.clips == len(report.clips) > 0
    taken = sum(clip.size_bytes for clip in report.clips)
    assert shadow.size_bytes == pytest.approx(taken, rel=0.1)


def test_totals_last_over_restarts_and_are_kept_apart_by_digest(tmp_path: Path) -> None:
    other = spec("brakes", version=3, when="ego.decel_mps2 > 1", cooldown="1s")
    for _ in range(2):
        rig = Rig(tmp_path, BuiltIn((spec(),)))
        rig.offer(release(FAST, shadow=True))
        brake(rig, 15.0)
        rig.go(20.0)
        assert told(rig).digest == FAST.digest
        rig.offer(release(other, shadow=True))
        brake(rig, 31.0)
        rig.go(35.0)
        assert told(rig).digest == other.digest
        rig.ledger.close()
    assert (told(rig).fires, told(rig).clips) == (2, 2)
    assert told(rig).driving_s == pytest.approx(30.0, abs=0.2)
    again = Rig(tmp_path, BuiltIn((spec(),)))
    again.offer(release(FAST, shadow=True))
    again.go(0.1)
    found = told(again)
    assert (found.fires, found.clips) == (2, 2)
    assert found.driving_s == pytest.approx(40.0, abs=0.2)


def test_a_window_that_is_open_when_its_spec_leaves_is_counted(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    rig.offer(release(FAST, shadow=True))
    brake(rig, 5.0)
    assert told(rig).clips == 0
    rig.offer()
    rig.go(6.0)
    rig.offer(release(FAST, shadow=True))
    rig.go(6.1)
    assert (told(rig).fires, told(rig).clips) == (1, 1)
    assert told(rig).size_bytes > 0


def test_a_spec_that_asks_for_shadow_itself_is_counted_alike(tmp_path: Path) -> None:
    quiet = spec("quiet", more="target: {shadow: true}\n", cooldown="10s")
    rig = Rig(tmp_path, BuiltIn((quiet, spec())))
    brake(rig, 5.0)
    rig.go(8.0)
    assert {name for name, _, _ in rig.fires} == {"brakes"}
    assert (told(rig).trigger_id, told(rig).fires, told(rig).clips) == ("quiet", 1, 1)
    assert budget_key(quiet) == "quiet@shadow"


def test_fires_in_shadow_are_none_in_the_counters(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn())
    rig.offer(release(FAST, shadow=True))
    brake(rig, 5.0)
    assert told(rig).fires == 1
    assert rig.runtime.report().counters.fires == 0


def test_a_shadow_that_breaks_is_at_fault_and_the_drive_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, BuiltIn((spec(),)))
    rig.offer(release(FAST, shadow=True))
    monkeypatch.setattr(rig.runtime._shadow, "tick", lambda *_: 1 // 0)
    brake(rig, 5.0)
    (fault,) = rig.runtime.report().faults
    assert (fault.slot.text, fault.stage) == ("trigger:brakes@shadow", "soak")
    assert [name for name, _, _ in rig.fires] == ["brakes"]


def test_cooldowns_of_shadow_and_active_are_apart_in_the_ledger(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn())
    loaded = spec(cooldown="10s")
    rig.book.admit(loaded, 1)
    assert rig.book.admit(loaded, 2, shadow=True) == Suppress("shadow")
    assert rig.book.admit(loaded, 3, shadow=True) == Suppress("cooldown")
    assert rig.book.admit(loaded, 4) == Suppress("cooldown")
    reopened = Ledger(tmp_path / "other.sqlite", VirtualClock(), BOOT)
    assert reopened.spending.of("brakes@shadow").last_fire_mono_ns is None
