"""The ring: bounded, in order, and honest about what it no longer holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InputError
from edge_agent.drive.ring import Ring
from kernels.clip.encoding import EncodedMessage


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
        held = ring.window(0, i, lambda channel: True)
        assert held == pushed[len(pushed) - len(held) :]
        assert held
        assert sum(len(m.payload) for m in held) == ring.used_bytes <= capacity
        lost = pushed[: len(pushed) - len(held)]
        assert ring.lost_until_ns == (lost[-1].mono_ns if lost else None)


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
