"""Shares of slices: as they came, as they were trained on, and what the fleet meets."""

from __future__ import annotations

from offline.loop_report.facts import DatasetFacts
from offline.loop_report.svg import WIDE, bar, drawing, line, text
from offline.loop_report.words import percent

_LEFT, _RIGHT, _BAR, _GAP, _HEAD = 190.0, 60.0, 9.0, 10.0, 30.0


def shares_plot(dataset: DatasetFacts) -> str:
    """For each value of each tag a bar before and one after; a mark where the reference lies."""
    room = WIDE - _LEFT - _RIGHT
    parts: list[str] = []
    top = 0.0
    for tag in dict.fromkeys([*dataset.before, *dataset.after]):
        before, after = dataset.before.get(tag, {}), dataset.after.get(tag, {})
        reference = dataset.reference.get(tag, {})
        values = sorted({*before, *after, *reference})
        parts.append(text(0, top + 16, tag, "h"))
        for row, value in enumerate(values):
            y = top + _HEAD + row * (2 * _BAR + _GAP)
            parts.append(text(_LEFT - 12, y + _BAR + 4, value, "t", "end"))
            for shift, shares, kind in ((0.0, before, "fill before"), (_BAR, after, "fill after")):
                if shares:
                    share = shares.get(value, 0.0)
                    tip = f"{tag}={value}: {percent(share)}"
                    parts.append(bar(_LEFT, y + shift, room * share, _BAR - 1, kind, tip))
            if reference:
                x = _LEFT + room * reference.get(value, 0.0)
                parts.append(line(x, y - 2, x, y + 2 * _BAR + 1, "mark"))
            told = after.get(value, before.get(value, 0.0))
            parts.append(text(WIDE, y + _BAR + 4, percent(told, 0), "n", "end"))
        top += _HEAD + len(values) * (2 * _BAR + _GAP) + 8
    return drawing(WIDE, max(top, 10), "Shares of slices before and after re-balancing", parts)
