"""Rollouts and vehicles as people compare them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from contracts.clock import NS_PER_S
from contracts.fleet import RolloutAudit, RolloutDetail, RolloutRow, VehicleRow

_MOST_VEHICLES = 30


def when(utc_ns: int | None) -> str:
    """UTC to the second; `never` for None."""
    if utc_ns is None:
        return "never"
    return f"{datetime.fromtimestamp(utc_ns / NS_PER_S, UTC):%Y-%m-%d %H:%M:%S}"


def release_text(row: RolloutRow) -> str:
    """`trigger hard-brake 3, shadow`; version 0 is what is built in."""
    version = "built in" if row.version == 0 else str(row.version)
    return f"{row.kind} {row.name} {version}{', shadow' if row.shadow else ''}"


def stage_text(row: RolloutRow) -> str:
    return f"{row.stage}/{row.stages}, {row.fraction:.0%}"


def rollout_table(rows: Sequence[RolloutRow]) -> Table:
    table = Table(box=None)
    names = ("rollout", "release", "phase", "stage", "match", "offered", "applied",
             "succeeded", "failed", "created (UTC)", "by")  # fmt: skip
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            row.rollout_id, release_text(row), row.phase, stage_text(row), str(row.matching),
            str(row.offered), str(row.applied), str(row.succeeded), str(row.failed),
            when(row.created_utc_ns), row.created_by,
        )  # fmt: skip
    return table


def rollout_view(detail: RolloutDetail) -> Group:
    """A rollout as it stands."""
    parts: list[Table | Text] = [
        Text(f"{detail.rollout_id}: {release_text(detail)}, {detail.phase}", style="bold"),
        Text(f"stage {stage_text(detail)} of {detail.matching} matching vehicles"),
        Text(
            f"{detail.offered} offered, {detail.applied} applied, {detail.succeeded} succeeded, "
            f"{detail.failed} failed; {detail.never_contacted} never in contact"
        ),
    ]
    if detail.waiting_for:
        parts.append(Text(f"waits for: {detail.waiting_for}"))
    if detail.guardrails:
        parts.append(_guardrails(detail))
    noted = [v for v in detail.vehicles if v.failure or v.recall != "none"]
    if noted:
        table = Table("vehicle", "outcome", "attempt", "taken back", "why", box=None)
        for vehicle in noted[:_MOST_VEHICLES]:
            recall = "" if vehicle.recall == "none" else vehicle.recall
            table.add_row(
                vehicle.vehicle_id, vehicle.outcome, str(vehicle.attempt), recall, vehicle.failure
            )
        parts.append(table)
        if len(noted) > _MOST_VEHICLES:
            parts.append(Text(f"and {len(noted) - _MOST_VEHICLES} vehicles more"))
    return Group(*parts)


def _guardrails(detail: RolloutDetail) -> Table:
    table = Table("guardrail", "likeliest", "evidence", "events", "exposure", "missing", box=None)
    for row in detail.guardrails:
        table.add_row(
            row.name, f"{row.likeliest_ratio:g} x", f"10^{row.log10_e_worse:.1f}",
            f"{row.treated_events:.0f}", f"{row.treated_exposure:.0f}", row.missing,
        )  # fmt: skip
    return table


def audit_table(lines: Sequence[RolloutAudit]) -> Table:
    table = Table("#", "at (UTC)", "actor", "action", "from", "to", "reason", box=None)
    for line in lines:
        reason = f"refused: {line.refused}" if line.refused else line.reason
        table.add_row(
            str(line.number), when(line.at_utc_ns), line.actor, line.action, line.from_phase,
            line.to_phase, reason,
        )  # fmt: skip
    return table


def vehicle_table(rows: Sequence[VehicleRow]) -> Table:
    table = Table(box=None)
    names = ("vehicle", "labels", "last check-in (UTC)", "software", "orders", "clips waiting",
             "rejected", "")  # fmt: skip
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        orders = f"{row.taken_up_counter} of {row.assignment_counter}"
        table.add_row(
            row.vehicle_id, "\n".join(f"{k}={v}" for k, v in sorted(row.labels.items())),
            when(row.last_check_in_utc_ns), row.software_version or "", orders,
            "" if row.queued_clips is None else str(row.queued_clips), str(row.rejected),
            "" if row.revoked_utc_ns is None else f"revoked {when(row.revoked_utc_ns)}",
        )  # fmt: skip
    return table


def console() -> Console:
    """A console that gives a table that goes to a file room enough."""
    found = Console()
    return found if found.is_terminal else Console(width=200)
