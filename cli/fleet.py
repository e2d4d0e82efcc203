"""`longtail fleet ...`: let vehicles into the fleet, look at them, put them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from cli.fleet_options import ActorOption, ReasonOption, fleet_client
from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from cli.people import app as people_app
from cli.rollout_tables import console, vehicle_table, when
from client import CloudClient
from contracts.check_in import CheckIn
from contracts.clock import NS_PER_DAY, SystemClock
from contracts.fleet import FleetActivity, VehicleDetail

app = typer.Typer(help="The fleet.", no_args_is_help=True)
app.add_typer(people_app, name="people")

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
def activity(
    days: Annotated[float, typer.Option(min=0.001, max=40, help="Of so many days.")] = 1.0,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """What all vehicles counted: driving, fires, clips, bytes, and each for a vehicle-day."""
    until_ns = SystemClock().utc_ns()
    found = fleet_client(cloud, operator_token).activity(
        until_ns - round(days * NS_PER_DAY), until_ns
    )
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        console().print(_activity(found))


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
        for line in manifest_lines(detail.check_in):
            shown.print(line, highlight=False, markup=False)


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


def _activity(found: FleetActivity) -> Table:
    table = Table("counted", "in all", "a vehicle-day", box=None)
    table.add_row("vehicles that drove", f"{found.vehicles:,}", "")
    table.add_row("vehicle-days", f"{found.vehicle_days:,}", "")
    for name, count, unit, scale in (
        ("driving", found.driving_s, "h", 3600), ("driven", found.driven_m, "km", 1000),
        ("fires", found.fires, "", 1), ("clips kept", found.clips, "", 1),
        ("of clips kept", found.clip_bytes, "MB", 1e6), ("sent", found.upload_bytes, "MB", 1e6),
        ("disengagements", found.disengagements, "", 1),
    ):  # fmt: skip
        each = f"{count / scale / found.vehicle_days:,.2f} {unit}" if found.vehicle_days else "-"
        table.add_row(name, f"{count / scale:,.{1 if unit else 0}f} {unit}", each)
    if found.budget_bytes:
        table.add_row("of the byte budget kept", f"{found.clip_bytes / found.budget_bytes:.1%}", "")
    return table


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


def manifest_lines(told: CheckIn) -> Iterator[str]:
    """What a vehicle counts and how it is, a line each."""
    for shadow in told.shadow_triggers:
        yield (
            f"shadow: {shadow.trigger_id} v{shadow.version} fired {shadow.fires} times in "
            f"{shadow.driving_s / 60:.1f} min: {shadow.clips} clips, "
            f"{shadow.size_bytes / 1e6:.1f} MB that were not kept"
        )
    if (model := told.shadow_model) is not None:
        yield (
            f"shadow: model {model.digest[:12]} on {model.frames} frames: {model.agreed} objects "
            f"as the active one, {model.class_differs} of another class, {model.only_active} "
            f"missed, {model.only_candidate} more, p99 {model.p99_ms:.1f} ms"
        )
    total = told.counters
    yield (
        f"drove {total.driven_m / 1000:.2f} km in {total.driving_s / 3600:.2f} h, "
        f"{total.connected_driving_s / 3600:.2f} h of it in contact; {total.fires} fires, "
        f"{total.clips} clips, {total.disengagements} disengagements, "
        f"{total.unclean_starts} of {total.starts} starts after a crash"
    )
    if told.latency.frames:
        yield f"frames: p50 {told.latency.p50_ms:.1f} ms, p99 {told.latency.p99_ms:.1f} ms"
    if (budget := told.budget) is not None:
        yield (
            f"today: {budget.clips} of {budget.clips_per_day} clips, "
            f"{budget.size_bytes / 1e6:.0f} of {budget.bytes_per_day / 1e6:.0f} MB, "
            f"{budget.cellular_day_bytes / 1e6:.1f} of "
            f"{budget.cellular_bytes_per_day / 1e6:.0f} MB over cellular"
        )
    reasons = Counter[str]()
    for row in told.suppressed:
        reasons[row.reason] += row.fires
    if reasons:
        yield "not kept: " + ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
    if told.disk is not None:
        yield f"disk: {told.disk.free_bytes / 1e9:.1f} GB free; spool {told.queue.clips} clips wait"
    if told.ota_note:
        yield f"updates: {told.ota_note}"
