"""`longtail sim run`: a fleet over simulated days, against a real receiver, with faults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InputError

DEFAULT_MINUTES = 4.0


def run(
    vehicles: Annotated[int, typer.Option(min=1, max=999, help="How many.")] = 4,
    hours: Annotated[float, typer.Option(help="Fleet time to simulate.")] = 24.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed: the same days.")] = 0,
    faults: Annotated[
        str, typer.Option(help="all, none, a YAML file, or built-in scripts with commas between.")
    ] = "none",
    sensors: Annotated[str, typer.Option(help="Sensor set: light, s or m.")] = "light",
    drive_minutes_per_day: Annotated[
        float,
        typer.Option(help="How much of each vehicle's driving in 24 h is simulated."),
    ] = DEFAULT_MINUTES,
    model: Annotated[
        Path | None,
        typer.Option(help="Bird's-eye model (ONNX) of vehicles with sensors s or m; drives too."),
    ] = None,
    tour: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Recipe of trials: drive those, once, within a day; sensors are the recipe's.",
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for true labels of what is driven.")
    ] = None,
    truth_every: Annotated[
        float, typer.Option(min=0.1, max=60.0, help="Seconds between labelled instants.")
    ] = 0.1,
    url: Annotated[
        str | None, typer.Option(help="A receiver that runs already; else one of this run's own.")
    ] = None,
    day: Annotated[
        int, typer.Option(min=0, help="After 0: the vehicles in --out go on, with a tour.")
    ] = 0,
    trust: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Anchors of --url's receiver: vehicles take its orders over the air.",
        ),
    ] = None,
    soak: Annotated[
        float, typer.Option(min=0, help="Seconds of driving until a new model is kept for good.")
    ] = 1800.0,
    out: Annotated[
        Path, typer.Option(help="Folder for state, store, report and plot; an earlier run's goes.")
    ] = Path(".longtail/fleet"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="Vehicles at a time.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
) -> None:
    """Real agents over simulated days against a real receiver; a broken invariant is exit code 1.

    Vehicles drive, park, lose their link and their power; at the end every clip, event record and
    byte is accounted for. `all` leaves out faults that this fleet's vehicles cannot have, and says
    so.
    """
    from rich.console import Console

    from sim_fleet.fleet import FleetOptions, load_faults, run_fleet
    from sim_fleet.fleet.conductor import inapplicable
    from sim_fleet.fleet.plot import draw_timeline
    from sim_fleet.fleet.report import tell
    from sim_fleet.trials.recipe import read_trials

    console = Console(stderr=as_json)
    wanted = load_faults(faults)
    options = FleetOptions(
        out, vehicles, hours, seed, sensors, drive_minutes_per_day, model=model, workers=workers,
        url=url, tour=None if tour is None else read_trials(tour), truth=truth,
        truth_every_s=round(truth_every, 1), day=day, trust=trust, soak_driving_s=soak,
        told=lambda text: console.print(f"  {text}", highlight=False),
    )  # fmt: skip
    if faults == "all":
        for reason in sorted({f"{f.kind}: {r}" for f in wanted if (r := inapplicable(f, options))}):
            console.print(f"left out {reason}", highlight=False)
        wanted = tuple(fault for fault in wanted if not inapplicable(fault, options))
    report = run_fleet(replace(options, faults=wanted))
    try:
        (out / "report.json").write_text(report.model_dump_json(indent=1) + "\n")
        draw_timeline(out / "timeline.png", report, options)
    except OSError as error:
        raise InputError(f"cannot be written: {error}", str(out)) from error
    if as_json:
        typer.echo(report.model_dump_json(indent=1, exclude={"moments"}))
    else:
        tell(report, console)
        console.print(f"report.json and timeline.png lie in {out}", highlight=False)
    if not report.holds:
        raise typer.Exit(1)
