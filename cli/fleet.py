"""`longtail fleet ...`: let vehicles into the fleet."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from client import CloudClient

app = typer.Typer(help="The fleet.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The fleet."""


@app.command()
def enroll(
    vehicle: Annotated[str | None, typer.Option(help="Tie the token to one vehicle's id.")] = None,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a one-time token with which one vehicle may enrol its key."""
    made = CloudClient(cloud, operator_token).create_enrolment_token(vehicle)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        typer.echo(made.token)
