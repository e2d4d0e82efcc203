"""Backtests as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.signal_log import SIGNAL_LOG_SUFFIX
from contracts.trigger_spec import LoadedSpec
from kernels.backtest.drives import logged_drives
from kernels.backtest.figures import SpecFigures, figures_of
from kernels.backtest.replay import ReplayedDrive, ReplayedFire, replay
from kernels.backtest.spend import FleetSpend
from kernels.clip.reader import read_manifest

if TYPE_CHECKING:
    from cli.spec_clips import ClipFires


def files_below(paths: Sequence[Path], suffix: str) -> list[Path]:
    """Files as they are, and all of `suffix` below folders. Raises `InputError` when none."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError("no such file or folder", str(path))
        found += sorted(path.rglob(f"*{suffix}")) if path.is_dir() else [path]
    if paths and not found:
        raise InputError(f"no {suffix} file", ", ".join(str(path) for path in paths))
    return found


def replay_logs(specs: Sequence[LoadedSpec], logs: Sequence[Path]) -> list[ReplayedDrive]:
    """Replay over all drives of files and folders."""
    return replay(specs, logged_drives(files_below(logs, SIGNAL_LOG_SUFFIX)))


def median_clip_bytes(paths: Sequence[Path]) -> dict[str, int]:
    """Median size of clips by the triggers that made them, "" for all."""
    sizes: dict[str, list[int]] = {}
    for path in files_below(paths, ".mcap"):
        triggers = {cause.trigger_id for cause in read_manifest(path).causes}
        for name in ("", *triggers):
            sizes.setdefault(name, []).append(path.stat().st_size)
    return {name: round(median(values)) for name, values in sizes.items()}


def fire_entry(fire: ReplayedFire, start_ns: int) -> dict[str, Any]:
    """A fire for JSON; `at_s` counts from the drive's first tick."""
    return {
        "vehicle_id": fire.vehicle_id,
        "utc": datetime.fromtimestamp(fire.utc_ns / NS_PER_S, UTC).isoformat(),
        "at_s": round((fire.cause.fired_mono_ns - start_ns) / NS_PER_S, 3),
        "outcome": fire.outcome,
        "score": fire.cause.score,
        "evidence": fire.cause.evidence,
        "evidence_text": fire.cause.evidence_text,
    }


def backtest_entry(
    specs: Sequence[LoadedSpec],
    drives: Sequence[ReplayedDrive],
    hours_per_day: float,
    clip_bytes: dict[str, int],
    spend: FleetSpend,
) -> dict[str, Any]:
    """A whole backtest as one JSON object."""
    return {
        "hours_per_day": hours_per_day,
        "fleet": asdict(spend),
        "drives": [
            {
                "vehicle_id": drive.header.vehicle_id, "drive_id": drive.header.drive_id,
                "ticks": drive.ticks, "driven_s": drive.driven_s, "notes": list(drive.notes),
            }
            for drive in drives
        ],
        "specs": [
            {
                **asdict(figures_of(loaded, drives, hours_per_day, clip_bytes)),
                "fired": [
                    fire_entry(fire, drive.header.drive_start_mono_ns)
                    for drive in drives
                    for fire in drive.fires
                    if fire.cause.trigger_id == loaded.spec.id
                ],
            }
            for loaded in specs
        ],
    }  # fmt: skip


def print_backtest(
    console: Console,
    specs: Sequence[LoadedSpec],
    drives: Sequence[ReplayedDrive],
    hours_per_day: float,
    clip_bytes: dict[str, int],
    spend: FleetSpend,
) -> None:
    """Figures, then fires, then what to know about the logs."""
    rows = [figures_of(loaded, drives, hours_per_day, clip_bytes) for loaded in specs]
    hours = sum(drive.driven_s for drive in drives) / 3600.0
    console.print(
        f"{len(drives)} drives, {hours:.3g} vehicle-hours; a day is {hours_per_day:g} h of driving",
        highlight=False,
    )
    table = Table(box=None)
    for name in ("spec", "fires", "more*", "/h", "clips/day", "MB/day", "budget", "as live"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    console.print("* within the cooldown", highlight=False)
    for row in rows:
        others = ", ".join(f"{name} {count}" for name, count in row.overlap.items())
        if others:
            console.print(f"{row.trigger_id} overlaps live fires of: {others}", highlight=False)
    console.print(_fleet_line(spend), highlight=False)
    if not clip_bytes:
        console.print("MB/day is unknown without clips to go by: give --clips", highlight=False)
    for drive in drives:
        for fire in drive.fires:
            entry = fire_entry(fire, drive.header.drive_start_mono_ns)
            evidence = [f"{k} {v:.3g}" for k, v in fire.cause.evidence.items()]
            words = ", ".join(filter(None, (fire.cause.evidence_text, *evidence)))
            outcome = "" if fire.outcome == "fire" else f" ({fire.outcome})"
            console.print(
                f"{drive.header.drive_id} {entry['at_s']:g} s: {fire.cause.trigger_id}{outcome} "
                f"score {fire.cause.score:.2f}: {words}",
                highlight=False,
            )
        for note in drive.notes:
            console.print(f"note: {drive.header.drive_id}: {note}", highlight=False)


def _fleet_line(spend: FleetSpend) -> str:
    """What the fleet would spend in a day, before and after."""
    before, after = _number(spend.clips_per_day_before), _number(spend.clips_per_day_after)
    words = f"fleet of {spend.vehicles}: {before} clips/day now, {after} with this"
    if spend.bytes_per_day_before is not None and spend.bytes_per_day_after is not None:
        megabytes = [
            _number(n / 1e6) for n in (spend.bytes_per_day_before, spend.bytes_per_day_after)
        ]
        words += f"; {megabytes[0]} MB/day now, {megabytes[1]} with this"
    return f"{words}; {spend.vehicles_over} of {spend.sampled} vehicles above their day's limits"


def clips_entry(caught: Sequence[ClipFires]) -> dict[str, Any]:
    """Which clips specs would have kept, for JSON."""
    return {
        "clips": [
            {
                "clip": str(one.clip), "triggers": list(one.ids()), "notes": list(one.drive.notes),
                "fired": [
                    fire_entry(fire, one.drive.header.drive_start_mono_ns)
                    for fire in one.drive.fires
                ],
            }
            for one in caught
        ]
    }  # fmt: skip


def print_clips(console: Console, caught: Sequence[ClipFires]) -> None:
    """Which clips specs would have kept, for people."""
    for one in caught:
        console.print(f"{one.clip.name[:20]}: {', '.join(one.ids()) or 'nothing'}", highlight=False)
    hits = sum(bool(one.ids()) for one in caught)
    console.print(
        f"{hits} of {len(caught)} clips would have been kept (chosen moments: no rate follows)",
        highlight=False,
    )


def _cells(row: SpecFigures) -> tuple[str, ...]:
    live = row.live
    if live is None:
        as_live = "not live"
    elif live.only_replayed or live.only_recorded:
        as_live = f"{live.same} same, +{live.only_replayed} −{live.only_recorded}"
    else:
        as_live = f"exactly ({live.same})"
    shares = [r for r in (row.clips_budget_ratio, row.bytes_budget_ratio) if r is not None]
    return (
        f"{row.trigger_id} v{row.trigger_version}",
        str(row.fires),
        str(row.in_cooldown),
        _number(row.fires_per_hour),
        _number(row.clips_per_day),
        "unknown" if row.bytes_per_day is None else _number(row.bytes_per_day / 1e6),
        f"{max(shares):.0%}" if shares else "",
        as_live,
    )


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
