"""`longtail clips ...`: search, show and fetch clips."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.clips_mining import facets, reembed, saved, spaces
from cli.clips_storage import erase, erasure, pin, pins, tiers, unpin
from cli.clips_webhooks import webhooks
from cli.output import (
    DEFAULT_CLOUD,
    CloudOption,
    JsonOption,
    TokenOption,
    absolute,
    megabytes,
    print_json,
)
from client import CloudClient
from contracts.clip_search import ClipRow
from contracts.clock import NS_PER_S
from contracts.errors import InputError

app = typer.Typer(help="Clips in the cloud.", no_args_is_help=True)
app.command()(facets)
app.command()(spaces)
app.command()(reembed)
app.add_typer(saved, name="saved")
for command in (tiers, pins, pin, unpin, erase, erasure):
    app.command()(command)
app.add_typer(webhooks, name="webhooks")


@app.callback()
def _group() -> None:
    """Clips in the cloud."""


def clip_table(rows: Sequence[ClipRow], cosines: Sequence[float] | None = None) -> Table:
    """Clips as people compare them; with `cosines` how like each is to another."""
    table = Table(box=None)
    likeness = () if cosines is None else ("like",)
    for name in ("clip", *likeness, "start (UTC)", "s", "causes", "objects", "max decel", "MB"):
        table.add_column(name, overflow="fold")
    for number, row in enumerate(rows):
        start = ""
        if row.start_utc_ns is not None:
            start = f"{datetime.fromtimestamp(row.start_utc_ns / NS_PER_S, UTC):%Y-%m-%d %H:%M:%S}"
        table.add_row(
            row.clip_id[:12], *([] if cosines is None else [f"{cosines[number]:.3f}"]), start,
            "" if row.duration_s is None else f"{row.duration_s:.1f}",
            "\n".join(row.causes), "\n".join(row.detected_objects),
            "" if row.max_decel_mps2 is None else f"{row.max_decel_mps2:.1f} m/s²",
            megabytes(row.size_bytes),
        )  # fmt: skip
    return table


def print_clips(rows: Sequence[ClipRow], as_json: bool) -> None:
    """Clips as a search has found them, with how like they are where it is ordered by that."""
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    likeness = [row.similarity for row in rows if row.similarity is not None]
    ranked = likeness if rows and len(likeness) == len(rows) else None
    Console().print(clip_table(rows, ranked) if rows else "no clip matches")


def whole_id(client: CloudClient, text: str) -> str:
    """A clip's id from its beginning, the quarantined too. Raises `InputError` when none or several
    match.
    """
    if len(text) == 64:
        return text
    if len(text) < 4 or any(c not in "0123456789abcdef" for c in text):
        raise InputError("give a clip id, or at least its first 4 hex digits", text)
    rows = client.search(f"clip_id LIKE '{text}%'", limit=2, include_quarantined=True)
    found = [row.clip_id for row in rows]
    if len(found) != 1:
        raise InputError("no such clip" if not found else "several clips begin so", text)
    return found[0]


@app.command()
def search(
    where: Annotated[
        str, typer.Argument(help="E.g. \"'car' = ANY(detected_objects) AND max_decel_mps2 > 2\".")
    ] = "",
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    quarantined: Annotated[bool, typer.Option(help="Those that cannot be read, too.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A JPEG: the likest clips come first."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find clips by a condition over their columns, by likeness, or both; without one, all.

    E.g. "tod = 'night' ORDER BY similarity TO sentence('a cyclist in the rain') LIMIT 20";
    also clip('id') and picture('id').
    """
    if picture is not None:
        from client.mining import MiningClient

        given = MiningClient(cloud, operator_token).put_picture(picture)
        where = f"{where} ORDER BY similarity TO picture('{given.picture_id}')"
    client = CloudClient(cloud, operator_token)
    print_clips(list(client.search(where, limit, include_quarantined=quarantined)), as_json)


