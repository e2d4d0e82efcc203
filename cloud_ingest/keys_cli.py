"""`longtail cloud keys ...`: the key ceremony, fresh keys, and what there is."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cloud_ingest.ota.rotation import KeyOffice, Made

app = typer.Typer(help="Keys that sign updates for vehicles.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder of the keys.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")]
OfflineOption = Annotated[
    list[Path] | None,
    typer.Option("--offline-keys", help="Where people's keys lie, if not in the folder; repeat."),
]
CloudOption = Annotated[
    str | None,
    typer.Option(
        "--cloud", envvar="LONGTAIL_CLOUD",
        help="Sign what this service holds now, and send it there.",
    ),
]  # fmt: skip
TokenOption = Annotated[
    str | None, typer.Option(envvar="LONGTAIL_OPERATOR_TOKEN", help="Operator token.")
]
ActorOption = Annotated[
    str | None, typer.Option(envvar="LONGTAIL_ACTOR", help="Who does this, for the audit log.")
]


@app.callback()
def _group() -> None:
    """Keys that sign updates for vehicles."""


@app.command("init")
def init(
    folder: Folder,
    demo: Annotated[
        bool, typer.Option("--demo", help="For trying out: refused outside of dev mode.")
    ] = False,
    triggers_threshold: Annotated[
        int, typer.Option(min=1, max=8, help="How many people sign trigger specs.")
    ] = 1,
    models_threshold: Annotated[
        int, typer.Option(min=1, max=8, help="How many people sign models.")
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Make all keys and both roots. Put offline/ away afterwards, each key with its person."""
    from cloud_ingest.ota.ceremony import Plan, hold_ceremony
    from cloud_ingest.ota.summary import summary
    from contracts.clock import SystemClock

    made = hold_ceremony(folder, Plan(demo, triggers_threshold, models_threshold), SystemClock())
    if as_json:
        typer.echo(json.dumps(summary(made), indent=2))
        return
    typer.echo(f"keys made in {made.path}")
    if demo:
        typer.echo("demo keys: vehicles and services outside of dev mode refuse them")
    typer.echo("offline/   people's keys: put them away, each with its person")
    typer.echo("online/    the service's keys")
    typer.echo("trust/     what vehicles are provisioned with")


@app.command("rotate")
def rotate(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="root-1, targets, triggers-1, image, director, ...")],
    offline_keys: OfflineOption = None,
    cloud: CloudOption = None,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a fresh key, revoke the old one, and sign again what rested on it.

    Without --cloud the service takes it up at its next start, from this folder.
    """
    _work(folder, offline_keys, cloud, operator_token, actor, as_json, lambda o: o.rotate(name))


@app.command("renew")
def renew(
    folder: Folder,
    role: Annotated[str, typer.Argument(help="root, targets, triggers or models")],
    offline_keys: OfflineOption = None,
    cloud: CloudOption = None,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a role again with a later end."""
    _work(folder, offline_keys, cloud, operator_token, actor, as_json, lambda o: o.renew(role))


@app.command("show")
def show(folder: Folder, as_json: JsonOption = False) -> None:
    """Roles, their keys, thresholds and ends."""
    from cloud_ingest.ota.key_folder import KeyFolder
    from cloud_ingest.ota.summary import summary

    told = summary(KeyFolder(folder))
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    if told["demo"]:
        typer.echo("demo keys: vehicles and services outside of dev mode refuse them")
    for row in told["roles"]:
        keys = ", ".join(f"{key['name']} {key['keyid'][:8]}" for key in row["keys"])
        ends = f", version {row['version']}, ends {row['expires']}" if "version" in row else ""
        typer.echo(f"{row['repository']} {row['role']}: {row['threshold']} of {keys}{ends}")


def _work(
    path: Path,
    offline_keys: list[Path] | None,
    cloud: str | None,
    operator_token: str | None,
    actor: str | None,
    as_json: bool,
    step: Callable[[KeyOffice], list[Made]],
) -> None:
    from cloud_ingest.ota.key_folder import KeyFolder
    from cloud_ingest.ota.remote import RemoteRoles, send_newer
    from cloud_ingest.ota.rotation import KeyOffice
    from contracts.clock import SystemClock

    folder = KeyFolder(path)
    remote = None
    if cloud is not None:
        remote = RemoteRoles(cloud, operator_token, actor or getpass.getuser())
    newest = remote.newest if remote is not None else lambda role: None
    made = step(KeyOffice(folder, tuple(offline_keys or ()), SystemClock(), newest))
    sent = send_newer(folder, remote) if remote is not None else []
    if remote is not None:
        remote.close()
    if as_json:
        told = [{"repository": m.repository, "role": m.role, "version": m.version} for m in made]
        typer.echo(json.dumps({"made": told, "sent": sent}, indent=2))
        return
    for each in made:
        typer.echo(f"made {each.repository} {each.role} version {each.version}")
    if remote is not None:
        typer.echo(f"the service took up: {', '.join(sent)}")
    else:
        typer.echo("the service takes it up when it starts next with this folder")
