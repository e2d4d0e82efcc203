"""The ring: a frame pushed, and a clip's window copied out, against a memcpy of the same bytes.

A frame is six JPEG images, one encoded sweep and the motion of a tenth of a second, as a vehicle
with six cameras and one lidar gives them. The ring is full throughout: each push makes room. The
memcpy goes through a buffer of the ring's size, so that both miss the caches alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.figures import Figure, figure, median_cpu_ns
from bench.simulated_frames import FRAME_NS, SimulatedFrames
from edge_agent.drive.ring import Ring
from edge_agent.drive.ring_window import RingWindow
from kernels.clip.encoding import EncodedMessage, encode_sample

RING_BYTES = 128 * 2**20
WINDOW_FRAMES = 80
_REPETITIONS = 31


def run(
    source: SimulatedFrames | None = None, capacity_bytes: int = RING_BYTES,
    window_frames: int = WINDOW_FRAMES, repetitions: int = _REPETITIONS,
) -> list[Figure]:  # fmt: skip
    """All figures.

    Args:
        capacity_bytes: of the ring; it must hold `window_frames` frames.
        repetitions: of each job.
    """
    source = source or SimulatedFrames()
    frames = Frames(source, capacity_bytes)
    frames.fill(window_frames)
    copied = list(frames.window(window_frames))
    size = sum(len(each.payload) for each in frames.one)
    window = sum(len(each.payload) for each in copied)
    spent = median_cpu_ns(
        {
            "push": frames.push,
            "memcpy": memcpy_job(frames.one, capacity_bytes),
            "found": lambda: frames.window(window_frames),
            "window": lambda: list(frames.window(window_frames)),
            "window memcpy": memcpy_job(copied, window),
        },
        repetitions,
    )
    messages = len(frames.one)
    return [
        figure(
            f"push of a frame of {messages} messages, {size / 1e6:.1f} MB", spent["push"] / 1e6,
            "ms/frame", reference="memcpy of the same bytes",
            reference_value=spent["memcpy"] / 1e6,
        ),
        figure("the same window found, which is the drive's share", spent["found"] / 1e6, "ms",
               reference="memcpy of the same bytes", reference_value=spent["window memcpy"] / 1e6),
        figure(
            f"window of {len(copied)} messages, {window / 1e6:.0f} MB, copied out",
            spent["window"] / 1e6, "ms", reference="memcpy of the same bytes",
            reference_value=spent["window memcpy"] / 1e6,
        ),
        figure(
            "push, bandwidth of payload", size / spent["push"], "GB/s",
            reference="memcpy of the same bytes", reference_value=size / spent["memcpy"],
        ),
    ]  # fmt: skip


class Frames:
    """A ring, and frames that are pushed into it one after the other."""

    def __init__(self, source: SimulatedFrames, capacity_bytes: int) -> None:
        self.ring = Ring(capacity_bytes)
        self.number = 0
        frame = source.frame(0)
        samples = (*frame.motion, *frame.images, frame.sweep)
        self.one = [encode_sample(each, 0) for each in samples]

    def push(self) -> None:
        later_ns = self.number * FRAME_NS
        for each in self.one:
            self.ring.push(
                EncodedMessage(
                    each.channel, each.schema_name, each.mono_ns + later_ns, each.payload
                )
            )
        self.number += 1

    def fill(self, at_least: int) -> None:
        """Until frames make room for newer ones, and `at_least` so many were pushed."""
        while self.ring.pushed_out == 0 or self.number < at_least:
            self.push()

    def window(self, frames: int) -> RingWindow:
        end_ns = self.number * FRAME_NS
        return self.ring.window(end_ns - frames * FRAME_NS, end_ns, lambda channel: True)


def memcpy_job(messages: list[EncodedMessage], capacity_bytes: int) -> Callable[[], None]:
    """A memcpy of each payload to the next place of a buffer."""
    target = np.ones(capacity_bytes, np.uint8)
    sources = [np.frombuffer(each.payload, np.uint8) for each in messages]
    place = 0

    def copy_all() -> None:
        nonlocal place
        for content in sources:
            if place + content.size > capacity_bytes:
                place = 0
            np.copyto(target[place : place + content.size], content)
            place += content.size

    return copy_all
