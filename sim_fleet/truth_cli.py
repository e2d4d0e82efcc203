"""`longtail sim truth`: what is true of clips that a simulated fleet sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def truth(
    clips: Annotated[
        list[Path],
        typer.Argument(metavar="CLIP...", exists=True, help="Clips, or folders of them."),
    ],
    known: Annotated[
        Path, typer.Option("--truth", exists=True, file_okay=False, help="Of `sim run --truth`.")
    ],
    out: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Folder for one folder a clip.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
) -> None:  # fmt: skip
    """Write the true labels of clips, called as `label clip` calls them, to simulate annotators."""
    import json

    from sim_fleet.fleet.clip_truth import truth_of_clips

    found = truth_of_clips(clips, known, out)
    if as_json:
        rows = [{"clip": each.folder.name, "instants": each.instants} for each in found]
        typer.echo(json.dumps(rows, indent=2))
        return
    typer.echo(f"{len(found)} clips, {sum(each.instants for each in found)} true instants: {out}")
