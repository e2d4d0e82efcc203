"""`longtail clips facets | spaces | reembed | saved ...`: counts, spaces, searches under a name."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.output import DEFAULT_CLOUD, CloudOption, JsonOption, TokenOption, print_json
from client.mining import MiningClient
from contracts.mining import SpaceRow

saved = typer.Typer(help="Searches kept under a name.", no_args_is_help=True)

OwnerOption = Annotated[
    str | None, typer.Option(help="Whose search; your account's name unless the cloud knows you.")
]


def facets(
    where: Annotated[str, typer.Argument(help="Only clips that meet this condition.")] = "",
    by: Annotated[
        list[str] | None, typer.Option("--by", help="A column to count; again for more.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, max=1000, help="Values of a column.")] = 20,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count clips by the values of columns: weather, time of day, causes, objects and others."""
    page = MiningClient(cloud, operator_token).facets(where, by or (), most=most)
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    table = Table("column", "value", "clips", box=None)
    for facet in page.facets:
        for number, value in enumerate(facet.values):
            shown = "(not known)" if value.value is None else str(value.value)
            table.add_row(facet.column if number == 0 else "", shown, str(value.clips))
        if facet.other_values:
            table.add_row("", f"({facet.other_values} others)", str(facet.other_clips))
    console = Console()
    console.print(table)
    console.print(f"{page.clips} clips", highlight=False)


def spaces(
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Spaces of vectors: what made them, how many there are, which one searches use."""
    rows = MiningClient(cloud, operator_token).spaces()
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    Console().print(_space_table(rows) if rows else "no space has a vector")


def reembed(
    space: Annotated[str, typer.Argument(help="A space of captions, or its beginning.")],
    default: Annotated[
        bool, typer.Option(help="Sentences search there once all clips are in it.")
    ] = True,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make all vectors of a space of captions; the service works on, and resumes after a crash."""
    row = MiningClient(cloud, operator_token).reembed(space, makes_default=default)
    if as_json:
        print_json(row.model_dump(mode="json"))
        return
    Console().print(_space_table([row]))


@saved.command("save")
def save(
    name: Annotated[str, typer.Argument(help="Its name.")],
    where: Annotated[str, typer.Argument(help="The search.")],
    owner: OwnerOption = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a search under a name, in place of your own of that name."""
    client = MiningClient(cloud, operator_token)
    kept = client.save_search(name, where, owner or getpass.getuser(), description)
    if as_json:
        print_json(kept.model_dump(mode="json"))
    else:
        typer.echo(f"saved: {kept.name}, of {kept.owner}")


@saved.command("list")
def list_saved(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Saved searches by name."""
    found = MiningClient(cloud, operator_token).saved_searches(owner)
    if as_json:
        print_json([search.model_dump(mode="json") for search in found])
        return
    table = Table("name", "owner", "search", "for", box=None)
    for search in found:
        table.add_row(search.name, search.owner, search.where, search.description)
    Console().print(table if found else "no search is saved")


@saved.command("run")
def run(
    name: Annotated[str, typer.Argument(help="Its name.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find clips by a saved search."""
    from cli.clips import print_clips

    print_clips(list(MiningClient(cloud, operator_token).run_search(name, limit)), as_json)


@saved.command("forget")
def forget(
    name: Annotated[str, typer.Argument(help="Its name.")],
    owner: OwnerOption = None,
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
) -> None:
    """Forget one of your own searches."""
    MiningClient(cloud, operator_token).forget_search(name, owner or getpass.getuser())
    typer.echo(f"forgotten: {name}")


def _space_table(rows: tuple[SpaceRow, ...] | list[SpaceRow]) -> Table:
    table = Table("space", "kind", "encoder", "clips", "made", box=None)
    for row in rows:
        job, made = row.reembedding, ""
        if job is not None:
            made = "whole" if job.finished_utc_ns is not None else f"{job.done} of {job.total}"
        kind = f"{row.kind}, default" if row.is_default else row.kind
        table.add_row(row.space[:12], kind, row.encoder, str(row.vectors), made)
    return table
