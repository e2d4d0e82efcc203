"""`longtail demo`: a fleet from sensor to search, a spec over the air, and one turn of the loop.

Starts the cloud on its embedded default; lets three simulated vehicles meet cattle, which the
shipped student hardly knows, each an agent of its own that speaks HTTP over loopback; searches, and
pulls a clip. One more vehicle drives while a new trigger spec reaches it, works, and is taken back.
Then the loop turns once: the clips that came home become a student that knows cattle. Everything
lies in one folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.clips import clip_table
from cli.demo_fleet import drive_fleet, fleet_table
from cli.demo_processes import cloud_process
from cli.demo_road_down import (
    RoadDown,
    drive_and_change,
    example_spec,
    run_quietly,
)
from cli.demo_turn import SLICES, TurnShown, rendering, turn
from cli.output import JsonOption, absolute, print_json
from client import CloudClient

if TYPE_CHECKING:
    from sim_fleet.fleet import FleetReport

app = typer.Typer(help="A fleet, end to end.", invoke_without_command=True)

QUERY = "'disengagement' = ANY(causes)"


@app.callback()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes; emptied first.")] = Path(
        ".longtail/demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Other days for the fleet.")] = 7,
    loop: Annotated[
        bool, typer.Option(help="Turn the loop too; some eight minutes on two cores.")
    ] = True,
    keep_serving: Annotated[bool, typer.Option(help="Leave the cloud running to look at.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Simulated drives become clips that a search finds and a viewer opens."""
    console = Console(stderr=as_json)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    console.print("[bold]1[/] starting the cloud: PostgreSQL, object store, upload receiver")
    with cloud_process(folder) as url, _rendering(folder, loop) as rendered:
        console.print(f"  {url}", highlight=False)
        console.print(
            "[bold]2[/] three vehicles meet cattle on country roads, at night and in rain; their "
            "planners know\n  what the shipped student sees, and a human watches"
        )
        report = drive_fleet(folder, url, seed, partial(_say, console))
        _tell_fleet(console, report)
        console.print(f"[bold]3[/] searching: [cyan]{QUERY}[/]")
        client = CloudClient(url)
        rows = list(client.search(QUERY))
        console.print(clip_table(rows) if rows else "no clip matches")
        pulled = [client.pull(row.clip_id, folder) for row in rows[:1]]
        _tell_how_to_open(console, pulled)
        console.print("[bold]5[/] sending a new trigger spec to a vehicle while it drives")
        changed = _change(console, folder, url)
        result: dict[str, Any] = {
            "cloud": url,
            "clips": [row.model_dump(mode="json") for row in rows],
            "pulled": [absolute(path) for path in pulled],
            "fleet": report.model_dump(mode="json", exclude={"moments"}),
            "road_down": {
                "moments": [asdict(moment) for moment in changed.moments],
                "shadow_fires": changed.shadow_fires,
                "clip": changed.clip.model_dump(mode="json"),
            },
        }
        if loop:
            console.print("[bold]6[/] turning the loop once: label, judge, retrain, gate, roll out")
            shown = turn(folder, url, seed, partial(_say, console), run_quietly(url), rendered)
            _tell_turn(console, report, shown)
            result["turn"] = {
                "stages": shown.turn["stages"], "before_after": shown.before_after,
                "report": absolute(shown.report),
            }  # fmt: skip
        if as_json:
            print_json(result)
        if not rows or not report.holds:
            raise typer.Exit(1)
        if keep_serving:
            console.print("the cloud goes on until Ctrl-C")
            _wait_for_interrupt()


def _tell_fleet(console: Console, report: FleetReport) -> None:
    console.print(fleet_table(report))
    factor = report.driven_s / report.wall_s if report.wall_s else 0.0
    held = sum(check.holds for check in report.invariants)
    _say(
        console,
        f"{report.driven_s:.0f} s of driving in {report.wall_s:.0f} s, the student on every frame "
        f"({factor:.1f} x real time); {held} of {len(report.invariants)} invariants hold",
    )


