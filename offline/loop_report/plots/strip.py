"""Drift at a glance: a row a cohort, a column a measure, darker for more."""

from __future__ import annotations

from html import escape

from offline.health.records import EMBEDDING, DriftReport, Tested
from offline.loop_report.svg import WIDE, drawing, node, text
from offline.loop_report.words import number

_LEFT, _ROW, _HEAD, _CELL = 190.0, 24.0, 96.0, 64.0
_FULL = 0.5
"""Of a size of 1, where the colour is at its darkest."""


def strip_plot(drift: DriftReport) -> str:
    """Outlined cells are told as drifted; a crossed one could not be told; an empty one was not
    tested."""
    cohorts = list(dict.fromkeys(each.cohort for each in drift.tests))
    measures = sorted({each.measure for each in drift.tests}, key=lambda m: (m != EMBEDDING, m))
    width = min(_CELL, (WIDE - _LEFT) / max(len(measures), 1))
    parts = []
    for column, name in enumerate(measures):
        x = _LEFT + (column + 0.5) * width
        parts.append(node(
            "text", escape(name), x=x, y=_HEAD - 10, class_="s",
            transform=f"rotate(-38 {x:.1f} {_HEAD - 10})",
        ))  # fmt: skip
    for row, cohort in enumerate(cohorts):
        parts.append(text(_LEFT - 10, _HEAD + row * _ROW + 16, cohort, "t", "end"))
    for each in drift.tests:
        x = _LEFT + measures.index(each.measure) * width
        parts += _cell(each, x, _HEAD + cohorts.index(each.cohort) * _ROW, width)
    return drawing(WIDE, _HEAD + len(cohorts) * _ROW + 6, "Drift by cohort and measure", parts)


def _cell(each: Tested, x: float, y: float, width: float) -> list[str]:
    judged = each.adjusted
    told = "too few drives to tell" if judged is None else f"adjusted p {number(judged, 2)}"
    tip = f"{each.cohort}, {each.measure}: size {number(each.size, 2)}, {told}"
    strength = min(each.size / _FULL, 1.0)
    cell = [node(
        "rect", node("title", escape(tip)), x=x + 1.5, y=y + 1.5, width=width - 3,
        height=_ROW - 3, rx=4.0,
        class_="heat drifted" if each.drifted else "heat", fill_opacity=0.08 + 0.92 * strength,
    )]  # fmt: skip
    if judged is None:
        cell.append(text(x + width / 2, y + 16, "?", "s", "middle"))
    elif each.drifted:
        kind = "on" if strength > 0.45 else "n"
        cell.append(text(x + width / 2, y + 16, number(each.size, 2), kind, "middle"))
    return cell
