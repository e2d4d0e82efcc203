"""Losses over epochs, a line a part, on a log axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from offline.loop_report.svg import WIDE, drawing, line, path, scale_of, text
from offline.loop_report.words import number

_LEFT, _RIGHT, _HIGH, _TOP = 56.0, 150.0, 250.0, 10.0
_KINDS = 6
_APART = 15.0


def losses_plot(losses: Sequence[Mapping[str, float]]) -> str:
    """A line a part; values that are not above 0 have no place on a log axis and are left out."""
    names = list(dict.fromkeys(name for epoch in losses for name in epoch))
    series = {
        name: [(k, epoch[name]) for k, epoch in enumerate(losses, 1) if epoch.get(name, 0.0) > 0]
        for name in names
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    bottom = _HIGH - 34
    across = scale_of([1.0, float(max(len(losses), 2))], _LEFT, WIDE - _RIGHT)
    up = scale_of([math.log10(v) for points in series.values() for _, v in points], bottom, _TOP)
    parts: list[str] = []
    for power in range(math.floor(up.low), math.ceil(up.high) + 1):
        for factor in (1, 2, 5):
            tick = power + math.log10(factor)
            if up.low <= tick <= up.high:
                parts.append(line(_LEFT, up(tick), WIDE - _RIGHT, up(tick), "grid"))
                parts.append(text(_LEFT - 8, up(tick) + 4, f"{factor * 10.0**power:g}", "s", "end"))
    parts += [
        text(across(tick), bottom + 16, f"{tick:g}", "s", "middle")
        for tick in across.ticks() if tick >= 1 and float(tick).is_integer()
    ]  # fmt: skip
    parts.append(text((_LEFT + WIDE - _RIGHT) / 2, _HIGH - 2, "epoch", "s", "middle"))
    ends = sorted((up(math.log10(points[-1][1])), name) for name, points in series.items())
    labels: dict[str, float] = {}
    last = -math.inf
    for y, name in ends:
        last = labels[name] = max(y, last + _APART)
    for row, (name, points) in enumerate(series.items()):
        kind = f"c{row % _KINDS}"
        parts.append(path([(across(k), up(math.log10(v))) for k, v in points], f"curve {kind}"))
        told = f"{name} {number(points[-1][1])}"
        parts.append(text(WIDE - _RIGHT + 10, labels[name] + 4, told, f"t ink-{kind}"))
    high = max([_HIGH, *(y + 10 for y in labels.values())])
    return drawing(WIDE, high, "Losses by epoch", parts)
