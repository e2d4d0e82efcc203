"""The ring: the last seconds of every channel, encoded, in memory set aside once.

Bounded in bytes and prefaulted, so that memory use is known when the agent starts and no page
faults fall into a drive. The oldest messages make room for new ones. Windows are in time, and copy
themselves out of the ring message by message (`edge_agent.drive.ring_window`).
Latched messages (calibration, mounts) are pinned outside and never pushed out.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from contracts.channels import TRANSFORMS, signal_channel
from contracts.errors import InputError
from contracts.samples import Sample, SignalSample
from edge_agent.drive.ring_window import RingWindow, Rows
from kernels.clip import schemas
from kernels.clip.encoding import (
    SIGNAL_BYTES,
    EncodedMessage,
    MessageHead,
    Pieces,
    encode_in_pieces,
    write_signal,
)

_LEAST_DROPPED = 4096


class _Slots:
    """Where each message lies, oldest first, in plain arrays of numbers.

    A drive keeps hundreds of thousands: as objects they would be gone through by each round of the
    garbage collector, which stopped all threads for a tenth of a second.
    """

    def __init__(self) -> None:
        self.kinds: list[tuple[str, str]] = []
        """Channel and schema's name; a message has an index into these."""
        self._number: dict[tuple[str, str], int] = {}
        self._kind, self._time = array("q"), array("q")
        self._offset, self._length = array("q"), array("q")
        self._columns = self._kind, self._time, self._offset, self._length
        self._first = 0
        self._cut = 0
        """How many were dropped and are no longer in the arrays."""

    def __len__(self) -> int:
        return len(self._time) - self._first

    def number_of(self, channel: str, schema: str) -> int:
        """The index of a kind of messages."""
        kind = channel, schema
        number = self._number.get(kind)
        if number is None:
            number = self._number[kind] = len(self.kinds)
            self.kinds.append(kind)
        return number

    def append(self, kind: int, mono_ns: int, offset: int, length: int) -> None:
        self._kind.append(kind)
        self._time.append(mono_ns)
        self._offset.append(offset)
        self._length.append(length)

    @property
    def dropped(self) -> int:
        """How many were dropped: the running number of the oldest that is held."""
        return self._cut + self._first

    def oldest_at(self) -> int | None:
        """Where the oldest message lies; None when there is none."""
        first = self._first
        return self._offset[first] if first < len(self._offset) else None

    def oldest_from(self, start: int) -> int:
        """How many of the oldest, one after another, lie at `start` or behind it."""
        offsets, first = self._offset, self._first
        last = first
        while last < len(offsets) and offsets[last] >= start:
            last += 1
        return last - first

    def oldest_in(self, start: int, end: int) -> int:
        """How many of the oldest, one after another, have a byte there; an empty one takes one
        too.
        """
        offsets, lengths, first = self._offset, self._length, self._first
        last = first
        while (
            last < len(offsets)
            and offsets[last] < end
            and (start < offsets[last] + max(1, lengths[last]))
        ):
            last += 1
        return last - first

    def drop_oldest(self, count: int) -> tuple[int, int]:
        """Give up so many, one at least: their bytes, and the newest of their times."""
        last = self._first + count
        size_bytes = sum(self._length[self._first : last])
        newest_ns = max(self._time[self._first : last])
        self._first = last
        if self._first >= _LEAST_DROPPED and 2 * self._first > len(self._time):
            for column in self._columns:
                del column[: self._first]
            self._cut += self._first
            self._first = 0
        return size_bytes, newest_ns

    def within(self, start_ns: int, end_ns: int) -> Rows:
        """Those in a span, by time, then by arrival."""
        kind, time, offset, length = (
            np.frombuffer(each, np.int64)[self._first :] for each in self._columns
        )
        try:
            rows = np.flatnonzero((time >= start_ns) & (time <= end_ns))
            rows = rows[np.argsort(time[rows], kind="stable")]
            return Rows(self.dropped + rows, kind[rows], time[rows], offset[rows], length[rows])
        finally:
            # The arrays cannot grow while a view of them is held, as by a profiler or a traceback
            # that keeps this frame.
            del kind, time, offset, length


