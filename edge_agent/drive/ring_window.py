"""A window of the ring: a clip's messages, copied out when they are asked for.

To copy a clip of a hundred megabytes at once would hold up the drive by several frames, and to hold
it would take as much memory again. So the ring only notes where the messages lie, and whoever packs
them reads each in its own time; one that the ring needs the room of before the window is gone is
copied just then, and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import overload

import numpy as np
from numpy.typing import NDArray

from kernels.clip.encoding import EncodedMessage, MessageHead, heads_of, payload_bytes


@dataclass(frozen=True, slots=True)
class Rows:
    """Messages by their running number in the ring, int64 [n] each; a kind is an index into channel
    and schema's name.
    """

    number: NDArray[np.int64]
    kind: NDArray[np.int64]
    mono_ns: NDArray[np.int64]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.number)

    def at(self, chosen: NDArray[np.bool_]) -> Rows:
        return Rows(
            self.number[chosen], self.kind[chosen], self.mono_ns[chosen], self.offset[chosen],
            self.length[chosen],
        )  # fmt: skip

    def heads(self, kinds: Sequence[tuple[str, str]]) -> Iterator[MessageHead]:
        columns = (self.kind.tolist(), self.mono_ns.tolist(), self.length.tolist())
        for kind, mono_ns, length in zip(*columns, strict=True):
            channel, schema_name = kinds[kind]
            yield MessageHead(channel, schema_name, mono_ns, length)


class RingWindow(Sequence[EncodedMessage]):
    """Messages of a ring, each read as often as is asked, from there or from the copy that was made
    before it was overwritten.

    Read by any thread; `save_up_to` is the ring's.
    """

    def __init__(
        self, ring: memoryview, kinds: Sequence[tuple[str, str]], rows: Rows,
        latched: Sequence[EncodedMessage] = (),
    ) -> None:  # fmt: skip
        self._ring, self._kinds, self._rows, self._latched = ring, kinds, rows, latched
        self._copies: list[bytes | None] = [None] * len(rows)
        self._heads: list[MessageHead | EncodedMessage] | None = None
        self._lock = Lock()
        self._by_number = np.argsort(rows.number)
        self._saved = 0
        """How many, in the order of their numbers, the ring has asked to copy."""

    def __len__(self) -> int:
        return len(self._latched) + len(self._rows)

    @overload
    def __getitem__(self, index: int) -> EncodedMessage: ...

    @overload
    def __getitem__(self, index: slice) -> list[EncodedMessage]: ...

    def __getitem__(self, index: int | slice) -> EncodedMessage | list[EncodedMessage]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        row = range(len(self))[index] - len(self._latched)
        if row < 0:
            return self._latched[row]
        with self._lock:
            payload = self._payload(row)
        channel, schema_name = self._kinds[self._rows.kind[row]]
        return EncodedMessage(channel, schema_name, int(self._rows.mono_ns[row]), payload)

    def heads(self) -> Iterator[MessageHead | EncodedMessage]:
        """All messages without their payloads; copies nothing."""
        if self._heads is None:
            self._heads = [*heads_of(self._latched), *self._rows.heads(self._kinds)]
        return iter(self._heads)

    def size_bytes(self) -> int:
        """Of all payloads."""
        return payload_bytes(self._latched) + int(self._rows.length.sum())

    def save_up_to(self, number: int) -> None:
        """The ring is about to overwrite its messages up to this one."""
        while self._saved < len(self._by_number):
            row = int(self._by_number[self._saved])
            if self._rows.number[row] > number:
                return
            with self._lock:
                self._copies[row] = self._payload(row)
            self._saved += 1

    def _payload(self, row: int) -> bytes:
        copy = self._copies[row]
        if copy is not None:
            return copy
        start = int(self._rows.offset[row])
        return bytes(self._ring[start : start + int(self._rows.length[row])])
