"""Where a frame's time goes: bounded samples and their percentiles."""

from __future__ import annotations

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


class FrameTimer:
    """Collects the newest frames' durations in nanoseconds."""

    def __init__(self) -> None:
        self._total_ns = np.zeros(_KEPT, np.int64)
        self._model_ns = np.zeros(_KEPT, np.int64)
        self._count = 0

    def add(self, total_ns: int, model_ns: int) -> None:
        slot = self._count % _KEPT
        self._total_ns[slot] = total_ns
        self._model_ns[slot] = model_ns
        self._count += 1

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
