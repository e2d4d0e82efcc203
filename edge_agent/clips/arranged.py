"""A clip's messages read from where they lie, one at a time.

A clip of everything is more than a hundred megabytes. Most of what is asked about one is told by
the heads of its messages, and what is written of it is written message by message: so nobody needs
to hold it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar, overload

from kernels.clip.encoding import EncodedMessage, MessageHead, heads_of

Head = MessageHead | EncodedMessage
_Any = TypeVar("_Any")


class Pace(Protocol):
    """Gives things on one by one, as slowly as it sees fit."""

    def __call__(self, things: Iterable[_Any], /) -> Iterable[_Any]: ...


class Arranged(Sequence[EncodedMessage]):
    """Some messages of another sequence, in an order of their own, and others among them.

    Args:
        rows: of `source` followed by `beside`.
    """

    def __init__(
        self, source: Sequence[EncodedMessage], rows: Sequence[int],
        beside: Sequence[EncodedMessage] = (),
    ) -> None:  # fmt: skip
        self._source, self._rows, self._beside = source, rows, beside
        self._heads: list[Head] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> EncodedMessage: ...

    @overload
    def __getitem__(self, index: slice) -> list[EncodedMessage]: ...

    def __getitem__(self, index: int | slice) -> EncodedMessage | list[EncodedMessage]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        row = self._rows[index] - len(self._source)
        return self._source[row] if row < 0 else self._beside[row]

    def heads(self) -> Iterator[Head]:
        """All messages without their payloads."""
        if self._heads is None:
            found = [*heads_of(self._source), *self._beside]
            self._heads = [found[row] for row in self._rows]
        return iter(self._heads)

    def size_bytes(self) -> int:
        """Of all payloads."""
        return sum(head.size_bytes for head in self.heads())


def with_others(messages: Sequence[EncodedMessage], others: Sequence[EncodedMessage]) -> Arranged:
    """All of them by time; of one time `messages` first."""
    times = [head.mono_ns for head in (*heads_of(messages), *others)]
    return Arranged(messages, sorted(range(len(times)), key=times.__getitem__), others)


def read_where(
    messages: Sequence[EncodedMessage], wanted: Callable[[Head], bool], paced: Pace = iter
) -> Iterator[EncodedMessage]:
    """Those of the wanted heads, in order; no other is read."""
    for index, head in enumerate(paced(heads_of(messages))):
        if wanted(head):
            yield messages[index]
