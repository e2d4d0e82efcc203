"""`longtail loop health`: is what comes in still what it was?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.output import JsonOption, progress_line
from contracts.errors import InputError

if TYPE_CHECKING:
    from offline.acquisition.adapters.scoring import ClipScorer
    from offline.health.observed import Unit


def health(
    clips: Annotated[
        list[Path], typer.Argument(exists=True, help="Folders of clips or drives: this period's.")
    ],
    reference: Annotated[
        list[Path],
        typer.Option("--reference", exists=True, help="The reference period's; may be repeated."),
    ] = [],  # noqa: B006
    by: Annotated[
        Path | None,
        typer.Option(
            "--by", exists=True, dir_okay=False,
            help="ONNX model whose embeddings are compared. Else those that vehicles recorded.",
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder that keeps embeddings: none is made twice."),
    ] = None,
    vehicles: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False,
            help="JSON: {vehicle: {tag: value}}, for cohorts by type, city and the like.",
        ),
    ] = None,
    level: Annotated[
        float, typer.Option(help="Of what is told as drifted at most this share by chance.")
    ] = 0.05,
    unit: Annotated[
        str, typer.Option(help="What is alike and dealt whole: drive or vehicle.")
    ] = "drive",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    mounts: Annotated[bool, typer.Option(help="Look how lidars sit.")] = True,
    out: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="Report, JSON.")] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Drift of the inputs, what triggers bring beside what is met, and how lidars sit.

    An alarm is told, not an error: the command fails only where it could not look.
    """
    from offline.acquisition.adapters.pool import ScoredClips
    from offline.acquisition.adapters.sources import folder_clips
    from offline.acquisition.adapters.store import ScoreStore
    from offline.health.drift import Watch
    from offline.health.report import Monitors, health_report, read_vehicle_tags
    from offline.health.sensor_calibration import MountWatch
    from offline.health.tables import health_tables

    scorer = _scorer(by)
    store = None if scores is None else ScoreStore(scores, scorer.digest)
    monitors = Monitors(
        Watch(level=level, unit=_unit(unit), seed=seed), MountWatch() if mounts else None,
        {} if vehicles is None else read_vehicle_tags(vehicles),
        lambda done: progress_line(f"{done} clips read"),
    )  # fmt: skip
    known = folder_clips(reference) if reference else []
    report = health_report(folder_clips(clips), known, ScoredClips(scorer, store), monitors)
    text = report.model_dump_json(indent=2)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", "utf-8")
    if as_json:
        typer.echo(text)
        return
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(health_tables(report))


def _unit(text: str) -> Unit:
    units: dict[str, Unit] = {"drive": "drive", "vehicle": "vehicle"}
    if text not in units:
        raise InputError(f"clips are dealt by drive or vehicle, not by {text!r}", "--unit")
    return units[text]


def _scorer(by: Path | None) -> ClipScorer:
    from cli.loop_acquire import model_scorer
    from offline.acquisition.adapters.scoring import ScoringSettings, ToldScorer

    return ToldScorer(ScoringSettings()) if by is None else model_scorer(by, ScoringSettings())
