"""What a driven rollout has come to."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Seen:
    """A stage: what it allows, and the most vehicles that had the release in a snapshot of it."""

    stage: int
    fraction: float
    limit: int
    ordered: int


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """A finished drive.

    Attributes:
        unfit: vehicles that refused the release, as they were told to.
        rounds: how often every vehicle was in contact.
        seen: stages that snapshots of the database have shown; short ones may be missing.
        retried: polls that were tried again after the service was away.
        service_memory_mb, database_mb: before the first request, after the last.
        differences: the first 20 of what is otherwise than the stages allow, or than reported.
    """

    vehicles: int
    unfit: int
    phase: str
    rounds: int
    seen: tuple[Seen, ...]
    snapshots: int
    requests: int
    check_ins: int
    retried: int
    metadata_bytes_per_vehicle: int
    seconds: float
    first_round_s: float
    requests_per_s: float
    service_cpu_ms_per_request: float
    database_cpu_ms_per_request: float
    service_memory_mb: tuple[float, float]
    database_mb: tuple[float, float]
    is_exact: bool
    differences: tuple[str, ...]


def rollout_table(report: RolloutReport) -> Table:
    table = Table("a driven rollout", "", title=None)
    stages = ", ".join(f"{each.ordered} of {each.limit}" for each in report.seen)
    rows = (
        ("vehicles", f"{report.vehicles}, {report.unfit} of them unfit"),
        ("ended", f"{report.phase}, after {report.rounds} rounds in {report.seconds} s"),
        ("ordered in each stage", f"{stages}; {report.snapshots} snapshots"),
        (
            "requests",
            f"{report.requests}, of them {report.check_ins} check-ins; {report.requests_per_s}/s",
        ),
        ("first round", f"{report.first_round_s} s: a token and a first check-in each"),
        (
            "CPU of a request",
            f"{report.service_cpu_ms_per_request} ms service,"
            f" {report.database_cpu_ms_per_request} ms database",
        ),
        ("service's memory", "{} → {} MB".format(*report.service_memory_mb)),
        ("database", "{} → {} MB".format(*report.database_mb)),
        ("metadata", f"{report.metadata_bytes_per_vehicle} bytes a vehicle"),
        ("every vehicle as its stage allows", "yes" if report.is_exact else "NO"),
        *(("", each) for each in report.differences),
    )
    for row in rows:
        table.add_row(*row)
    return table
