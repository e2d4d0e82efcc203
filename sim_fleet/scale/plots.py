"""Two pictures of a plan: the load over the stream, and the store's growth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contracts.errors import InputError
from sim_fleet.scale.plan import PETABYTE, Plan, stored_bytes
from sim_fleet.scale.rates import ScaleRates
from sim_fleet.scale.totals import Totals

_WIFI, _CELLULAR, _LINE = "#3b6fb6", "#e08a2e", "#2f2f2f"


def draw_plan(path: Path, rates: ScaleRates, totals: Totals, plan: Plan, start_h: float) -> None:
    """Write a PNG. Raises `InputError` when the file cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    requests, sent, store = figure.subplots(3, 1)
    hours = start_h + np.arange(len(totals.requests)) / 60
    requests.plot(hours, totals.requests / 60, color=_LINE, linewidth=0.9)
    requests.set_ylabel("requests/s")
    requests.set_title(
        f"{plan.vehicles:,} vehicles, {plan.load.events_per_day / 1e6:,.1f} M events a day,"
        f" {plan.growth.bytes_per_day / 1e12:,.1f} TB stored a day"
    )
    wifi, cellular = totals.wifi_bytes / 60 / 1e9, totals.cellular_bytes / 60 / 1e9
    sent.stackplot(hours, cellular, wifi, labels=["cellular", "wifi"], colors=[_CELLULAR, _WIFI])
    sent.set_ylabel("GB/s received")
    sent.legend(loc="upper center", ncols=2, frameon=False)
    for axes in (requests, sent):
        axes.set_xlim(hours[0], hours[-1])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("hour, UTC")
    _draw_growth(store, rates, plan)
    for axes in (requests, sent, store):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(path)) from error


def _draw_growth(axes: object, rates: ScaleRates, plan: Plan) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    reach = plan.growth.days_to_petabyte
    days = np.linspace(0, min(3650.0, max(60.0, 1.3 * (reach or 365.0))), 400)
    received = plan.clips.delivered_bytes_per_day
    axes.plot(days, stored_bytes(rates, received, days) / 1e15, color=_WIFI, linewidth=1.8,
              label="clips stored")  # fmt: skip
    axes.axhline(PETABYTE / 1e15, color=_LINE, linestyle="--", linewidth=0.9)
    if reach is not None and reach <= days[-1]:
        axes.annotate(f"1 PB after {reach:,.0f} days", (reach, 1.0), (-8, 8),
                      textcoords="offset points", ha="right")  # fmt: skip
    axes.set_xlim(0, days[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("day")
    axes.set_ylabel("PB stored")
