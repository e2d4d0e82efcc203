"""The ring: bounded, in order, and honest about what it no longer holds."""

from __future__ import annotations

import sys
from threading import Thread
from types import FrameType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InputError
from contracts.samples import (
    CalibrationSample,
    FixSample,
    ImageSample,
    LidarSample,
    MountSample,
    PlanSample,
    PoseSample,
    RadarSample,
    Sample,
    SignalSample,
)
from edge_agent.drive.ring import Ring
from edge_agent.drive.ring_window import RingWindow
from kernels.clip.encoding import EncodedMessage, encode_sample

SAMPLES: tuple[Sample, ...] = (
    SignalSample("ego.speed_mps", 5, 3.25),
    ImageSample("/camera/a", 5, "jpeg", b"a picture" * 90, 1, 1, "a"),
    ImageSample("/camera/a", 5, "jpeg", memoryview(b"a picture"), 1, 1, "a"),
    ImageSample("/camera/a", 5, "png", b"", 1, 1, "a"),
    LidarSample("/lidar/a", 5, np.ones((9, 3), np.float32), np.zeros(9, np.uint8), "a"),
    RadarSample("/radar/a", 5, np.ones((2, 4))),
    PoseSample(5, np.ones(3), np.array([0.0, 0.0, 0.0, 1.0])),
    FixSample(5, 48.0, 9.0, 300.0),
    PlanSample(5, np.arange(2.0), np.zeros((2, 2))),
    CalibrationSample("/camera/a", 5, 640, 480, np.eye(3), np.eye(4), "a"),
    MountSample(5, "a", np.eye(4)),
)


def message(mono_ns: int, size: int, channel: str = "/a") -> EncodedMessage:
    return EncodedMessage(channel, "s", mono_ns, bytes([mono_ns % 251]) * size)


@given(st.integers(50, 400), st.lists(st.integers(0, 60), max_size=80))
def test_it_holds_a_suffix_of_what_was_pushed_and_never_more_than_its_size(
    capacity: int, sizes: list[int]
) -> None:
    ring = Ring(capacity)
    pushed = []
    for i, size in enumerate(sizes):
        if size > capacity:
            continue
        pushed.append(message(i, size))
        ring.push(pushed[-1])
        held = list(ring.window(0, i, lambda channel: True))
        assert held == pushed[len(pushed) - len(held) :]
        assert held
        assert sum(len(m.payload) for m in held) == ring.used_bytes <= capacity
        lost = pushed[: len(pushed) - len(held)]
        assert ring.lost_until_ns == (lost[-1].mono_ns if lost else None)


@given(st.sampled_from(SAMPLES), st.integers(0, 2**40))
def test_a_sample_lies_there_as_its_message_does(sample: Sample, offset_ns: int) -> None:
    ring, other = Ring(100_000), Ring(100_000)
    ring.push_sample(sample, offset_ns)
    other.push(encode_sample(sample, offset_ns))
    found, expected = (list(each.window(0, 10, lambda channel: True)) for each in (ring, other))
    assert found == expected
    assert len(found) == 1
    assert ring.used_bytes == other.used_bytes == len(expected[0].payload)


@given(
    st.integers(9, 200),
    st.lists(st.lists(st.floats(allow_nan=False), max_size=5), max_size=12),
    st.integers(0, 60),
)
def test_signals_lie_there_as_their_messages_do(
    capacity: int, values: list[list[float]], between: int
) -> None:
    ring, other = Ring(capacity), Ring(capacity)
    at_ns = 0
    for several in values:
        signals = [SignalSample("ego.speed_mps", at_ns + i, v) for i, v in enumerate(several)]
        at_ns += len(signals)
        ring.push_signals(signals)
        for signal in signals:
            other.push(encode_sample(signal, 5))
        if between <= capacity:
            ring.push(message(at_ns, between))
            other.push(message(at_ns, between))
        found, expected = (list(each.window(0, at_ns, lambda _: True)) for each in (ring, other))
        assert found == expected
        assert (ring.used_bytes, ring.lost_until_ns, ring.pushed_out) == (
            other.used_bytes, other.lost_until_ns, other.pushed_out,
        )  # fmt: skip


def test_a_signal_larger_than_the_ring_is_refused() -> None:
    with pytest.raises(InputError, match="9 bytes does not fit a ring of 8"):
        Ring(8).push_signals([SignalSample("ego.speed_mps", 5, 1.0)])


def test_a_sample_that_cannot_be_stored_leaves_the_ring_as_it_was() -> None:
    ring = Ring(100)
    ring.push_sample(SAMPLES[0], 0)
    for image in (
        ImageSample("/camera/a", 5, "rgb8", b"abc", 1, 1, "a"),
        ImageSample("/camera/a", 5, "jpeg", bytes(100), 1, 1, "a"),
    ):
        with pytest.raises(InputError, match="/camera/a"):
            ring.push_sample(image, 0)
    assert list(ring.window(0, 10, lambda channel: True)) == [encode_sample(SAMPLES[0], 0)]


def test_it_keeps_at_least_half_of_its_size_busy() -> None:
    ring = Ring(1000)
    for i in range(500):
        ring.push(message(i, 90))
    assert ring.used_bytes >= 900


