"""Figures before and after, a panel a metric with an axis of its own."""

from __future__ import annotations

from collections.abc import Sequence

from offline.loop_report.facts import Change
from offline.loop_report.svg import (
    WIDE,
    Scale,
    axis_below,
    dot,
    drawing,
    line,
    scale_of,
    text,
)
from offline.loop_report.words import metric_words, number, signed_percent

_LEFT, _RIGHT, _ROW, _HEAD = 190.0, 90.0, 26.0, 30.0
_MOST, _WHOLE = 10, "all"


def changes_plot(changes: Sequence[Change]) -> str:
    """For each slice an open dot before, a full one after with its interval."""
    panels: dict[str, list[Change]] = {}
    for each in changes:
        panels.setdefault(each.metric, []).append(each)
    parts: list[str] = []
    top = 0.0
    for metric, every in panels.items():
        rows = _most_telling(every)
        bottom = top + _HEAD + _ROW * len(rows)
        values = [v for row in rows for v in (row.before, row.after, *(row.after_bounds or ()))]
        scale = scale_of(values, _LEFT, WIDE - _RIGHT, zero=min(values) >= 0)
        better = f"{rows[0].better} is better"
        if len(rows) < len(every):
            better = f"{len(rows)} of {len(every)} slices, the rest in the table; {better}"
        parts.append(text(0, top + 16, metric_words(metric), "h"))
        parts.append(text(WIDE, top + 16, better, "s", "end"))
        parts += axis_below(scale, top + _HEAD - 6, bottom)
        for row, each in enumerate(rows):
            parts += _row(each, scale, top + _HEAD + _ROW * (row + 0.5))
        top = bottom + 34
    return drawing(WIDE, max(top - 10, 10), "Figures before and after", parts)


def _most_telling(rows: Sequence[Change]) -> list[Change]:
    """In their order: the whole, what is sure, and of the rest what changed most."""
    if len(rows) <= _MOST:
        return list(rows)
    ranked = sorted(rows, key=lambda e: (
        e.slice != _WHOLE, e.verdict == "unsure", -abs(e.after - e.before),
    ))[:_MOST]  # fmt: skip
    return [each for each in rows if each in ranked]


def _row(each: Change, scale: Scale, y: float) -> list[str]:
    kind = each.verdict
    parts = [text(_LEFT - 12, y + 4, each.slice, "t", "end")]
    tip = f"{each.slice}: {number(each.before)} → {number(each.after)}"
    parts.append(line(scale(each.before), y, scale(each.after), y, "link"))
    if each.after_bounds is not None:
        low, high = (scale(end) for end in each.after_bounds)
        parts.append(line(low, y, high, y, f"whisker {kind}"))
        parts += [line(end, y - 4, end, y + 4, f"whisker {kind}") for end in (low, high)]
    parts.append(dot(scale(each.before), y, 5, "dot before", tip))
    parts.append(dot(scale(each.after), y, 5, f"dot {kind}", tip))
    if each.relative is not None:
        told = signed_percent(each.relative)
        parts.append(text(WIDE, y + 4, told, f"n {kind}", "end"))
    return parts