@contextmanager
def _rendering(folder: Path, loop: bool) -> Iterator[Callable[[], None]]:
    """What the turn measures on is rendered while the fleet drives."""
    if not loop:
        yield lambda: None
        return
    with rendering(folder) as rendered:
        yield rendered


def _tell_turn(console: Console, first: FleetReport, shown: TurnShown) -> None:
    days = (first, shown.next_day)
    taken = [sum(row.disengagements for row in day.vehicles) for day in days]
    models = {digest[:12] for row in shown.next_day.vehicles for digest in row.models}
    _say(
        console,
        f"the same scenes on the day after, by {', '.join(sorted(models))}: taken over {taken[1]} "
        f"times, {taken[0]} the day before",
    )
    table = Table("by both students", "figure", "before", "after", "change (95 %)", box=None)
    for name, title in zip(SLICES, ("the same scenes", "other cattle, other roads"), strict=True):
        told = [row for row in shown.before_after[name] if row["name"] in FIGURES]
        for number, row in enumerate(told):
            where = title if number == 0 else ""
            table.add_row(where, FIGURES[row["name"]], *_before_after(row))
    console.print(table)
    _say(console, "fewer frames, scenarios and drives than a full turn, and simulated people: what")
    _say(console, "this shows is the way, not how good the student gets; docs/loop.md has figures")
    console.print(f"  report: [green]{absolute(shown.report)}[/]", highlight=False, soft_wrap=True)


FIGURES = {
    "disengagements_per_min": "taken over, a minute",
    "critical_missed_ratio": "of what is in the way, not seen at all",
    "critical_misnamed_ratio": "of what is in the way, called something else",
    "phantoms_per_min": "told where nothing is, a minute",
}


def _before_after(row: dict[str, Any]) -> tuple[str, str, str]:
    change = row["change"]
    if change["value"] is None:
        return f"{row['before']['value']:.2f}", f"{row['after']['value']:.2f}", ""
    interval = "" if change["low"] is None else f" ({change['low']:+.0%} to {change['high']:+.0%})"
    before, after = row["before"]["value"], row["after"]["value"]
    return f"{before:.2f}", f"{after:.2f}", f"{change['value']:+.0%}{interval}"


def _say(console: Console, text: str) -> None:
    console.print(f"  {text}", highlight=False, soft_wrap=True)


def _change(console: Console, folder: Path, url: str) -> RoadDown:
    """A spec over the air, in shadow, at work, and back."""
    spec, run = example_spec(), run_quietly(url)
    logs = [
        word
        for vehicle in sorted((folder / "fleet" / "vehicles").iterdir())
        for word in ("--log", str(vehicle / "state" / "signals"))
    ]
    for words in (["spec", "lint", str(spec)], ["spec", "test", str(spec)]):
        run(words)
    found = json.loads(run(["spec", "backtest", str(spec), *logs, "--json"]))
    figures = found["specs"][0]
    _say(
        console,
        f"backtest on the drives before: {figures['fires']} fire in "
        f"{figures['hours'] * 60:.0f} min of driving, so {figures['fires_per_hour']:.0f} an hour; "
        "its budget keeps 20 a day",
    )
    changed = drive_and_change(folder, url, spec, partial(_say, console), run)
    _say(console, f"one process (pid {changed.agent_pid}); docs/road-down.md has every step")
    return changed


def _tell_how_to_open(console: Console, pulled: list[Path]) -> None:
    for path in pulled:
        lines = (
            "[bold]4[/] pulled a clip; it lies at",
            f"  [green]{absolute(path)}[/]",
            "  open it in Foxglove or Lichtblick (File > Open local file), or with",
            f"  pip install rerun-sdk && rerun {path}",
            f"  while a cloud runs, `longtail clips show {path.stem[:12]}` gives viewers its URL",
        )
        for line in lines:
            # What people copy must not be wrapped.
            console.print(line, highlight=False, soft_wrap=True)


def _wait_for_interrupt() -> None:
    import signal

    try:
        signal.pause()
    except KeyboardInterrupt:
        return
