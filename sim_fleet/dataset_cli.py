"""`longtail sim dataset`: labelled drives by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dataset(
    recipe: Annotated[Path, typer.Argument(help="What to drive, a YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the drives.")],
) -> None:
    """Write labelled drives, for training and for measuring; those that are there stay."""
    from sim_fleet.dataset import read_dataset_spec, write_dataset

    spec = read_dataset_spec(recipe)
    folders = write_dataset(
        spec, out, lambda done, of, name: typer.echo(f"{done} of {of}: {name}", err=True)
    )
    frames = sum(1 for folder in folders for _ in (folder / "labels").glob("*.npz"))
    typer.echo(f"{spec.name}: {len(folders)} drives, {frames} labelled frames: {out}")
