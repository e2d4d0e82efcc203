"""How many clips got how far."""

from __future__ import annotations

from offline.loop_report.facts import FUNNEL, FunnelFacts
from offline.loop_report.svg import WIDE, bar, drawing, text
from offline.loop_report.words import NOT_MEASURED, percent

_TITLES = {
    "fired": "fired", "kept": "kept on the vehicle", "uploaded": "uploaded",
    "acquired": "chosen to label", "labelled": "labelled", "in_dataset": "in the dataset",
    "trained_on": "seen in training",
}  # fmt: skip
_LEFT, _RIGHT, _ROW, _HIGH = 150.0, 190.0, 30.0, 20.0


def funnel_plot(funnel: FunnelFacts) -> str:
    """A bar a step, as long as its share of the largest; what is not measured has none."""
    counts = {name: getattr(funnel, name) for name in FUNNEL}
    most = max((count for count in counts.values() if count), default=1)
    room = WIDE - _LEFT - _RIGHT
    parts, before = [], None
    for row, (name, count) in enumerate(counts.items()):
        y = 4 + row * _ROW
        parts.append(text(_LEFT - 10, y + 14, _TITLES[name], "t", "end"))
        if count is None:
            parts.append(text(_LEFT, y + 14, NOT_MEASURED, "s"))
            continue
        kept = "" if before is None or not before else f"  {percent(count / before)} of the above"
        width = max(room * count / most, 1.5)
        parts += [
            bar(_LEFT, y, room, _HIGH, "track"),
            bar(_LEFT, y, width, _HIGH, f"fill step{row}", f"{_TITLES[name]}: {count:,}"),
            text(_LEFT + room + 10, y + 14, f"{count:,}", "n"),
            text(_LEFT + room + 10 + 9 + 8.2 * len(f"{count:,}"), y + 14, kept.strip(), "s"),
        ]
        before = count
    return drawing(WIDE, 4 + len(counts) * _ROW, "Clips by how far they got", parts)
