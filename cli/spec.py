"""`longtail spec ...`: check trigger specs and print their schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, print_json
from contracts.errors import InputError
from contracts.trigger_spec import json_schema_text, load_spec

app = typer.Typer(help="Trigger specs.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Trigger specs."""


@app.command()
def schema() -> None:
    """Print the JSON Schema of a trigger spec, for editors."""
    typer.echo(json_schema_text(), nl=False)


@app.command()
def lint(
    paths: Annotated[list[Path], typer.Argument(help="Spec files or folders.")],
    as_json: JsonOption = False,
) -> None:
    """Check specs: keys, units, names, rules. Every complaint is `file:line:column: ...`."""
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) or [path])]
    complaints = []
    for file in files:
        try:
            load_spec(file)
        except InputError as error:
            complaints.append({"place": error.place or str(file), "message": error.message})
    if as_json:
        print_json({"checked": len(files), "complaints": complaints})
    else:
        for complaint in complaints:
            typer.echo(f"{complaint['place']}: {complaint['message']}", err=True)
        typer.echo(f"{len(files)} specs checked, {len(complaints)} with complaints")
    if complaints:
        raise typer.Exit(1)
