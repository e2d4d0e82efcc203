"""The ring: the last seconds of every channel, encoded, in memory set aside once.

Bounded in bytes and prefaulted, so that memory use is known when the agent starts and no page
faults fall into a drive. The oldest messages make room for new ones. Windows are in time.
Latched messages (calibration, mounts) are pinned outside and never pushed out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from contracts.channels import TRANSFORMS
from contracts.errors import InputError
from kernels.clip.encoding import EncodedMessage


class _Slot(NamedTuple):
    """Where a message lies. A tuple: made in under half the time, and a drive makes millions."""

    channel: str
    schema_name: str
    mono_ns: int
    offset: int
    length: int


class Ring:
    """Byte-bounded history of encoded messages. Not thread-safe: one task owns it."""

    def __init__(self, capacity_bytes: int) -> None:
        memory = np.zeros(capacity_bytes, np.uint8)
        memory[::4096] = 0  # zeros are mapped lazily: writing each page faults it in now
        self._view = memory.data
        self.capacity_bytes = capacity_bytes
        self._slots: deque[_Slot] = deque()
        self._latched: dict[tuple[str, str], EncodedMessage] = {}
        self._head = 0
        self._used_bytes = 0
        self._lost_until_ns: int | None = None
        self.pushed_out = 0
        """Messages that made room for newer ones."""

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
        length = len(message.payload)
        if length > self.capacity_bytes:
            raise InputError(
                f"a message of {length} bytes does not fit a ring of {self.capacity_bytes}",
                message.channel,
            )
        offset = self._make_room(length)
        self._view[offset : offset + length] = message.payload
        self._head = offset + length
        self._used_bytes += length
        self._slots.append(
            _Slot(message.channel, message.schema_name, message.mono_ns, offset, length)
        )

    def latch(self, key: str, message: EncodedMessage) -> None:
        """Pin the newest message of a latched channel, one per `key` (such as its frame)."""
        self._latched[(message.channel, key)] = message

    def latched(self) -> list[EncodedMessage]:
        """All pinned messages; transforms first, since calibrations refer to them."""
        order = sorted(self._latched, key=lambda key: (key[0] != TRANSFORMS, key))
        return [self._latched[key] for key in order]

    def _make_room(self, length: int) -> int:
        """Offset of `length` free contiguous bytes, dropping the oldest as needed."""
        offset = self._head
        if offset + length > self.capacity_bytes:
            # A message never straddles the end; what lies behind the head is dropped.
            while self._slots and self._slots[0].offset >= offset:
                self._drop_oldest()
            offset = 0
        end = offset + length
        while self._slots and self._overlaps(self._slots[0], offset, end):
            self._drop_oldest()
        return offset

    def _overlaps(self, slot: _Slot, start: int, end: int) -> bool:
        return slot.offset < end and start < slot.offset + max(1, slot.length)

    def _drop_oldest(self) -> None:
        slot = self._slots.popleft()
        self._used_bytes -= slot.length
        self.pushed_out += 1
        self._lost_until_ns = max(slot.mono_ns, self._lost_until_ns or slot.mono_ns)

    def window(
        self, start_ns: int, end_ns: int, wanted: Callable[[str], bool]
    ) -> list[EncodedMessage]:
        """Copies of the messages in a span (ends included), by time, then by arrival."""
        found = self._found(start_ns, end_ns, wanted)
        return [
            EncodedMessage(
                slot.channel,
                slot.schema_name,
                slot.mono_ns,
                bytes(self._view[slot.offset : slot.offset + slot.length]),
            )
            for slot in found
        ]

    def sizes(
        self, start_ns: int, end_ns: int, wanted: Callable[[str], bool]
    ) -> list[tuple[str, int]]:
        """Channel and payload bytes of what `window` would copy, in its order."""
        return [(slot.channel, slot.length) for slot in self._found(start_ns, end_ns, wanted)]

    def _found(self, start_ns: int, end_ns: int, wanted: Callable[[str], bool]) -> list[_Slot]:
        # A drive has few channels and a ring many messages: ask once for each channel.
        known: dict[str, bool] = {}
        found = []
        for slot in self._slots:
            if start_ns <= slot.mono_ns <= end_ns:
                takes = known.get(slot.channel)
                if takes is None:
                    takes = known[slot.channel] = wanted(slot.channel)
                if takes:
                    found.append(slot)
        found.sort(key=lambda slot: slot.mono_ns)
        return found