@app.command()
def like(
    clip: Annotated[str, typer.Argument(help="Clip id, or its beginning.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    where: Annotated[str, typer.Option(help="Only clips that meet this condition.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 10,
    space: Annotated[
        str | None, typer.Option(help="Digest of the embeddings' model; else the vehicle's.")
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option("--spec", dir_okay=False, help="Write a trigger spec that looks for more."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="The spec's least cosine; else fitted.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Share of random-stream clips it is fitted to.")
    ] = 0.01,
    owner: Annotated[str, typer.Option(help="The spec's owner.")] = "operator",
    as_json: JsonOption = False,
) -> None:
    """Find the clips most like one, by what a model made of them: exact, nearest first."""
    client = CloudClient(cloud, operator_token)
    clip_id = whole_id(client, clip)
    page = client.like(clip_id, where, limit, space=space)
    told = ""
    if spec is not None:
        from cli.clips_like import write_spec

        told = write_spec(client, clip_id, page, spec, threshold=threshold, rate=rate, owner=owner)
    elif threshold is not None:
        raise InputError("is a spec's: name its file with --spec", "--threshold")
    if as_json:
        entry = page.model_dump(mode="json")
        print_json(entry if spec is None else entry | {"spec": absolute(spec)})
        return
    cosines = [row.cosine for row in page.clips]
    console = Console()
    console.print(clip_table([row.clip for row in page.clips], cosines) if cosines else "none")
    console.print(
        f"{page.compared} clips compared in the space of model {page.reference.model_digest[:12]}",
        highlight=False,
    )
    if spec is not None:
        console.print(f"{absolute(spec)}: {told}", highlight=False, soft_wrap=True)


@app.command()
def show(
    clip: Annotated[str, typer.Argument(help="Clip id, or its beginning.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """All that is known of a clip: causes, evidence, window, channels."""
    client = CloudClient(cloud, operator_token)
    clip_id = whole_id(client, clip)
    detail, steps = client.show(clip_id), client.steps(clip_id)
    if as_json:
        print_json(detail.model_dump(mode="json") | {"steps": steps.model_dump(mode="json")})
        return
    console = Console()
    console.print(clip_table([detail.clip]))
    if detail.clip.caption:
        console.print(detail.clip.caption, highlight=False, soft_wrap=True, markup=False)
    console.print(f"url: {detail.mcap_url}", highlight=False, soft_wrap=True)
    for step in steps.steps:
        told = step.reason if step.state != "done" else ", ".join(map(str, step.product))
        console.print(
            f"{step.step}: {step.state}{f' ({told})' if told else ''}",
            highlight=False, soft_wrap=True, markup=False,
        )  # fmt: skip
    if detail.manifest is None:
        console.print(f"quarantined: {detail.clip.state_reason}", highlight=False, soft_wrap=True)
        return
    for cause in detail.manifest.causes:
        evidence = ", ".join(f"{k} {v:.3g}" for k, v in cause.evidence.items())
        console.print(
            f"cause: {cause.trigger_id} v{cause.trigger_version} {cause.evidence_text} "
            f"score {cause.score:.2f}: {evidence}",
            highlight=False,
            soft_wrap=True,
        )
    channels = Table("channel", "schema", "messages", "MB", "gaps", box=None)
    for channel in detail.manifest.channels:
        channels.add_row(
            channel.name, channel.schema_name, str(channel.messages),
            f"{channel.payload_bytes / 1e6:.2f}", str(len(channel.gaps)),
        )  # fmt: skip
    console.print(channels)


@app.command()
def redo(
    clip: Annotated[str, typer.Argument(help="Clip id, or its beginning.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run again what failed or was skipped of a clip's steps."""
    client = CloudClient(cloud, operator_token)
    steps = client.redo(whole_id(client, clip))
    if as_json:
        print_json(steps.model_dump(mode="json"))
        return
    waiting = [step.step for step in steps.steps if step.state == "waiting"]
    typer.echo(f"round {steps.round}: {', '.join(waiting) or 'nothing'} to be done")


@app.command()
def pull(
    clip: Annotated[str, typer.Argument(help="Clip id, or its beginning.")],
    to: Annotated[Path, typer.Option("--to", help="A file called ….mcap, or a folder.")] = Path(),
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a clip as MCAP, resuming a broken fetch; its digest is verified."""
    client = CloudClient(cloud, operator_token)
    path = client.pull(whole_id(client, clip), to)
    if as_json:
        print_json({"path": absolute(path), "size_bytes": path.stat().st_size})
    else:
        typer.echo(absolute(path))
