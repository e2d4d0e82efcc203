"""What a run came to: the fleet's report, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from contracts.clip import Wire
from sim_fleet.fleet.invariants import Verdict


class LinkBytes(Wire):
    """Bytes that the relay carried over one kind of link."""

    up_bytes: int = 0
    down_bytes: int = 0
    again_bytes: int = 0


class VehicleReport(Wire):
    """One vehicle's run. `models` are digests of those that it ran, in the order of its starts."""

    vehicle_id: str
    home: str
    starts: int = 0
    trips: int = 0
    driven_s: float = 0.0
    km: float = 0.0
    disengagements: int = 0
    fires: int = 0
    kept: int = 0
    suppressed: dict[str, int] = Field(default_factory=dict)
    clips: int = 0
    uploaded: int = 0
    in_spool: int = 0
    evicted: int = 0
    lost: int = 0
    bytes_by_link: dict[str, LinkBytes] = Field(default_factory=dict)
    models: tuple[str, ...] = ()


class FaultReport(Wire):
    """One fault: where it was planned, when it struck (None: never) and what followed."""

    name: str
    kind: str
    vehicle_id: str
    trip: int
    at_s: float | None = None
    note: str = ""
    followed: str = ""


class InvariantReport(Wire):
    name: str
    holds: bool
    evidence: str
    problems: tuple[str, ...] = ()


class Moment(Wire):
    """Something on a vehicle's timeline. `at_s` is the fleet's time."""

    vehicle_id: str
    what: str
    at_s: float


class FleetReport(Wire):
    """All of a run. `cpu_s` is what vehicles' processes that ended in order took; `stalls` how
    often a receiver that did not answer was not waited for any longer.
    """

    seed: int
    hours: float
    sensors: str
    drive_minutes_per_day: float
    wall_s: float
    cpu_s: float
    server_restarts: int
    stalls: int
    vehicles: tuple[VehicleReport, ...]
    faults: tuple[FaultReport, ...]
    invariants: tuple[InvariantReport, ...]
    moments: tuple[Moment, ...] = ()

    @property
    def holds(self) -> bool:
        return all(each.holds for each in self.invariants)

    @property
    def driven_s(self) -> float:
        return sum(vehicle.driven_s for vehicle in self.vehicles)


def invariant_reports(verdicts: Sequence[Verdict]) -> tuple[InvariantReport, ...]:
    return tuple(
        InvariantReport(name=v.name, holds=v.holds, evidence=v.evidence, problems=v.problems)
        for v in verdicts
    )


def tell(report: FleetReport, console: Any) -> None:
    """Tables on a `rich` console."""
    from rich.table import Column, Table

    vehicles = Table("vehicle", "home", "km", "min", "fires (kept)", "clips (cloud)",
                     "MB wifi/cell", "takeovers", "faults")  # fmt: skip
    for row in report.vehicles:
        by_link = row.bytes_by_link
        struck = [f for f in report.faults if f.vehicle_id == row.vehicle_id and f.at_s is not None]
        megabytes = (_megabytes(by_link, "wifi"), _megabytes(by_link, "cellular", "metered wifi"))
        vehicles.add_row(
            row.vehicle_id, row.home, f"{row.km:.1f}", f"{row.driven_s / 60:.1f}",
            f"{row.fires} ({row.kept})", f"{row.clips} ({row.uploaded})", "/".join(megabytes),
            str(row.disengagements), str(len(struck)),
        )  # fmt: skip
    console.print(vehicles)
    if report.faults:
        faults = Table(
            Column("fault", no_wrap=True), "vehicle", "struck", "what it did", "what followed"
        )
        for fault in report.faults:
            when = "never" if fault.at_s is None else clock_text(fault.at_s)
            faults.add_row(fault.name, fault.vehicle_id, when, fault.note, fault.followed)
        console.print(faults)
    checks = Table("invariant", "holds", "looked at")
    for check in report.invariants:
        mark = "[green]yes[/]" if check.holds else "[red]NO[/]"
        checks.add_row(check.name, mark, "\n".join((check.evidence, *check.problems)))
    console.print(checks)
    factor = report.driven_s / report.wall_s if report.wall_s else 0.0
    console.print(
        f"{len(report.vehicles)} vehicles x {report.hours:g} h, {report.driven_s / 60:.1f} min"
        f" driven, in {report.wall_s:.0f} s ({factor:.1f} s of driving a second;"
        f" {report.cpu_s:.0f} s of CPU in vehicles);"
        f" the receiver was killed {report.server_restarts} times",
        highlight=False,
    )


def clock_text(at_s: float) -> str:
    """Day and time of day."""
    day, rest = divmod(int(at_s), 86_400)
    return f"day {day + 1} {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def _megabytes(by_link: dict[str, LinkBytes], *names: str) -> str:
    rows = [by_link[name] for name in names if name in by_link]
    return f"{sum(row.up_bytes + row.down_bytes for row in rows) / 1e6:.1f}"
