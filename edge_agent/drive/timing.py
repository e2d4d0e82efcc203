"""Where a frame's time goes: bounded samples and their percentiles, and counts by duration."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

_KEPT = 65_536


@dataclass(frozen=True, slots=True)
class FrameTiming:
    """Milliseconds per frame judged, from sample to triggers; the model's share of them."""

    frames: int
    p50_ms: float
    p99_ms: float
    model_p50_ms: float
    model_share: float


class DurationHistogram:
    """Counts of durations by upper bound, and their sum, since the start."""

    BOUNDS_MS = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 250, 500, 1000)
    _BOUNDS_NS = tuple(bound * 1_000_000 for bound in BOUNDS_MS)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS_MS) + 1)
        """One for each bound, inclusive, and one for what is longer than all."""
        self.sum_ns = 0

    def add(self, duration_ns: int) -> None:
        self.counts[bisect_left(self._BOUNDS_NS, duration_ns)] += 1
        self.sum_ns += duration_ns


class FrameTimer:
    """Collects the newest frames' durations in nanoseconds.

    Attributes:
        frames, models: durations of all frames, and of the model in those that it judged.
    """

    def __init__(self) -> None:
        self.frames = DurationHistogram()
        self.models = DurationHistogram()
        self._total_ns = np.zeros(_KEPT, np.int64)
        self._model_ns = np.zeros(_KEPT, np.int64)
        self._count = 0

    def add(self, total_ns: int, model_ns: int) -> None:
        slot = self._count % _KEPT
        self._total_ns[slot] = total_ns
        self._model_ns[slot] = model_ns
        self._count += 1
        self.frames.add(total_ns)
        if model_ns:
            self.models.add(model_ns)

    def report(self) -> FrameTiming | None:
        """None before the first frame."""
        kept = min(self._count, _KEPT)
        if kept == 0:
            return None
        total, model = self._total_ns[:kept], self._model_ns[:kept]
        return FrameTiming(
            frames=self._count,
            p50_ms=round(float(np.percentile(total, 50)) / 1e6, 3),
            p99_ms=round(float(np.percentile(total, 99)) / 1e6, 3),
            model_p50_ms=round(float(np.percentile(model, 50)) / 1e6, 3),
            model_share=round(float(model.sum() / max(1, total.sum())), 4),
        )
