"""`longtail clips tiers | pins | pin | unpin | erase | erasure`: where clips lie, until they go."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from client.storage import StorageClient
from contracts.errors import InputError
from contracts.storage import Erasure, ErasureRequest

_GB = 1e9
KindArgument = Annotated[
    Literal["label_set", "dataset_version"], typer.Argument(help="What kind of set it is.")
]
NameArgument = Annotated[str, typer.Argument(help="Its name or digest.")]


def tiers(
    policy: Annotated[
        bool, typer.Option("--policy", help="The rules as a bucket's lifecycle policy instead.")
    ] = False,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """What lies in the hot and the cold tier, and what it costs."""
    client = StorageClient(cloud, operator_token)
    if policy:
        print_json(client.lifecycle().model_dump(mode="json"))
        return
    report = client.tiers()
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    table = Table(box=None)
    for name in ("tier", "clips", "GB", "pinned GB", "moving", "a month"):
        table.add_column(name, justify="right")
    for use in report.tiers:
        table.add_row(
            use.tier, str(use.clips), f"{use.size_bytes / _GB:.2f}",
            f"{use.pinned_bytes / _GB:.2f}", str(use.moving_clips),
            f"{use.cost_per_month:.2f} {report.currency}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        f"{report.cost_per_month:.2f} {report.currency} a month; "
        f"all hot it were {report.all_hot_per_month:.2f}",
        highlight=False,
    )


def pins(
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Label sets and dataset versions that keep clips hot."""
    found = StorageClient(cloud, operator_token).pins()
    if as_json:
        print_json([pin.model_dump(mode="json") for pin in found])
        return
    for each in found:
        erased = f", {each.erased_clips} erased" if each.erased_clips else ""
        typer.echo(f"{each.kind} {each.name}: {each.clips} clips{erased}")


def pin(
    kind: KindArgument,
    name: NameArgument,
    clips: Annotated[Path, typer.Option(exists=True, help="File of clip ids, one a line.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep the clips of a set hot. Sets only grow: pin again to add."""
    clip_ids = clips.read_text().split()
    made = StorageClient(cloud, operator_token).pin(kind, name, clip_ids)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        typer.echo(f"{made.kind} {made.name}: {made.clips} clips stay hot")


def unpin(
    kind: KindArgument,
    name: NameArgument,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let go of a set; its clips may go cold."""
    was = StorageClient(cloud, operator_token).unpin(kind, name)
    if as_json:
        print_json(was.model_dump(mode="json"))
    else:
        typer.echo(f"{was.kind} {was.name}: {was.clips} clips let go")


def erase(
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    clip: Annotated[str | None, typer.Option(help="Whole id of the clip to erase.")] = None,
    vehicle: Annotated[
        str | None, typer.Option(help="Erase this vehicle's clips, events and signal logs.")
    ] = None,
    actor: Annotated[str, typer.Option(help="Who asks.")] = "operator",
    request_id: Annotated[
        str | None, typer.Option("--request", help="An id of your own, to ask twice safely.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask back.")] = False,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a clip, or all of a vehicle, with what derives from it. It cannot be undone."""
    if (clip is None) == (vehicle is None):
        raise InputError("give either --clip or --vehicle", "erase")
    subject = f"clip {clip}" if clip is not None else f"all of vehicle {vehicle}"
    if not yes and not typer.confirm(f"Erase {subject} for good?"):
        raise InputError("not erased", subject)
    request = ErasureRequest(
        request_id=request_id or f"erase-{secrets.token_hex(8)}",
        kind="vehicle" if clip is None else "clip", subject=clip or vehicle or "",
        actor=actor, reason=reason,
    )  # fmt: skip
    _tell(StorageClient(cloud, operator_token).erase(request), as_json)


def erasure(
    request_id: Annotated[str | None, typer.Argument(help="Its id; all without.")] = None,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far erasures have come, and which sets they flag."""
    client = StorageClient(cloud, operator_token)
    if request_id is not None:
        _tell(client.erasure(request_id), as_json)
        return
    found = client.erasures()
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    for each in found:
        _tell(each, as_json=False)


def _tell(told: Erasure, as_json: bool) -> None:
    if as_json:
        print_json(told.model_dump(mode="json"))
        return
    state = "ended" if told.ended_utc_ns is not None else f"{told.left} clips left"
    typer.echo(f"{told.request_id}: {told.kind} {told.subject}, {told.clips} clips, {state}")
    for flag in told.flags:
        typer.echo(f"  {flag.kind} {flag.name} held {flag.clips} of them")
