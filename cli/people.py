"""`longtail fleet people ...`: who may do what in the cloud."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from rich.table import Table

from cli.fleet_options import ActorOption, ReasonOption, fleet_client
from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from cli.rollout_tables import console
from contracts.people import PersonRow, Role

app = typer.Typer(help="People and their roles.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As the audit log tells it.")]


@app.callback()
def _group() -> None:
    """People and their roles."""


@app.command()
def add(
    name: NameArgument,
    reason: ReasonOption,
    role: Annotated[Role, typer.Option(help="viewer, labeller, operator or admin.")] = "viewer",
    days: Annotated[int, typer.Option(min=1, max=366, help="How long the token holds.")] = 90,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let somebody in; prints a token, once. A token that they had holds no longer."""
    client = fleet_client(cloud, operator_token, actor)
    made = client.add_person(name, role, days * 86_400, reason)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        typer.echo(made.token)


@app.command("list")
def list_people(
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Everybody who was let in."""
    rows = fleet_client(cloud, operator_token).people()
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    table = Table("name", "role", "since", "until", box=None)
    for row in rows:
        table.add_row(row.name, row.role, _day(row.created_utc_ns), _until(row))
    console().print(table if rows else "nobody has a token of their own")


@app.command()
def revoke(
    name: NameArgument,
    reason: ReasonOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse somebody from now on."""
    row = fleet_client(cloud, operator_token, actor).revoke_person(name, reason)
    if as_json:
        print_json(row.model_dump(mode="json"))
    else:
        typer.echo(f"{row.name} is refused from now on")


def _until(row: PersonRow) -> str:
    if row.revoked_utc_ns is not None:
        return f"revoked {_day(row.revoked_utc_ns)}"
    return _day(row.expires_utc_ns)


def _day(utc_ns: int) -> str:
    return dt.datetime.fromtimestamp(utc_ns // 10**9, dt.UTC).date().isoformat()