class Ring:
    """Byte-bounded history of encoded messages. Not thread-safe: one task owns it. The windows that
    it gives may be read by any thread.
    """

    def __init__(self, capacity_bytes: int) -> None:
        memory = np.zeros(capacity_bytes, np.uint8)
        memory[::4096] = 0  # zeros are mapped lazily: writing each page faults it in now
        self._view = memory.data
        self.capacity_bytes = capacity_bytes
        self._slots = _Slots()
        self._signal_kinds: dict[str, int] = {}
        """Of the slots, by the signal's name."""
        self._latched: dict[tuple[str, str], EncodedMessage] = {}
        self._head = 0
        self._room = 0
        """Bytes behind the head that are known to be free."""
        self._used_bytes = 0
        self._lost_until_ns: int | None = None
        self._windows: WeakSet[RingWindow] = WeakSet()
        self.pushed_out = 0
        """Messages that made room for newer ones."""

    def release(self) -> None:
        """Give the memory back; windows keep it for as long as they are read. The ring is empty
        from now on, and takes nothing.
        """
        self._view = memoryview(b"")
        self._slots, self._signal_kinds = _Slots(), {}
        self.capacity_bytes = self._used_bytes = self._head = self._room = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of payload held now."""
        return self._used_bytes

    @property
    def lost_until_ns(self) -> int | None:
        """Newest time of any message that was pushed out; earlier windows are incomplete."""
        return self._lost_until_ns

    def push(self, message: EncodedMessage) -> None:
        """Append a message. Raises `InputError` when it is larger than the whole ring."""
        self._put(message.channel, message.schema_name, message.mono_ns, (message.payload,))

    def push_sample(self, sample: Sample, utc_minus_mono_ns: int) -> None:
        """Append a sample as `encode_sample` has it, put together in its place: pictures are copied
        once. Raises `InputError` for a raw image, and for what is larger than the whole ring.
        """
        channel, schema, pieces = encode_in_pieces(sample, utc_minus_mono_ns)
        self._put(channel, schema, sample.mono_ns, pieces)

    def push_signals(self, signals: Iterable[SignalSample]) -> None:
        """Append signals as `encode_sample` has them, written in their place: more than a hundred
        come with each frame. Raises `InputError` when one is larger than the whole ring.
        """
        for signal in signals:
            if self._room < SIGNAL_BYTES:
                self._make_room(SIGNAL_BYTES, signal_channel(signal.name))
            kind = self._signal_kinds.get(signal.name)
            if kind is None:
                kind = self._slots.number_of(signal_channel(signal.name), schemas.SIGNAL)
                self._signal_kinds[signal.name] = kind
            write_signal(self._view, self._head, signal.value)
            self._took(kind, signal.mono_ns, SIGNAL_BYTES)

    def _put(self, channel: str, schema: str, mono_ns: int, pieces: Pieces) -> None:
        length = sum(map(len, pieces))
        if self._room < length:
            self._make_room(length, channel)
        end = self._head
        for piece in pieces:
            end += len(piece)
            self._view[end - len(piece) : end] = piece
        self._took(self._slots.number_of(channel, schema), mono_ns, length)

    def _took(self, kind: int, mono_ns: int, length: int) -> None:
        """So many bytes at the head are a message now."""
        self._slots.append(kind, mono_ns, self._head, length)
        self._head += length
        self._room -= length
        self._used_bytes += length

    def latch(self, key: str, message: EncodedMessage) -> None:
        """Pin the newest message of a latched channel, one per `key` (such as its frame)."""
        self._latched[(message.channel, key)] = message

    def latched(self) -> list[EncodedMessage]:
        """All pinned messages; transforms first, since calibrations refer to them."""
        order = sorted(self._latched, key=lambda key: (key[0] != TRANSFORMS, key))
        return [self._latched[key] for key in order]

    def _make_room(self, length: int, channel: str) -> None:
        """Drop the oldest until `length` contiguous bytes behind the head are free. Raises
        `InputError` when there never will be.
        """
        if length > self.capacity_bytes:
            raise InputError(
                f"a message of {length} bytes does not fit a ring of {self.capacity_bytes}", channel
            )
        if self._head + length > self.capacity_bytes:
            # A message never straddles the end; what lies behind the head is dropped.
            self._drop_oldest(self._slots.oldest_from(self._head))
            self._head = 0
        self._drop_oldest(self._slots.oldest_in(self._head, self._head + length))
        end = self._slots.oldest_at()
        if end is None or end < self._head:
            end = self.capacity_bytes
        self._room = end - self._head

    def _drop_oldest(self, count: int) -> None:
        if count == 0:
            return
        for window in self._windows:
            window.save_up_to(self._slots.dropped + count - 1)
        size_bytes, newest_ns = self._slots.drop_oldest(count)
        self._used_bytes -= size_bytes
        self.pushed_out += count
        lost_ns = self._lost_until_ns
        self._lost_until_ns = newest_ns if lost_ns is None else max(newest_ns, lost_ns)

    def window(
        self, start_ns: int, end_ns: int, wanted: Callable[[str], bool],
        keep_every: Callable[[str], int] = lambda _: 1, *, latched: bool = False,
    ) -> RingWindow:  # fmt: skip
        """The messages in a span (ends included), by time, then by arrival, of the wanted channels;
        of a channel every so many, the first among them. With `latched` the pinned ones come first,
        at the time of the first that is not.
        """
        rows = self._found(start_ns, end_ns, wanted, keep_every)
        head_ns = int(rows.mono_ns[0]) if len(rows) else start_ns
        pinned = [
            replace(each, mono_ns=head_ns)
            for each in (self.latched() if latched else ())
            if wanted(each.channel)
        ]
        window = RingWindow(self._view, tuple(self._slots.kinds), rows, pinned)
        self._windows.add(window)
        return window

    def heads(
        self, start_ns: int, end_ns: int, wanted: Callable[[str], bool],
        keep_every: Callable[[str], int] = lambda _: 1,
    ) -> Iterator[MessageHead]:  # fmt: skip
        """What a window would hold, in its order."""
        return self._found(start_ns, end_ns, wanted, keep_every).heads(self._slots.kinds)

    def _found(
        self, start_ns: int, end_ns: int, wanted: Callable[[str], bool],
        keep_every: Callable[[str], int],
    ) -> Rows:  # fmt: skip
        channels = [channel for channel, _ in self._slots.kinds]
        takes = np.array([wanted(channel) for channel in channels], np.bool_)
        found = self._slots.within(start_ns, end_ns)
        found = found.at(takes[found.kind])
        return found.at(_of_every(found.kind, channels, keep_every))


def _of_every(
    kinds: NDArray[np.int64], channels: list[str], keep_every: Callable[[str], int]
) -> NDArray[np.bool_]:
    """Which stay when of each channel every so many do."""
    stays = np.ones(len(kinds), np.bool_)
    for channel in set(channels):
        if (every := keep_every(channel)) > 1:
            of_channel = [number for number, name in enumerate(channels) if name == channel]
            rows = np.flatnonzero(np.isin(kinds, of_channel))
            stays[rows] = np.arange(len(rows)) % every == 0
    return stays
