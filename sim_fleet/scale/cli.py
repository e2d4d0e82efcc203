"""`longtail sim scale`: plan for a large fleet on paper, or load a real receiver with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import InputError, LongtailError

_PANEL_LOAD = "Load a receiver"


def scale(
    vehicles: Annotated[int, typer.Option(help="Vehicles of the fleet.")] = 100_000,
    hours: Annotated[float, typer.Option(help="Virtual hours.")] = 24.0,
    seed: Annotated[int, typer.Option(help="Which fleet and which days.")] = 0,
    start_hour: Annotated[float, typer.Option(help="First hour, UTC.")] = 0.0,
    warm_up_hours: Annotated[
        float, typer.Option(help="Driven before, unseen, so that spools are as usual.")
    ] = 24.0,
    rates: Annotated[
        Path | None, typer.Option("--rates", help="YAML laid over the default rates.")
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option(help="Also change the main rates one by one (a small fleet).")
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for report, rates and pictures.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
    rollout: Annotated[
        bool,
        typer.Option("--rollout", help="Drive every vehicle through a staged rollout of a service "
                     "that is started for it; 100,000 take most of an hour."),
    ] = False,
    load: Annotated[
        str | None,
        typer.Option("--load", help="Base URL of a receiver.", rich_help_panel=_PANEL_LOAD),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Longest real time of the load.", rich_help_panel=_PANEL_LOAD)
    ] = 20.0,
    events: Annotated[
        int, typer.Option(help="Most events of the load.", rich_help_panel=_PANEL_LOAD)
    ] = 1_000_000,
    connections: Annotated[
        int,
        typer.Option(help="Identities, one connection each.", rich_help_panel=_PANEL_LOAD),
    ] = 32,
    rate: Annotated[
        float | None,
        typer.Option(help="Most events a second; none: all it takes.", rich_help_panel=_PANEL_LOAD),
    ] = None,
    speed_up: Annotated[
        float | None,
        typer.Option(help="Virtual seconds a second; none: all it takes.",
                     rich_help_panel=_PANEL_LOAD),
    ] = None,
    clip_bytes: Annotated[
        int, typer.Option(help="Size of each uploaded clip.", rich_help_panel=_PANEL_LOAD)
    ] = 16_384,
    database_url: Annotated[
        str | None,
        typer.Option(help="To count what was acknowledged; none: ask over HTTP.",
                     envvar="DATABASE_URL", rich_help_panel=_PANEL_LOAD),
    ] = None,
    receiver_pid: Annotated[
        int | None,
        typer.Option(help="Process whose CPU is told, its children's too.",
                     rich_help_panel=_PANEL_LOAD),
    ] = None,
) -> None:  # fmt: skip
    """Plan for a large fleet as a stream of requests in virtual time, or send it to a receiver."""
    if rollout:
        _rollout(vehicles, connections, seed, out, as_json)
        return
    from sim_fleet.scale.rates import ScaleRates, load_rates
    from sim_fleet.scale.stream import StreamOptions

    chosen = ScaleRates() if rates is None else load_rates(rates)
    if load is None:
        options = StreamOptions(vehicles, hours, seed, start_hour, warm_up_hours)
        _plan(chosen, options, sensitivity, out, as_json)
        return
    from sim_fleet.scale.load.run import LoadOptions, run_load
    from sim_fleet.scale.tables import load_table

    options = StreamOptions(vehicles, hours, seed, start_hour, 0.0, batch_s=60)
    wanted = LoadOptions(
        load, connections, seconds, events, rate, speed_up, clip_bytes, database_url, receiver_pid
    )
    report = run_load(chosen, options, wanted)
    _tell(asdict(report), load_table(report), as_json)
    if out is not None:
        _write(out / "load.json", json.dumps(asdict(report), indent=2) + "\n")
    if not report.is_exact:
        raise LongtailError("what was acknowledged is not in the database exactly once", load)


def _rollout(vehicles: int, connections: int, seed: int, out: Path | None, as_json: bool) -> None:
    from sim_fleet.scale.rollout.drive import RolloutOptions, drive_rollout
    from sim_fleet.scale.rollout.report import rollout_table

    options = RolloutOptions(vehicles, connections, seed)
    report = drive_rollout(options, tell=lambda line: typer.echo(line, err=True))
    _tell(asdict(report), rollout_table(report), as_json)
    if out is not None:
        _write(out / "rollout.json", json.dumps(asdict(report), indent=2) + "\n")
    if not report.is_exact:
        raise LongtailError("not every vehicle got what its stage allows", "rollout")


def _plan(rates: Any, options: Any, sensitivity: bool, out: Path | None, as_json: bool) -> None:
    import yaml

    from sim_fleet.scale.plan import make_plan
    from sim_fleet.scale.plots import draw_plan
    from sim_fleet.scale.sensitivity import sensitivities
    from sim_fleet.scale.stream import Stream
    from sim_fleet.scale.tables import plan_tables
    from sim_fleet.scale.totals import totals_of

    stream = Stream(rates, options)
    totals = totals_of(stream)
    plan = make_plan(stream, totals)
    changes = sensitivities(rates, seed=options.seed) if sensitivity else []
    told = {**asdict(plan), "sensitivity": [asdict(each) for each in changes]}
    _tell(told, plan_tables(plan, changes), as_json)
    if out is not None:
        _write(out / "plan.json", json.dumps(told, indent=2) + "\n")
        _write(out / "rates.yaml", yaml.safe_dump(rates.model_dump(mode="json"), sort_keys=False))
        draw_plan(out / "plan.png", rates, totals, plan, options.start_h)
        typer.echo(f"written: {out}", err=True)


def _tell(value: dict[str, Any], tables: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(value))
        return
    from rich.console import Console

    Console().print(tables)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(path)) from error
