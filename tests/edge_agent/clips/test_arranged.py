"""Messages that are read from where they lie: the same as at hand, and no more than needed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import NS_PER_MS, NS_PER_S, ClockQuality
from contracts.samples import ImageSample, SignalSample
from contracts.trigger_spec import parse_spec
from edge_agent.clips.arranged import Arranged, read_where, with_others
from edge_agent.clips.pack import DriveFacts, collect, prepare, write_active
from edge_agent.drive.ring import Ring
from edge_agent.selection.capture import CaptureBook
from kernels.clip.encoding import EncodedMessage, MessageHead, payload_bytes
from kernels.triggers.engine import Fire

SPEC = "apiVersion: longtail/v1\nkind: hard_brake\nid: hard-brake\nversion: 1\nowner: x\n"
FACTS = DriveFacts("d", 0, ClockQuality(synchronised=True), None, {})


class Counted(Sequence[EncodedMessage]):
    """Messages that know how often each was read."""

    def __init__(self, messages: list[EncodedMessage]) -> None:
        self._messages = messages
        self.read = [0] * len(messages)

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> EncodedMessage: ...

    @overload
    def __getitem__(self, index: slice) -> list[EncodedMessage]: ...

    def __getitem__(self, index: int | slice) -> EncodedMessage | list[EncodedMessage]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        message = self._messages[index]
        self.read[index] += 1
        return message

    def heads(self) -> list[MessageHead]:
        return [
            MessageHead(m.channel, m.schema_name, m.mono_ns, len(m.payload)) for m in self._messages
        ]

    def size_bytes(self) -> int:
        return sum(len(m.payload) for m in self._messages)


def message(at_ns: int, size: int = 3, channel: str = "/a") -> EncodedMessage:
    return EncodedMessage(channel, "s", at_ns, bytes([at_ns % 256]) * size)


_TIMES = st.lists(st.integers(0, 9), max_size=12)


@given(_TIMES, _TIMES, st.data())
def test_what_is_arranged_is_as_a_list_would_be(
    times: list[int], others: list[int], data: st.DataObject
) -> None:
    source = [message(at, size) for size, at in enumerate(times)]
    beside = [message(at, 2, "/b") for at in others]
    everything = [*source, *beside]
    rows = data.draw(st.lists(st.integers(0, max(0, len(everything) - 1)), max_size=20))
    rows = rows if everything else []
    expected = [everything[row] for row in rows]
    counted = Counted(source)
    arranged = Arranged(counted, rows, beside)
    heads = [(head.channel, head.mono_ns, head.size_bytes) for head in arranged.heads()]
    assert heads == [(m.channel, m.mono_ns, len(m.payload)) for m in expected]
    assert payload_bytes(arranged) == sum(len(m.payload) for m in expected)
    assert not any(counted.read)
    assert list(arranged) == arranged[:] == expected
    by_time = with_others(Counted(source), beside)
    assert list(by_time) == sorted(everything, key=lambda m: m.mono_ns)


def test_of_other_heads_nothing_is_read() -> None:
    counted = Counted([message(at, 3, "/ab"[: 1 + at % 2]) for at in range(10)])
    found = list(read_where(counted, lambda head: head.channel == "/a"))
    assert [m.mono_ns for m in found] == [1, 3, 5, 7, 9]
    assert counted.read == [0, 1] * 5


def test_a_clip_of_a_ring_is_never_held_whole(tmp_path: Path) -> None:
    ring = Ring(64 * 2**20)
    for tenth in range(200):
        at_ns = tenth * 100 * NS_PER_MS
        picture = ImageSample("/camera/a", at_ns, "jpeg", b"\xff\xd8" + bytes(200_000), 0, 0, "a")
        ring.push_sample(picture, 0)
        ring.push_sample(SignalSample("ego.speed_mps", at_ns, 4.0), 0)
    book = CaptureBook("v", "b")
    spec = parse_spec(SPEC + "capture: {pre: 8s, post: 8s}\n", "s")
    at_ns = 10 * NS_PER_S
    book.add(Fire(spec, at_ns, at_ns, at_ns, 1.0, {"decel_mps2": 4.0}, ""))
    (job,) = book.flush()
    tracemalloc.start()
    try:
        clip = prepare(job, collect(job, ring), FACTS)
        written = write_active((tmp_path / "clip.mcap").open("wb"), clip)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written.size_bytes > 32_000_000
    assert clip.manifest.summary.image_frames > 150
    # What the MCAP library has in hand is a chunk of four million bytes, given to us at once.
    assert most_bytes < 8_000_000
