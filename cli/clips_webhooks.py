"""`longtail clips webhooks`: events about clips, sent to a URL."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from client.storage import StorageClient

webhooks = typer.Typer(help="Events about clips, sent to a URL.", no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(help="The webhook's id.")]


@webhooks.command()
def add(
    url: Annotated[str, typer.Argument(help="Where events are POSTed.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have events sent to a URL from now on; prints the secret that signs them, this once."""
    made = StorageClient(cloud, operator_token).add_webhook(url)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        typer.echo(f"{made.webhook.webhook_id}: {made.webhook.url}\nsecret: {made.secret}")


@webhooks.command("list")
def listed(
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """All webhooks, and what they are owed."""
    found = StorageClient(cloud, operator_token).webhooks()
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    for each in found:
        typer.echo(
            f"{each.webhook_id}: {each.url}, {each.waiting} waiting, {each.given_up} given up"
        )


@webhooks.command()
def remove(
    webhook_id: IdArgument,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send nothing there any more."""
    was = StorageClient(cloud, operator_token).remove_webhook(webhook_id)
    if as_json:
        print_json(was.model_dump(mode="json"))
    else:
        typer.echo(f"{was.webhook_id}: removed, {was.waiting} deliveries forgotten")


@webhooks.command()
def deliveries(
    webhook_id: IdArgument,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """The newest deliveries of a webhook."""
    found = StorageClient(cloud, operator_token).deliveries(webhook_id)
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    for each in found:
        told = f" ({each.reason})" if each.reason else ""
        typer.echo(f"{each.topic} {each.clip_id[:12]}: {each.state}, {each.attempts} times{told}")
