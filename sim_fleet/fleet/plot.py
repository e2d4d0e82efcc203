"""The fleet's days as a picture: for each vehicle its link, its drives, and what happened."""

from __future__ import annotations

from pathlib import Path

from sim_fleet.fleet.conductor import FleetOptions, plan_fleet
from sim_fleet.fleet.links import LinkTrace, link_trace
from sim_fleet.fleet.report import FleetReport
from sim_fleet.fleet.schedule import DAY_S, START_HOUR, VehiclePlan

_LINKS = {
    "wifi": ("wifi", "#4c9f70"), "metered wifi": ("metered wifi", "#b7c96a"),
    "cellular": ("cellular", "#e0a458"), "none": ("no link", "#4a4a4a"),
}  # fmt: skip
_MARKS = {
    "fire": ("fire, kept", "#1f4e9c", "|", 70),
    "suppressed": ("fire, suppressed", "#a9b8d0", "|", 28),
    "uploaded": ("clip sent", "#187a3c", "^", 26), "lost": ("clip lost", "#7a3d8f", "v", 30),
    "fault": ("fault", "#d1495b", "X", 62), "power_cut": ("power cut", "#000000", "X", 62),
}  # fmt: skip
_HEIGHT_IN = 0.8


def draw_timeline(path: Path, report: FleetReport, options: FleetOptions) -> None:
    """Write a PNG: the whole run on the left, and each vehicle's busiest trip on the right."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    plans = plan_fleet(options)
    figure, axes = plt.subplots(
        len(plans), 2, figsize=(15, 1.7 + _HEIGHT_IN * len(plans)), squeeze=False,
        gridspec_kw={"width_ratios": (1.5, 1), "hspace": 0.55, "wspace": 0.13},
    )  # fmt: skip
    begin_s = options.day * DAY_S + START_HOUR * 3600.0
    for (whole, near), plan in zip(axes, plans, strict=True):
        trace = link_trace(options.seed, plan.vehicle_id, plan.trips)
        end_s = begin_s + options.lasting_h * 3600.0 + 900.0
        _draw(whole, report, plan, trace, (begin_s, end_s), 3600.0)
        whole.set_ylabel(f"{plan.vehicle_id}\n{plan.home}", rotation=0, ha="right", va="center")
        _draw(near, report, plan, trace, _busiest(report, plan), 60.0)
    axes[0][0].set_title("the whole run: hours since the first midnight", fontsize=10)
    axes[0][1].set_title(
        "each vehicle's busiest trip: minutes since the first midnight", fontsize=10
    )
    handles: list[Artist] = [Rectangle((0, 0), 1, 1, color=colour) for _, colour in _LINKS.values()]
    labels = [name for name, _ in _LINKS.values()]
    handles.append(Rectangle((0, 0), 1, 1, color="#30638e"))
    labels.append("driving")
    for name, colour, marker, _ in _MARKS.values():
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle=""))
        labels.append(name)
    figure.legend(handles, labels, loc="lower center", ncol=len(labels), frameon=False, fontsize=8)
    verdict = "all invariants hold" if report.holds else "AN INVARIANT IS BROKEN"
    figure.suptitle(
        f"{len(plans)} vehicles, {report.hours:g} h, seed {report.seed}: {verdict}", fontsize=12
    )
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _busiest(report: FleetReport, plan: VehiclePlan) -> tuple[float, float]:
    """From a minute before to three after the trip on which most happened."""
    times = [m.at_s for m in report.moments if m.vehicle_id == plan.vehicle_id
             and m.what in _MARKS]  # fmt: skip
    driven = [trip for trip in plan.trips if trip.drive_s > 0]
    trip = max(driven, key=lambda t: sum(t.start_s <= at <= t.end_s + 120.0 for at in times))
    return trip.start_s - 20.0, trip.end_s + 120.0


def _draw(  # type: ignore[no-untyped-def]
    axis, report: FleetReport, plan: VehiclePlan, trace: LinkTrace, span: tuple[float, float],
    unit_s: float,
) -> None:  # fmt: skip
    at_s = span[0]
    while at_s < span[1]:
        link, until_s = trace.at(at_s), trace.next_change_s(at_s)
        stop_s = span[1] if until_s is None else min(until_s, span[1])
        name = "metered wifi" if link.kind == "wifi" and link.metered else link.kind
        axis.broken_barh([(at_s / unit_s, (stop_s - at_s) / unit_s)], (0.0, 0.35),
                         color=_LINKS[name][1])  # fmt: skip
        at_s = stop_s
    for trip in plan.trips:
        if trip.drive_s > 0 and trip.start_s < span[1] and trip.end_s > span[0]:
            # Minutes in a day would be thinner than a line: they get a width to be seen.
            width = max(trip.drive_s, (span[1] - span[0]) / 300)
            axis.broken_barh(
                [(trip.start_s / unit_s, width / unit_s)], (0.4, 0.35), color="#30638e"
            )
    for level, (what, (_, colour, marker, size)) in enumerate(_MARKS.items()):
        mine = [m.at_s / unit_s for m in report.moments
                if m.vehicle_id == plan.vehicle_id and m.what == what
                and span[0] <= m.at_s <= span[1]]  # fmt: skip
        height = (1.0, 0.88, 1.22, 1.22, 1.5, 1.5)[level]
        axis.scatter(mine, [height] * len(mine), marker=marker, color=colour, s=size, zorder=3)
    for day in range(1, int(span[1] // DAY_S) + 1):
        if day * DAY_S > span[0]:
            axis.axvline(day * DAY_S / unit_s, color="#bbbbbb", linewidth=0.8)
    axis.set_xlim(span[0] / unit_s, span[1] / unit_s)
    axis.set_ylim(0.0, 1.7)
    axis.set_yticks([])
    axis.tick_params(labelsize=7)
