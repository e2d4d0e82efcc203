"""`longtail fleet ...`: let vehicles into the fleet, look at them, put them out."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from cli.fleet_options import ActorOption, ReasonOption, fleet_client
from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from cli.rollout_tables import console, vehicle_table, when
from client import CloudClient
from contracts.fleet import VehicleDetail

app = typer.Typer(help="The fleet.", no_args_is_help=True)

VehicleArgument = Annotated[str, typer.Argument(metavar="VEHICLE", help="Its id.")]


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


@app.command("list")
def list_vehicles(
    limit: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """All vehicles, with their last check-in and how far they follow their orders."""
    rows = list(fleet_client(cloud, operator_token).vehicles(limit))
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        console().print(vehicle_table(rows) if rows else "no vehicle is enrolled")


@app.command()
def show(
    vehicle: VehicleArgument,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """A vehicle: what it is ordered to hold, what it runs, counts and has refused."""
    detail = fleet_client(cloud, operator_token).vehicle(vehicle)
    if as_json:
        print_json(detail.model_dump(mode="json"))
        return
    shown = console()
    shown.print(vehicle_table([detail]))
    if detail.assigned:
        shown.print(_orders(detail))
    if detail.check_in is None:
        shown.print("it has never checked in")
    else:
        shown.print(_manifest(detail))


@app.command()
def revoke(
    vehicle: VehicleArgument,
    reason: ReasonOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a vehicle from now on, with every token that it holds. There is no way back."""
    detail = fleet_client(cloud, operator_token, actor).revoke(vehicle, reason)
    if as_json:
        print_json(detail.model_dump(mode="json"))
    else:
        typer.echo(f"{detail.vehicle_id} is revoked since {when(detail.revoked_utc_ns)} UTC")


def _orders(detail: VehicleDetail) -> Table:
    table = Table("ordered slot", "release", "version", "attempt", "digest", box=None)
    for held in detail.assigned:
        table.add_row(held.slot, held.name, str(held.version), str(held.attempt), held.digest[:16])
    return table


def _manifest(detail: VehicleDetail) -> Table:
    table = Table("runs", "version", "state", "origin", "digest", box=None)
    manifest = detail.check_in
    if manifest is None:
        return table
    for trigger in manifest.triggers:
        table.add_row(
            trigger.trigger_id, str(trigger.version), trigger.state, trigger.origin,
            trigger.digest[:16],
        )  # fmt: skip
    for model in manifest.models:
        state = "shadow" if model.shadow else "active"
        table.add_row(model.name, str(model.version), state, model.origin, model.digest[:16])
    for refused in manifest.rejected:
        table.add_row(
            refused.slot, "", f"refused: {refused.stage}", refused.reason, refused.digest[:16]
        )
    return table
