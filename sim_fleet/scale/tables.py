"""Plans and loads as people read them in a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table

from sim_fleet.scale.load.report import LoadReport
from sim_fleet.scale.plan import Plan
from sim_fleet.scale.sensitivity import Sensitivity

_UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def plan_tables(plan: Plan, changes: list[Sensitivity]) -> Group:
    """The plan, and what its main rates do."""
    load, clips, growth = plan.load, plan.clips, plan.growth
    table = Table("a day", "", title=f"{plan.vehicles:,} vehicles, seed {plan.seed}")
    reach = growth.days_to_petabyte
    rows = [
        ("vehicle-events", f"{load.events_per_day:,.0f} ({load.events_per_s:,.0f}/s)"),
        ("requests", f"{load.requests_per_day:,.0f}"),
        ("received on wifi", amount(load.wifi_bytes_per_day)),
        ("received on cellular", amount(load.cellular_bytes_per_day)),
        ("busiest second", f"{load.peak_requests_per_s:,.0f} requests"),
        ("busiest minute", f"{load.peak_requests_per_s_over_a_minute:,.0f} requests/s, "
                           f"{amount(load.peak_bytes_per_s_over_a_minute)}/s"),
        ("most uploads at once", f"{load.peak_concurrent_uploads:,}"),
        ("driving", f"{clips.driving_hours_per_day:,.0f} h"),
        ("clips made, delivered", f"{clips.made_per_day:,.0f}, {clips.delivered_per_day:,.0f}"),
        ("clips waiting, given up", f"{clips.waiting:,}, {clips.evicted:,}"),
        ("store grows by", amount(growth.bytes_per_day)),
        ("1 PB after", "never" if reach is None else f"{reach:,.1f} days"),
        ("rows in PostgreSQL", f"{growth.rows_per_day:,.0f}"),
        ("database after a year", amount(growth.database_bytes_after_a_year)),
        ("boxes, by people", f"{plan.labelling.boxes_per_day:,.0f}, "
                             f"{plan.labelling.boxes_by_people_per_day:,.0f}"),
        ("labelling", f"{plan.labelling.labeller_hours_per_day:,.0f} h, "
                      f"{plan.labelling.labellers:,.1f} people"),
        ("cost a month", f"{plan.cost.total_per_month:,.0f}: " + ", ".join(
            f"{name} {price:,.0f}" for name, price in plan.cost.per_month.items())),
        ("a petabyte: a month's keeping", f"{plan.cost.petabyte_month:,.0f}"),
    ]  # fmt: skip
    for row in rows:
        table.add_row(*row)
    if not changes:
        return Group(table)
    effects = Table("rate", "times", "requests", "clips", "bytes stored", "cellular bytes",
                    title="changed alone: ratio to the plan")  # fmt: skip
    for each in changes:
        effects.add_row(
            each.rate, f"{each.factor:g}", f"{each.requests:.2f}", f"{each.delivered_clips:.2f}",
            f"{each.delivered_bytes:.2f}", f"{each.cellular_bytes:.2f}",
        )  # fmt: skip
    return Group(table, effects)


def load_table(report: LoadReport) -> Table:
    """What the receiver took."""
    table = Table("", "", title=f"{report.identities} identities, {report.seconds:.1f} s")
    table.add_row("vehicle-events/s", f"{report.events_per_s:,.0f}")
    table.add_row("requests/s", f"{report.requests_per_s:,.0f}")
    for kind, number in report.acknowledged.items():
        span = report.latency_ms[kind]
        table.add_row(kind, f"{number:,}; p50 {span['p50']:.1f} ms, p99 {span['p99']:.1f} ms")
    table.add_row("refused", str(report.refused or "none"))
    if report.receiver_cpu_ms_per_event is not None:
        table.add_row("receiver's CPU an event", f"{report.receiver_cpu_ms_per_event:.2f} ms")
    if report.database_cpu_ms_per_event is not None:
        table.add_row("database's CPU an event", f"{report.database_cpu_ms_per_event:.2f} ms")
    table.add_row("sender's CPU an event", f"{report.sender_cpu_ms_per_event:.2f} ms")
    table.add_row("exactly once", "yes" if report.is_exact else f"NO: {report.differences}")
    return table


def amount(size_bytes: float) -> str:
    """Bytes with a unit.

    >>> amount(1.5e12), amount(12.0)
    ('1.5 TB', '12 B')
    """
    for unit, name in _UNITS:
        if size_bytes >= unit:
            return f"{size_bytes / unit:,.1f} {name}"
    return f"{size_bytes:.0f} B"
