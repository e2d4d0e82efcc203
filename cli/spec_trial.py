"""Specs tried on what was driven: `spec backtest` and `spec diff`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.output import JsonOption, TokenOption, print_json
from client import CloudClient
from contracts.clock import SystemClock
from contracts.errors import InputError
from contracts.quantities import duration_ns_of
from contracts.trigger_spec import LoadedSpec, load_spec

if TYPE_CHECKING:
    from cli.spec_clips import ClipFires

SpecPaths = Annotated[list[Path], typer.Argument(help="Spec files or folders.")]
LogOption = Annotated[
    list[Path] | None, typer.Option("--log", help="Signal logs: files or folders; repeatable.")
]
InClipsOption = Annotated[
    list[Path] | None,
    typer.Option("--in-clips", help="Clips as history: which of them it would have kept."),
]


def spec_files(paths: list[Path]) -> list[Path]:
    """Files as they are, and the specs of folders."""
    return [file for path in paths for file in (sorted(path.glob("*.yaml")) or [path])]


def load_all(paths: list[Path]) -> list[LoadedSpec]:
    loaded: dict[str, LoadedSpec] = {}
    for file in spec_files(paths):
        spec = load_spec(file)
        if spec.spec.id in loaded:
            raise InputError(f"trigger id {spec.spec.id!r} is given twice", str(file))
        loaded[spec.spec.id] = spec
    return list(loaded.values())


def fetched_logs(client: CloudClient, vehicle: str | None, since: str) -> list[Path]:
    """The fleet's logs, kept in a cache so that each is fetched once.

    Raises `InputError` when there are none.
    """
    since_utc_ns = SystemClock().utc_ns() - duration_ns_of(since, "--since")
    folder = Path.home() / ".cache" / "longtail" / "signal-logs"
    folder.mkdir(parents=True, exist_ok=True)
    rows = client.signal_logs(vehicle, max(0, since_utc_ns))
    found = [client.pull_signal_log(row.log_id, folder) for row in rows]
    if not found:
        raise InputError(f"the fleet has no signal logs of the last {since}", "--cloud")
    return found


def published_folder() -> Path:
    """The published specs of this install."""
    return Path(str(files("trigger_specs")))


def backtest(
    paths: SpecPaths,
    log: LogOption = None,
    clips: Annotated[
        list[Path] | None, typer.Option("--clips", help="Clips by whose size to reckon bytes.")
    ] = None,
    in_clips: InClipsOption = None,
    cloud: Annotated[
        str | None,
        typer.Option("--cloud", help="Take the fleet's logs from this cloud."),
    ] = None,
    vehicle: Annotated[
        str | None, typer.Option("--vehicle", help="With --cloud: of this vehicle alone.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", help="With --cloud: drives since then, such as 7d.")
    ] = "7d",
    operator_token: TokenOption = None,
    live: Annotated[
        list[Path] | None,
        typer.Option("--live", help="Specs that run, whose windows the fleet's spend needs."),
    ] = None,
    vehicles: Annotated[
        int | None, typer.Option(min=1, help="Reckon the spend of so many vehicles.")
    ] = None,
    hours_per_day: Annotated[
        float, typer.Option(min=0.01, max=24, help="How long a vehicle drives in a day.")
    ] = 8.0,
    as_json: JsonOption = False,
) -> None:
    """Run specs over signal logs or clips: where they would have fired, and what that costs."""
    from cli.spec_tables import (
        backtest_entry,
        clips_entry,
        median_clip_bytes,
        print_backtest,
        print_clips,
        replay_logs,
    )
    from kernels.backtest.spend import fleet_spend

    log = list(log or [])
    if cloud is not None:
        log += fetched_logs(CloudClient(cloud, operator_token), vehicle, since)
    if not log and not in_clips:
        raise InputError("give signal logs: the agent writes them to its state's signals/", "--log")
    specs = load_all(paths)
    # A table that goes to a file has no terminal to fit in.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    entry: dict[str, Any] = {}
    if log:
        drives = replay_logs(specs, log)
        sizes = median_clip_bytes(clips or [])
        running = load_all(live or [published_folder()])
        spend = fleet_spend(specs, drives, running, hours_per_day, sizes, vehicles)
        entry |= backtest_entry(specs, drives, hours_per_day, sizes, spend)
        if not as_json:
            print_backtest(console, specs, drives, hours_per_day, sizes, spend)
    if in_clips:
        caught = _fires_in(specs, in_clips)
        entry |= clips_entry(caught)
        if not as_json:
            print_clips(console, caught)
    if as_json:
        print_json(entry)


def _fires_in(specs: list[LoadedSpec], clips: list[Path]) -> list[ClipFires]:
    from cli.spec_clips import fires_in_clips
    from cli.spec_tables import files_below

    return fires_in_clips(specs, files_below(clips, ".mcap"))


def diff(
    before: Annotated[Path, typer.Argument(help="A spec file.")],
    after: Annotated[Path, typer.Argument(help="Another.")],
    log: LogOption = None,
    in_clips: InClipsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What changed in meaning; with --log the fires, with --in-clips the clips gained and lost."""
    from cli.spec_diff import changes, lone_fires

    a, b = load_spec(before), load_spec(after)
    changed = changes(a, b)
    entry: dict[str, Any] = {"changes": [asdict(change) for change in changed]}
    if log:
        from cli.spec_tables import replay_logs

        old, new = replay_logs([a], log), replay_logs([b], log)
        sides = (("gained", lone_fires(b, new, old)), ("lost", lone_fires(a, old, new)))
        for name, fires in sides:
            entry[name] = [
                {"drive_id": f.drive_id, "at_s": f.at_s, **f.fire.cause.model_dump(mode="json")}
                for f in fires
            ]
    if in_clips:
        old_clips, new_clips = (
            {str(c.clip) for c in _fires_in([side], in_clips) if c.ids()} for side in (a, b)
        )
        entry["clips_gained"] = sorted(new_clips - old_clips)
        entry["clips_lost"] = sorted(old_clips - new_clips)
    if as_json:
        print_json(entry)
        return
    for change in changed:
        typer.echo(change.text())
    if not changed:
        typer.echo("no difference in meaning")
    for name in ("gained", "lost"):
        for fire in entry.get(name, ()):
            typer.echo(f"{name}: {fire['drive_id']} {fire['at_s']:g} s, score {fire['score']:.2f}")
    if log:
        typer.echo(f"{len(entry['gained'])} fires gained, {len(entry['lost'])} lost")
    for name in ("gained", "lost"):
        for clip in entry.get(f"clips_{name}", ()):
            typer.echo(f"clip {name}: {clip}")
    if in_clips:
        gained, lost = len(entry["clips_gained"]), len(entry["clips_lost"])
        typer.echo(f"{gained} clips gained, {lost} lost among those given")
