"""The report as a page of its own, in the loop report's style."""

from __future__ import annotations

from html import escape

from offline.loop_report.page import document
from offline.loop_report.sections.health import sim_to_real_section
from offline.sim_to_real.records import GroupFigures, OneSet, SimToReal

_GROUP, _RANGE = "vehicle", "all"


def page_text(report: SimToReal) -> str:
    """The same report gives the same page."""
    title = f"{report.model_name}: " + ", ".join(_told(each) for each in report.sets)
    body = (
        f'<header class="verdict open"><p class="over">Simulation and the real</p>'
        f"<h1>{escape(title)}</h1></header>{sim_to_real_section(report)}"
    )
    return document(title, body)


def _told(one: OneSet) -> str:
    figures: GroupFigures | None = next(
        (f for f in one.figures if (f.group, f.range_m) == (_GROUP, _RANGE)), None
    )
    if figures is None or figures.ap is None:
        return f"no vehicle on {one.name}"
    return f"vehicle AP {figures.ap:.2f} on {one.name}"
