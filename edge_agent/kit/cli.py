"""`longtail agent kit`: start an adapter from a template, check one by its address."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from contracts.errors import InputError

app = typer.Typer(help="Write and check adapters of your own.", no_args_is_help=True)


class Template(StrEnum):
    """Working adapters to start from."""

    SOURCE = "source"
    PLANNER_TAP = "planner_tap"
    NETWORK_PROBE = "network_probe"


@app.command()
def new(
    template: Annotated[Template, typer.Argument(help="what to start from")],
    path: Annotated[Path, typer.Argument(help="the file to write")],
) -> None:
    """Copy a template."""
    content = (Path(__file__).parent / "templates" / f"{template.value}.py").read_text("utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(path)) from error
    typer.echo(f"wrote {path}; its first lines say how to register it")


class SchemaOf(StrEnum):
    """Files that people write for the shipped sources."""

    CAN_MAP = "can_map"
    ROS_MAP = "ros_map"
    SOURCES = "sources"
    CAMERA_CALIBRATION = "camera_calibration"


@app.command()
def schema(
    of: Annotated[SchemaOf, typer.Argument(help="which kind of file")],
) -> None:
    """Print the JSON Schema of a mapping, for editors."""
    from edge_agent.sources.cameras.calibration import CalibrationFile
    from edge_agent.sources.can.mapping import CanMap
    from edge_agent.sources.merged import SourcesFile
    from edge_agent.sources.ros2.mapping import RosMap

    models: dict[SchemaOf, type[BaseModel]] = {
        SchemaOf.CAN_MAP: CanMap,
        SchemaOf.ROS_MAP: RosMap,
        SchemaOf.SOURCES: SourcesFile,
        SchemaOf.CAMERA_CALIBRATION: CalibrationFile,
    }
    typer.echo(json.dumps(models[of].model_json_schema(by_alias=True), indent=2))


@app.command()
def check(
    address: Annotated[
        str, typer.Argument(help="a recorded source, such as can:drive.blf,map=...")
    ],
    planner: Annotated[bool, typer.Option(help="also as a planner tap")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Run the conformance test over a recorded source."""
    from edge_agent.kit.conformance import ConformanceError, check_planner_tap, check_source
    from edge_agent.ports import LiveSource
    from edge_agent.sources.registry import open_source

    source = open_source(address)
    if isinstance(source, LiveSource):
        source.stop()
        raise InputError("a live source is checked by a test that feeds it: check_live_source")
    run = check_planner_tap if planner else check_source
    try:
        report = run(lambda: open_source(address))
    except ConformanceError as error:
        if as_json:
            typer.echo(json.dumps({"conforms": False, "faults": error.faults}, indent=2))
        else:
            typer.echo(str(error))
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps({"conforms": True, **asdict(report)}, indent=2))
        return
    typer.echo(f"conforms: {sum(report.samples.values())} samples over {report.span_s:.3f} s")
    for channel, count in report.samples.items():
        typer.echo(f"{count:8d}  {channel}")
    for note in report.notes:
        typer.echo(f"note: {note}")
