"""Samples in the order in which sensors measured, out of the order in which they were recorded."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from contracts.samples import Sample


class Reorder:
    """Holds samples for a window of recording time. Attributes: `late`: those left out.

    What comes later than the window is left out: time never goes back.
    """

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._waiting: list[tuple[int, int, Sample]] = []
        self._number = 0
        self._newest_ns: int | None = None
        self.late = 0

    def put(self, sample: Sample) -> None:
        if self._newest_ns is not None and sample.mono_ns < self._newest_ns:
            self.late += 1
            return
        self._number += 1
        heapq.heappush(self._waiting, (sample.mono_ns, self._number, sample))

    def ready(self, recorded_ns: int | None) -> Iterator[Sample]:
        """All that nothing recorded from `recorded_ns` on can come before; None: the rest."""
        while self._waiting and (
            recorded_ns is None or self._waiting[0][0] <= recorded_ns - self._window_ns
        ):
            _, _, sample = heapq.heappop(self._waiting)
            self._newest_ns = sample.mono_ns
            yield sample
