"""`longtail sim ...`: look at the simulated world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from contracts.errors import InputError
from contracts.samples import PerceptionFrame, Sample
from sim_fleet.dataset_cli import dataset
from sim_fleet.run_command import run
from sim_fleet.scale.cli import scale
from sim_fleet.shadow_cli import shadow
from sim_fleet.suite_cli import suite
from sim_fleet.trials_cli import trials
from sim_fleet.truth_cli import truth

if TYPE_CHECKING:
    from edge_agent.ports import BevModel

app = typer.Typer(help="The simulated fleet.", no_args_is_help=True)
app.command()(dataset)
app.command()(scale)
app.command()(run)
app.command()(suite)
app.command()(shadow)
app.command()(trials)
app.command()(truth)


@app.callback()
def _group() -> None:
    """The simulated fleet."""


@app.command()
def scenarios(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
) -> None:
    """List the scenarios: id, tags, and what is hard about each."""
    from rich.console import Console
    from rich.table import Table

    from sim_fleet.scenarios.library import built_in

    library = built_in()
    known = [library.scenario(name) for name in library.names]
    if as_json:
        rows = [
            {"id": each.id, "title": each.title, "hard": each.hard, "region": each.region,
             "tod": each.tod, "weather": each.weather.kind or "clear", "tags": list(each.tags)}
            for each in known
        ]  # fmt: skip
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("scenario", "where and when", "what is hard")
    for each in known:
        place = f"{each.region}, {each.tod}, {each.weather.kind or 'clear'}"
        table.add_row(each.id, place, each.hard)
    Console().print(table)


@app.command()
def render(
    scenario: Annotated[str, typer.Argument(help="A scenario's id, or its YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="MCAP file to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Which variation.")] = 0,
    duration: Annotated[float, typer.Option(min=0.2, max=600, help="Seconds.")] = 8.0,
    sensors: Annotated[str, typer.Option(help="Sensor set: light, s or m.")] = "s",
    sheet: Annotated[Path | None, typer.Option("--sheet", help="Contact sheet, PNG.")] = None,
    moments: Annotated[int, typer.Option(min=1, max=20, help="Rows of the sheet.")] = 3,
    model: Annotated[
        Path | None, typer.Option("--model", help="Bird's-eye model by which the planner drives.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
) -> None:
    """Drive a scenario and write it as MCAP, with a sheet of pictures to look at."""
    from contracts.ids import parse_name
    from sim_fleet.drive import Tick
    from sim_fleet.drivers.student import ACT_PROBABILITY, StudentPerceiver
    from sim_fleet.export import write_drive
    from sim_fleet.scenarios.library import load_scenario
    from sim_fleet.sheet import Look, Row, draw_sheet, row_of
    from sim_fleet.source import DriveOptions, SimFleetSource

    spec = load_scenario(scenario)
    perceiver = None if model is None else StudentPerceiver(_bev_model(model))
    at = set(np.linspace(0.2 * duration, duration - 0.1, moments).round(1).tolist())
    rows: list[Row] = []
    recent: list[Sample] = []
    kept: list[Sample | PerceptionFrame] = []

    def look(tick: Tick) -> None:
        wanted = sheet is not None and tick.truth is not None and round(tick.t_s, 1) in at
        if wanted and tick.truth is not None:
            who = "planner drives" if tick.wheel.engaged else f"human drives ({tick.wheel.why})"
            note = f"{tick.ego.speed_mps * 3.6:.0f} km/h   {who}"
            path_m = None if tick.plan is None else tick.plan.xy_m
            seen = None if perceiver is None else perceiver.last
            rows.append(row_of(tick.t_s, recent, tick.truth, note, path_m, seen))
        recent.clear()
        if tick.truth is not None and perceiver is not None and perceiver.last is not None:
            kept.append(perceiver.last)

    source = SimFleetSource(DriveOptions(spec, seed, sensors, duration, perceiver=perceiver), look)

    for sample in source.samples():
        recent.append(sample)
        kept.append(sample)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        vehicle = parse_name(f"sim-{spec.id}-{seed}")
        written = write_drive(out, source.describe(), iter(kept), vehicle)
        if sheet is not None:
            mount = np.array([0.0, 0.0, 0.0])
            for lidar in source.rig.lidars:
                mount = np.array([lidar.mount.x_m, lidar.mount.y_m, lidar.mount.z_m])
            cameras = [camera.calibration(0) for camera in source.rig.cameras]
            shown = Look(
                {c.channel.removeprefix("/camera/"): c for c in cameras}, mount,
                None if perceiver is None else ACT_PROBABILITY,
            )  # fmt: skip
            sheet.parent.mkdir(parents=True, exist_ok=True)
            draw_sheet(sheet, rows, f"{spec.id}, seed {seed}: {spec.hard}", shown)
    except OSError as error:
        raise InputError(f"cannot be written: {error}", str(out)) from error
    if as_json:
        typer.echo(json.dumps(
            {"path": str(out), "clip_id": written.clip_id, "bytes": written.size_bytes,
             "sheet": None if sheet is None else str(sheet)}
        ))  # fmt: skip
    else:
        typer.echo(f"{out}: {written.size_bytes / 1e6:.1f} MB, {duration:g} s of {spec.id}")


def _bev_model(path: Path) -> BevModel:
    """Raises `InputError` for a model of images, which a planner cannot drive by."""
    from edge_agent.perception.runtime import load_model
    from edge_agent.ports import BevModel

    model = load_model(path)
    if not isinstance(model, BevModel):
        raise InputError("a model of images: the planner needs a bird's-eye one", str(path))
    return model