def test_windows_are_in_time_and_by_channel() -> None:
    ring = Ring(10_000)
    for mono_ns, channel in ((1, "/a"), (3, "/b"), (2, "/a"), (4, "/a")):
        ring.push(message(mono_ns, 4, channel))
    found = ring.window(2, 4, lambda channel: True)
    assert [m.mono_ns for m in found] == [2, 3, 4]
    assert [m.mono_ns for m in ring.window(1, 4, lambda channel: channel == "/a")] == [1, 2, 4]


def test_latched_messages_are_never_pushed_out() -> None:
    ring = Ring(100)
    ring.latch("front", message(1, 10, "/tf"))
    ring.latch("front", message(2, 10, "/tf"))
    ring.latch("rear", message(1, 10, "/tf"))
    for i in range(50):
        ring.push(message(i, 60))
    assert [m.mono_ns for m in ring.latched()] == [2, 1]


def test_transforms_come_before_the_calibrations_that_need_them() -> None:
    ring = Ring(100)
    ring.latch("", message(1, 10, "/camera/front/calibration"))
    ring.latch("front", message(1, 10, "/tf"))
    assert [m.channel for m in ring.latched()] == ["/tf", "/camera/front/calibration"]


def test_a_message_larger_than_the_ring_is_refused() -> None:
    ring = Ring(100)
    ring.push(message(1, 50))
    with pytest.raises(InputError, match="101 bytes"):
        ring.push(message(2, 101))
    assert ring.used_bytes == 50


@given(st.integers(50, 400), st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=80))
def test_windows_keep_what_they_showed_when_they_were_taken(
    capacity: int, steps: list[tuple[int, bool]]
) -> None:
    """Read at any time later, in any part: the ring may have overwritten all of it by then."""
    ring, pushed = Ring(capacity), list[EncodedMessage]()
    taken: list[tuple[RingWindow, list[EncodedMessage]]] = []
    for i, (size, is_read) in enumerate(steps):
        if size > capacity:
            continue
        # Every third comes late: by time it lies before others that came before it.
        pushed.append(message(i - 5 * (i % 3 == 0), size, "/ab"[: 2 - i % 2]))
        ring.push(pushed[-1])
        window = ring.window(0, i, lambda channel: True)
        held = [each for each in pushed[ring.pushed_out :] if each.mono_ns >= 0]
        expected = sorted(held, key=lambda each: each.mono_ns)
        taken.append((window, expected))
        if is_read and len(window):
            assert window[i % len(window)] == expected[i % len(window)]
    for window, expected in taken:
        heads = [(h.channel, h.mono_ns, h.size_bytes) for h in window.heads()]
        assert heads == [(m.channel, m.mono_ns, len(m.payload)) for m in expected]
        assert list(window) == window[:] == expected


def test_of_a_channel_every_so_many_and_the_latched_ones_first() -> None:
    ring = Ring(10_000)
    ring.latch("front", message(0, 3, "/tf"))
    ring.latch("side", message(0, 3, "/other"))
    for i in range(4, 13):
        ring.push(message(i, 4, "/a" if i % 3 else "/b"))
    found = ring.window(
        5, 12, lambda channel: channel != "/other", {"/a": 2, "/b": 1, "/tf": 9}.__getitem__,
        latched=True,
    )  # fmt: skip
    assert [(m.channel, m.mono_ns) for m in found] == [
        ("/tf", 5), ("/a", 5), ("/b", 6), ("/a", 8), ("/b", 9), ("/a", 11), ("/b", 12),
    ]  # fmt: skip
    assert found[-1] == message(12, 4, "/b")
    with pytest.raises(IndexError):
        found[len(found)]


def test_a_thread_reads_a_window_while_the_ring_is_overwritten() -> None:
    ring = Ring(200_000)
    for i in range(400):
        ring.push(message(i, 1000))
    for begin in range(400, 6000, 200):
        expected = [message(i, 1000) for i in range(begin - 190, begin)]
        window = ring.window(begin - 190, begin - 1, lambda channel: True)
        read: list[EncodedMessage] = []
        reader = Thread(target=lambda w=window, r=read: r.extend(w))
        reader.start()
        for i in range(begin, begin + 200):
            ring.push(message(i, 1000))
        reader.join()
        assert read == expected


def test_a_ring_that_is_released_holds_nothing_and_its_windows_all() -> None:
    ring = Ring(1000)
    messages = [message(at, 100) for at in range(3)]
    for each in messages:
        ring.push(each)
    window = ring.window(0, 10, lambda _: True)
    ring.release()
    assert ring.used_bytes == 0
    assert list(ring.window(0, 10, lambda _: True)) == []
    assert list(window) == messages
    with pytest.raises(InputError, match="does not fit a ring of 0"):
        ring.push(message(4, 1))


def test_a_profiler_that_keeps_frames_does_not_keep_the_ring_from_growing() -> None:
    ring = Ring(1000)
    ring.push(message(0, 100))
    frames: list[FrameType] = []
    sys.setprofile(lambda frame, event, argument: frames.append(frame))
    try:
        window = ring.window(0, 10, lambda _: True)
    finally:
        sys.setprofile(None)
    assert "within" in {frame.f_code.co_name for frame in frames}
    ring.push(message(1, 100))
    assert list(window) == [message(0, 100)]
