"""`longtail label set`: labels of clips as an immutable label set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, TokenOption, print_json, progress_line
from cli.pinning import PinOption, pin_at

StoreOption = Annotated[
    Path, typer.Option("--store", file_okay=False, help="Folder of the datasets' store.")
]


def make_label_set(
    drives: Annotated[
        list[Path],
        typer.Argument(
            exists=True, file_okay=False, help="Drives, or folders of them: clip.mcap and labels/."
        ),
    ],
    store: StoreOption,
    annotator: Annotated[
        list[str], typer.Option(help="Who labelled; may be repeated.")
    ] = [],  # noqa: B006
    stage_run: Annotated[
        list[Path],
        typer.Option(
            exists=True, dir_okay=False, help="Record of the run that labelled; may be repeated."
        ),
    ] = [],  # noqa: B006
    parameters: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The labeller's parameters.")
    ] = None,
    calibrator: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="What calibrated the scores.")
    ] = None,
    pin: PinOption = None,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Keep the labels of drives as a label set, and print its digest.

    The same labels of the same clips by the same makers are the same label set. Clips on the
    store's disk are linked, not copied, and become read-only.
    """
    from contracts.datasets import Makers
    from contracts.ids import sha256_hex
    from models.data.drives import drive_folders
    from offline.datasets.label_sets import label_set_of
    from offline.datasets.store import DatasetStore
    from offline.runs.records import read_run

    makers = Makers(
        stage_runs=tuple(sorted({read_run(path).finished_digest() for path in stage_run})),
        parameters=None if parameters is None else sha256_hex(parameters.read_bytes()),
        calibrator=None if calibrator is None else sha256_hex(calibrator.read_bytes()),
        annotators=tuple(sorted(set(annotator))),
    )
    made = label_set_of(
        drive_folders(drives), makers, DatasetStore(store),
        lambda done, of: progress_line(f"{done} of {of} drives"),
    )  # fmt: skip
    pin_at(
        pin, operator_token, "label_set", made.digest(),
        (each.clip.clip_id for each in made.clips),
    )  # fmt: skip
    frames = sum(len(each.frames) for each in made.clips)
    if as_json:
        figures = {"clips": len(made.clips), "frames": frames, "shares": made.shares()}
        print_json({"digest": made.digest(), **figures})
        return
    shares = ", ".join(f"{share:.1%} {source}" for source, share in made.shares().items())
    typer.echo(f"{len(made.clips)} clips, {frames} frames: {shares}", err=True)
    typer.echo(made.digest())
