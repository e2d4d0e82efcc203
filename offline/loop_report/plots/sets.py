"""AP of class groups by range, a dot a set of frames."""

from __future__ import annotations

from collections.abc import Sequence

from offline.loop_report.svg import WIDE, Scale, axis_below, dot, drawing, line, text
from offline.loop_report.words import number
from offline.sim_to_real.records import OneSet

COLOURS = ("blue", "red", "green", "violet", "amber", "sky")
_LEFT, _ROW = 190.0, 24.0


def sets_plot(sets: Sequence[OneSet]) -> str:
    """A row a group and range; what has no truth has no dot."""
    told = [
        (f"{f.group}, {f.range_m} m" if f.range_m != "all" else f.group, k, f)
        for k, each in enumerate(sets) for f in each.figures if f.ap is not None
    ]  # fmt: skip
    rows = list(dict.fromkeys(name for name, _, _ in told))
    scale = Scale(0.0, 1.0, _LEFT, WIDE - 20)
    bottom = len(rows) * _ROW + 6
    parts = axis_below(scale, 0, bottom)
    for row, name in enumerate(rows):
        y = row * _ROW + 18
        parts.append(text(_LEFT - 12, y + 4, name, "t", "end"))
        parts.append(line(_LEFT, y, WIDE - 20, y, "grid"))
    for name, k, figures in told:
        value = 0.0 if figures.ap is None else figures.ap
        tip = f"{sets[k].name}: AP {number(value)} over {figures.truths:,} boxes"
        y = rows.index(name) * _ROW + 18
        parts.append(dot(scale(value), y, 5.5, f"dot set{k % len(COLOURS)}", tip))
    return drawing(WIDE, bottom + 20, "AP by group, range and set of frames", parts)
