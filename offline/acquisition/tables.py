"""A selection as people read it in a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table

from offline.acquisition.records import Reason, SelectionReport, Total


def selection_tables(report: SelectionReport, most: int | None = None) -> RenderableType:
    """The whole report: totals, quotas, then each clip with why and what it is expected to cost.

    Args:
        most: list only the first so many clips.
    """
    parts: list[RenderableType] = [
        f"{len(report.selections)} of {report.pool} clips, {report.spent:g} of"
        f" {report.config.budget:g} {report.unit}; random stream: each of {report.population}"
        f" with probability {report.inclusion_probability:.4g}",
        _totals(
            report.unit, stream=report.by_stream, reason=report.by_reason, cause=report.by_cause,
            slice=report.by_slice,
        ),
    ]  # fmt: skip
    if report.quotas:
        parts.append(_quotas(report))
    parts.append(_clips(report, most))
    return Group(*parts)


def _totals(unit: str, **groups: Mapping[str, Total]) -> Table:
    table = Table("of", "name", "clips", unit, box=None)
    for group, totals in groups.items():
        for name, total in totals.items():
            table.add_row(group, name, str(total.clips), f"{total.expected_cost:g}")
    return table


def _quotas(report: SelectionReport) -> Table:
    table = Table("quota", "at least", "at most", "chosen", "in the pool", "not met for", box=None)
    for outcome in report.quotas:
        quota = outcome.quota
        most = "" if quota.at_most is None else str(quota.at_most)
        table.add_row(
            quota.label, str(quota.at_least), most, str(outcome.chosen), str(outcome.in_pool),
            outcome.unmet or "",
        )  # fmt: skip
    return table


def _clips(report: SelectionReport, most: int | None) -> Table:
    table = Table("clip", "stream", "why", report.unit, "probability", box=None)
    for chosen in report.selections[:most]:
        probability = chosen.inclusion_probability
        table.add_row(
            chosen.clip_id[:12], chosen.stream, ", ".join(map(_reason, chosen.reasons)),
            f"{chosen.expected_cost:g}", "" if probability is None else f"{probability:.4g}",
        )  # fmt: skip
    return table


def _reason(reason: Reason) -> str:
    return reason.name if reason.value is None else f"{reason.name} {reason.value:.3g}"
