"""When each stage ran, and how long."""

from __future__ import annotations

import math
from collections.abc import Sequence

from offline.loop_report.facts import StageFacts
from offline.loop_report.svg import WIDE, Scale, bar, drawing, line, text
from offline.loop_report.words import duration

_LEFT, _RIGHT, _ROW, _HIGH = 130.0, 90.0, 26.0, 16.0
_NS = 1e9
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_TICKS = 8


def timeline_plot(stages: Sequence[StageFacts]) -> str:
    """A bar a stage from its start; one without a start is a word."""
    spans = {
        row: (each.start_utc_ns / _NS, each.wall_s)
        for row, each in enumerate(stages)
        if each.start_utc_ns is not None and each.wall_s is not None
    }
    if not spans:
        return ""
    first = min(start for start, _ in spans.values())
    last = max(start + wall for start, wall in spans.values())
    scale = Scale(0.0, max(last - first, 1e-3), _LEFT, WIDE - _RIGHT)
    bottom = 4 + len(stages) * _ROW
    parts = []
    for tick in _ticks(scale.high):
        parts.append(line(scale(tick), 0, scale(tick), bottom, "grid"))
        parts.append(text(scale(tick), bottom + 14, duration(tick) if tick else "0", "s", "middle"))
    for row, each in enumerate(stages):
        y = 4 + row * _ROW
        parts.append(text(_LEFT - 10, y + 13, each.name, "t", "end"))
        if row not in spans:
            parts.append(text(_LEFT + 4, y + 13, each.state, f"s {each.state}"))
            continue
        start, wall = spans[row]
        x = scale(start - first)
        parts.append(bar(x, y, max(scale(wall) - scale(0), 2), _HIGH, f"fill {each.state}",
                         f"{each.name}: {duration(wall)}"))  # fmt: skip
        parts.append(text(WIDE, y + 13, duration(wall), "n", "end"))
    return drawing(WIDE, bottom + 22, "When each stage ran", parts)


def _ticks(most_s: float) -> list[float]:
    """Times as clocks have them."""
    fits = (float(step) for step in _STEPS_S if most_s / step <= _TICKS)
    step = next(fits, _STEPS_S[-1] * math.ceil(most_s / _STEPS_S[-1] / _TICKS))
    return [k * step for k in range(math.floor(most_s / step) + 1)]
