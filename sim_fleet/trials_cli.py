"""`longtail sim trials`: planners drive by what models see, and are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from contracts.errors import InputError

if TYPE_CHECKING:
    from sim_fleet.trials import DriveCounts, TrialsComparison, TrialsReport


_ROWS: dict[str, Callable[[DriveCounts], str]] = {
    "minutes": lambda row: f"{row.minutes:.1f}",
    "km": lambda row: f"{row.driven_m / 1e3:.2f}",
    "engaged": lambda row: f"{100 * row.engaged_s / max(row.driven_s, 1e-9):.0f} %",
    "taken over": lambda row: str(row.all_disengagements),
    "hard brakes": lambda row: str(row.hard_brakes),
    "of them false": lambda row: str(row.false_hard_brakes),
    "contacts": lambda row: str(row.contacts),
    "critical": lambda row: str(row.all_critical),
    "missed": lambda row: str(row.all_missed),
    "misnamed": lambda row: str(row.all_misnamed),
    "phantoms": lambda row: str(row.all_phantoms),
}


def trials(
    recipe: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="What to drive, YAML.")
    ],
    out: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Folder for reports; drives that lie "
                           "there are not driven again.")
    ],
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", help="Bird's-eye model (ONNX); others are compared to the first."),
    ] = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="Drive by the truth too: no model can do better.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Drives at a time.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
) -> None:  # fmt: skip
    """Drive a recipe closed loop, a human taking over, and count what went wrong.

    Disengagements, hard brakes, contacts, and objects in the way that the planner was not told of.
    """
    from sim_fleet.trials import compared, read_trials, run_trials

    spec = read_trials(recipe)
    drivers: list[Path | Literal["truth"]] = list(model or ())
    if truth:
        drivers.append("truth")
    if not drivers:
        raise InputError("nobody to drive: give --model, or --truth", "--model")
    reports = [
        run_trials(
            spec, driver, workers=workers, folder=out / "drives",
            told=lambda done, of, name: typer.echo(f"{done} of {of}: {name}", err=True),
        )
        for driver in drivers
    ]  # fmt: skip
    comparisons = [compared(reports[0], report, seed) for report in reports[1:]]
    for report in reports:
        path = out / f"{spec.name}-{report.model[:12]}.json"
        path.write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
    for number, comparison in enumerate(comparisons, 1):
        path = out / f"{spec.name}-change-{number}.json"
        path.write_text(comparison.model_dump_json(indent=1) + "\n", "utf-8")
    if as_json:
        typer.echo(_as_json(reports, comparisons))
        return
    _tell(reports, comparisons)


def _as_json(reports: list[TrialsReport], comparisons: list[TrialsComparison]) -> str:
    import json

    return json.dumps({
        "reports": [
            {
                **report.model_dump(mode="json"), "total": report.total().model_dump(mode="json"),
                "slices": {
                    name: report.total(name).model_dump(mode="json") for name in report.slices
                },
            }
            for report in reports
        ],
        "comparisons": [comparison.model_dump(mode="json") for comparison in comparisons],
    }, indent=1)  # fmt: skip


def _tell(reports: list[TrialsReport], comparisons: list[TrialsComparison]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    for report in reports:
        columns = (Column(name, no_wrap=True) for name in ("all", *report.slices))
        table = Table("", *columns, title=f"{report.recipe}, driven by {report.model[:12]}")
        totals = [report.total(name) for name in (None, *report.slices)]
        for name, told in _ROWS.items():
            table.add_row(name, *map(told, totals))
        console.print(table)
    for comparison in comparisons:
        changes = Table(
            "figure", "before", "after", "change (95 % of resamples of drives)",
            title=f"{comparison.before[:12]} → {comparison.after[:12]}, all slices",
        )  # fmt: skip
        for each in comparison.figures:
            if each.slice == "all":
                change = _change(each.change.value, each.change.low, each.change.high)
                before, after = _figure(each.before.value), _figure(each.after.value)
                changes.add_row(each.name, before, after, change)
        console.print(changes)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _change(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    told = f"{100 * value:+.0f} %"
    return told if low is None or high is None else f"{told} ({100 * low:+.0f} … {100 * high:+.0f})"
