"""`longtail spec publish|approve|withdraw` and `longtail model ...`: sign releases and send them.

The key stays on this machine. Everything that a person signs is shown first, or named by them.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from contracts.errors import InputError
from contracts.ids import parse_name
from contracts.ota import Kind, ReleaseId
from contracts.trigger_spec import load_spec

if TYPE_CHECKING:
    from client.releases import Outcome, ReleaseClient

app = typer.Typer(help="Models for vehicles.", no_args_is_help=True)

KeyOption = Annotated[Path, typer.Option("--key", help="Your private key, a PEM file.")]
ActorOption = Annotated[
    str | None,
    typer.Option(envvar="LONGTAIL_ACTOR", help="Who does this, for the audit log; else the user."),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        "--root",
        envvar="LONGTAIL_IMAGE_ROOT",
        help="image.root.json as you hold it: what the service shows is verified before signing.",
    ),
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Replace another change that waits for a signature.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]


@app.callback()
def _group() -> None:
    """Models for vehicles."""


def publish_spec(
    file: Annotated[Path, typer.Argument(help="A spec file.")],
    key: KeyOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    root: RootOption = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a spec, sign it, and publish it under the id and version that it says."""
    spec = load_spec(file).spec
    release = ReleaseId("trigger", spec.id, spec.version)
    client, signer = _client(cloud, operator_token, actor, root), _key(key)
    _tell(release, client.publish_spec(file, signer, replace=replace), as_json)


@app.command("publish")
def publish_model(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    key: KeyOption,
    manifest: Annotated[Path, typer.Option("--manifest", help="The model's manifest.")],
    version: Annotated[
        int | None, typer.Option(help="Publish only if this is the manifest's version.")
    ] = None,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    root: RootOption = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a model against its manifest, sign both, and publish them."""
    client, signer = _client(cloud, operator_token, actor, root), _key(key)
    outcome = client.publish_model(model, manifest, signer, version, replace=replace)
    published = [row for row in client.releases("model") if row.digest == outcome.digest]
    named = outcome.change.published or tuple(
        ReleaseId("model", row.name, row.version) for row in published
    )
    _tell(named[0], outcome, as_json)


def approve_spec(
    key: KeyOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what waits for a signature, and sign it as a further person."""
    _approve("trigger", key, _client(cloud, operator_token, actor, root), as_json)


@app.command("approve")
def approve_model(
    key: KeyOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what waits for a signature, and sign it as a further person."""
    _approve("model", key, _client(cloud, operator_token, actor, root), as_json)


def withdraw_spec(
    trigger_id: Annotated[str, typer.Argument(metavar="ID", help="The trigger's id.")],
    version: Annotated[int, typer.Argument(min=1)],
    key: KeyOption,
    reason: ReasonOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    root: RootOption = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a spec back for good: no vehicle installs it, and those that hold it drop it."""
    release = ReleaseId("trigger", parse_name(trigger_id, "ID"), version)
    client, signer = _client(cloud, operator_token, actor, root), _key(key)
    _tell(release, client.withdraw(release, signer, reason, replace=replace), as_json)


@app.command("withdraw")
def withdraw_model(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[int, typer.Argument(min=1)],
    key: KeyOption,
    reason: ReasonOption,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    actor: ActorOption = None,
    root: RootOption = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a model back for good: no vehicle installs it, and those that hold it drop it."""
    release = ReleaseId("model", parse_name(name, "NAME"), version)
    client, signer = _client(cloud, operator_token, actor, root), _key(key)
    _tell(release, client.withdraw(release, signer, reason, replace=replace), as_json)


@app.command("history")
def model_history(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the published versions of a model, the newest first."""
    rows = _client(cloud, operator_token, None, None).releases("model", parse_name(name, "NAME"))
    newest_first = list(reversed(rows))
    if as_json:
        print_json([row.model_dump(mode="json") for row in newest_first])
        return
    for row in newest_first:
        mark = " withdrawn" if row.withdrawn else ""
        size = f"{row.size_bytes / 1e6:.1f} MB"
        typer.echo(f"version {row.version} {row.digest} {size} by {row.published_by}{mark}")
    if not newest_first:
        typer.echo(f"no version of {name} is published")


def _client(
    cloud: str, operator_token: str | None, actor: str | None, root: Path | None
) -> ReleaseClient:
    from client.releases import ReleaseClient

    trusted = None
    if root is not None:
        try:
            trusted = root.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", str(root)) from error
    return ReleaseClient(cloud, actor or getpass.getuser(), operator_token, trusted_root=trusted)


def _key(path: Path) -> Any:
    from client.signing import load_key

    return load_key(path)


def _approve(kind: Kind, key: Path, client: ReleaseClient, as_json: bool) -> None:
    signer = _key(key)
    seen = client.waiting(kind)
    if seen is not None and not as_json:
        change = seen.change
        for word, releases in (("publish", change.published), ("withdraw", change.withdrawn)):
            for release in releases:
                typer.echo(f"signing: {word} {release.text} {seen.digest(release)}")
    outcome = client.approve(kind, signer, seen)
    changed = (*outcome.change.published, *outcome.change.withdrawn)
    if as_json:
        print_json(_entry(changed, outcome))
    else:
        names = ", ".join(release.text for release in changed) or f"role {kind}s"
        typer.echo(_sentence(names, kind, outcome))


def _tell(release: ReleaseId, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print_json(_entry([release], outcome))
        return
    if outcome.digest:
        typer.echo(outcome.digest)
    typer.echo(_sentence(release.text, release.kind, outcome))


def _entry(releases: Iterable[ReleaseId], outcome: Outcome) -> dict[str, Any]:
    return {
        "releases": [
            {"kind": each.kind, "name": each.name, "version": each.version} for each in releases
        ],
        "state": outcome.state,
        "digest": outcome.digest or None,
        "missing_signatures": outcome.missing_signatures,
    }


def _sentence(names: str, kind: Kind, outcome: Outcome) -> str:
    if outcome.state != "waiting":
        return f"{names}: {outcome.state}"
    missing = outcome.missing_signatures
    group = "spec" if kind == "trigger" else "model"
    return (
        f"{names}: waits for {missing} more signature{'' if missing == 1 else 's'}: another "
        f"person runs `longtail {group} approve --key ...`"
    )
