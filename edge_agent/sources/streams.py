"""Streams of samples and how they become one, in time order.

Guarantees: what comes out of `merge_samples` never goes back in time as long as each stream
does not; samples of one instant keep the order in which their streams are listed, so that a
replay is the same every time. Scalars are sorted as columns, not one by one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.samples import Float64s, Sample, SignalSample

Int64s = NDArray[np.int64]
_CHUNK = 4096


def to_ns(t_s: Float64s) -> Int64s:
    """Seconds to integer nanoseconds, rounded to the nearest. `t_s` float64 [n]."""
    return np.rint(np.asarray(t_s, dtype=np.float64) * NS_PER_S).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ScalarColumn:
    """All values of one catalogued signal: `mono_ns` int64 [n], `values` float64 [n]."""

    name: str
    mono_ns: Int64s
    values: Float64s

    def __post_init__(self) -> None:
        if self.mono_ns.shape != self.values.shape or self.mono_ns.ndim != 1:
            raise InputError(
                f"{self.mono_ns.shape} times do not fit {self.values.shape} values", self.name
            )


def scalar_samples(columns: Sequence[ScalarColumn]) -> Iterator[SignalSample]:
    """All columns as one stream in time order, ties in the order of the columns."""
    if not columns:
        return
    mono_ns = np.concatenate([column.mono_ns for column in columns])
    values = np.concatenate([column.values for column in columns])
    owner = np.repeat(np.arange(len(columns)), [column.mono_ns.size for column in columns])
    order = np.argsort(mono_ns, kind="stable")
    names = [column.name for column in columns]
    for start in range(0, order.size, _CHUNK):  # plain ints a chunk at a time: small and fast
        rows = order[start : start + _CHUNK]
        for which, at_ns, value in zip(
            owner[rows].tolist(), mono_ns[rows].tolist(), values[rows].tolist(), strict=True
        ):
            yield SignalSample(names[which], at_ns, value)


def merge_samples(*streams: Iterable[Sample]) -> Iterator[Sample]:
    """Merge streams that are each in time order."""
    return heapq.merge(*streams, key=attrgetter("mono_ns"))
