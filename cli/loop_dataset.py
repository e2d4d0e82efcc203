"""`longtail loop dataset ...`: dataset versions, from label sets and as folders to train on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from cli.label_set import StoreOption
from cli.output import JsonOption, TokenOption, absolute, print_json, progress_line
from cli.pinning import PinOption, pin_at
from contracts.errors import InputError

if TYPE_CHECKING:
    from contracts.datasets import SplitRule

Number = TypeVar("Number", int, float)
app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make dataset versions, and write them as folders."""


@app.command()
def build(
    label_set: Annotated[
        list[str], typer.Argument(metavar="LABEL_SET...", help="Digests, or their beginnings.")
    ],
    store: StoreOption,
    snapshot: Annotated[
        str, typer.Option(metavar="TIME", help="When it is taken: 2026-01-31T12:00:00Z.")
    ],
    split: Annotated[
        list[str], typer.Option(metavar="NAME=PARTS", help="Whole parts of a split; repeated.")
    ] = ["train=8", "validation=1", "test=1"],  # noqa: B006
    by: Annotated[
        Literal["drive", "place"],
        typer.Option(help="What is never parted: a drive, or drives that share a place too."),
    ] = "drive",
    cell_deg: Annotated[float, typer.Option(help="A place's size in degrees.")] = 0.01,
    seed: Annotated[int, typer.Option(min=0, help="Deals groups to splits otherwise.")] = 0,
    weight: Annotated[
        list[str], typer.Option(metavar="LABEL_SET=WEIGHT", help="How often it is drawn; else 1.")
    ] = [],  # noqa: B006
    pin: PinOption = None,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a dataset version of label sets, and print its digest.

    The same inputs, in whatever order, give the same digest. A clip is in one split, and so is
    an instant of a vehicle, which counts once.
    """
    from contracts.datasets import LabelSet
    from offline.datasets.store import DatasetStore
    from offline.datasets.versions import dataset_version

    kept = DatasetStore(store)
    sets = {kept.whole_digest(LabelSet, each) for each in label_set}
    weights = {
        kept.whole_digest(LabelSet, name): value
        for name, value in (_named(each, float, "--weight") for each in weight)
    }
    version = dataset_version(
        {digest: kept.get(LabelSet, digest) for digest in sets},
        _rule(by, split, seed, cell_deg), _utc_ns(snapshot), weights,
    )  # fmt: skip
    digest = kept.put(version)
    pin_at(
        pin, operator_token, "dataset_version", digest,
        (each.clip.clip_id for name, _ in version.rule.parts for each in version.clips(name)
         if each.frames),
    )  # fmt: skip
    rows = []
    for name, _ in version.rule.parts:
        clips = [each for each in version.clips(name) if each.frames]
        frames = sum(len(each.frames) for each in clips)
        rows.append({"split": name, "clips": len(clips), "frames": frames})
    if as_json:
        print_json({"digest": digest, "groups": len(version.groups), "splits": rows})
        return
    for row in rows:
        typer.echo(f"{row['split']}: {row['clips']} clips, {row['frames']} frames", err=True)
    typer.echo(digest)


@app.command()
def export(
    digest: Annotated[str, typer.Argument(help="The version's digest, or its beginning.")],
    store: StoreOption,
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder that is made.")],
    clips: Annotated[
        list[Path],
        typer.Option(
            exists=True, file_okay=False,
            help="More clips, as the cloud service keeps them; may be repeated.",
        ),
    ] = [],  # noqa: B006
) -> None:  # fmt: skip
    """Write a dataset version as labelled drives, a folder a split, to train on.

    Files on the store's disk are linked, not copied.
    """
    from contracts.datasets import DatasetVersion
    from offline.datasets.export import export as write
    from offline.datasets.store import DatasetStore

    kept = DatasetStore(store, clips)
    version = kept.get(DatasetVersion, kept.whole_digest(DatasetVersion, digest))
    write(version, kept, out, lambda done, of: progress_line(f"{done} of {of} clips"))
    typer.echo(absolute(out))


def _rule(
    by: Literal["drive", "place"], split: Sequence[str], seed: int, cell_deg: float
) -> SplitRule:
    from pydantic import ValidationError

    from contracts.datasets import SplitRule

    parts = tuple(_named(each, int, "--split") for each in split)
    try:
        return SplitRule(by=by, parts=parts, seed=seed, cell_deg=cell_deg)
    except ValidationError as error:
        first = error.errors()[0]
        option = {"cell_deg": "--cell-deg"}.get(str((first["loc"] or [""])[0]), "--split")
        raise InputError(first["msg"], option) from error


def _named(text: str, kind: type[Number], option: str) -> tuple[str, Number]:
    name, _, value = text.rpartition("=")
    try:
        return name, kind(value)
    except ValueError:
        raise InputError(f"{text!r} is no NAME=NUMBER", option) from None


def _utc_ns(text: str) -> int:
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no time: {error}", "--snapshot") from None
    if time.tzinfo is None:
        raise InputError(f"{text!r} tells no zone: end it in Z for UTC", "--snapshot")
    since = time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
