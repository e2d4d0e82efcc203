"""`longtail loop acquire`: which clips are labelled next, why, and at what cost."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.output import JsonOption, TokenOption, progress_line
from client import CloudClient
from contracts.errors import InputError

if TYPE_CHECKING:
    from offline.acquisition.adapters.request import AcquisitionReport, AcquisitionRequest
    from offline.acquisition.adapters.scoring import ClipScorer, ScoringSettings
    from offline.acquisition.adapters.sources import ClipSource


def acquire(
    pool: Annotated[
        list[Path],
        typer.Option("--pool", exists=True, help="Folder of clips or drives; may be repeated."),
    ] = [],  # noqa: B006
    cloud: Annotated[
        str | None,
        typer.Option("--cloud", envvar="LONGTAIL_CLOUD", help="The cloud whose clips are a pool."),
    ] = None,
    where: Annotated[str, typer.Option(help="Of the cloud's clips only these.")] = "",
    operator_token: TokenOption = None,
    labelled: Annotated[
        list[Path],
        typer.Option("--labelled", exists=True, help="Folder of clips that are labelled already."),
    ] = [],  # noqa: B006
    by: Annotated[
        Path | None,
        typer.Option(
            "--by", exists=True,
            help="Training run of a teacher (its members) or of a student (passes with dropout),"
            " or an ONNX model (alone). Else the vehicles' own word.",
        ),
    ] = None,
    passes: Annotated[int | None, typer.Option(min=2, help="Of a student.")] = None,
    rate: Annotated[float | None, typer.Option(help="Dropout of a student's passes.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", exists=True, dir_okay=False, help="Request, as YAML."),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="In boxes or seconds.")] = None,
    unit: Annotated[str | None, typer.Option(help="boxes or labeller_s.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="A new one each turn.")] = None,
    scores: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder that keeps scores: no clip is scored twice."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="Report, JSON.")] = None,
    most: Annotated[int | None, typer.Option(min=0, help="Clips to list; else all.")] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Choose clips to label within a budget: by lot, by quota, by doubt and by coverage.

    Scores each clip once, chooses, and tells of every chosen clip why and what it will cost.
    The same clips and request give the same choice.
    """
    from offline.acquisition.adapters.pool import ScoredClips
    from offline.acquisition.adapters.request import acquire as choose
    from offline.acquisition.adapters.sources import folder_clips
    from offline.acquisition.adapters.store import ScoreStore

    if not pool and cloud is None:
        raise InputError("give a folder of clips, or a cloud with --cloud", "--pool")
    request = _request(config, budget, unit, seed, _weights(by))
    scorer = _scorer(by, passes, rate, request)
    store = None if scores is None else ScoreStore(scores, scorer.digest)
    clips = ScoredClips(scorer, store, lambda done: progress_line(f"{done} clips scored"))
    sources: list[Iterable[ClipSource]] = [folder_clips(pool)] if pool else []
    if cloud is not None:
        sources.append(of_cloud(CloudClient(cloud, operator_token), where))
    known = folder_clips(labelled) if labelled else []
    report = choose(request, clips, chain.from_iterable(sources), known)
    _tell(report, out, most, as_json)


def _request(
    config: Path | None,
    budget: float | None,
    unit: str | None,
    seed: int | None,
    weights: dict[str, float] | None,
) -> AcquisitionRequest:
    """The file's request with what the options say instead."""
    from pydantic import ValidationError

    from offline.acquisition.adapters.request import AcquisitionRequest, read_request

    values = {} if config is None else read_request(config).model_dump(exclude_unset=True)
    select = values.setdefault("select", {})
    select |= {k: v for k, v in (("budget", budget), ("seed", seed)) if v is not None}
    if unit is not None:
        values["unit"] = unit
    if weights is not None:
        select.setdefault("score_weights", weights)
    try:
        return AcquisitionRequest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "request"
        needed = "; give --budget and --seed, or --config" if first["type"] == "missing" else ""
        raise InputError(f"{first['msg']}{needed}", place) from error


def _weights(by: Path | None) -> dict[str, float] | None:
    """The score to choose by where one model speaks alone; None: the request's own."""
    if by is None:
        return {"uncertainty": 1.0}
    return {"entropy": 1.0} if by.is_file() else None


def _scorer(
    by: Path | None, passes: int | None, rate: float | None, request: AcquisitionRequest
) -> ClipScorer:
    from offline.acquisition.adapters.ensembles import open_ensemble
    from offline.acquisition.adapters.scoring import EnsembleScorer, ToldScorer

    if (by is None or by.is_file()) and (passes is not None or rate is not None):
        raise InputError("passes are those of a student's training run", "--passes")
    if by is None:
        return ToldScorer(request.scoring)
    if by.is_file():
        return model_scorer(by, request.scoring)
    return EnsembleScorer(open_ensemble(by, passes=passes, rate=rate), request.scoring)


def model_scorer(path: Path, settings: ScoringSettings) -> ClipScorer:
    """By one model as vehicles run it. Raises `InputError` for another kind of file."""
    from cli.model_eval import open_model
    from offline.acquisition.adapters.ensembles import SingleModel
    from offline.acquisition.adapters.scoring import EnsembleScorer

    found = open_model(path)
    if found.model.digest is None:
        raise InputError("this model has no digest to know its embeddings by", str(path))
    model = SingleModel(found.predictor, found.config, found.model.digest)
    return EnsembleScorer(model, settings)


def of_cloud(client: CloudClient, where: str) -> Iterable[ClipSource]:
    """The clips that the cloud's catalog finds, fetched one by one as they are looked into."""
    from offline.acquisition.adapters.sources import cloud_clips

    return cloud_clips(client.search(where), lambda name: client.show(name).manifest, client.pull)


def _tell(report: AcquisitionReport, out: Path | None, most: int | None, as_json: bool) -> None:
    from offline.acquisition.tables import selection_tables

    text = report.model_dump_json(indent=2)
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text + "\n", "utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", str(out)) from error
    if as_json:
        typer.echo(text)
        return
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(selection_tables(report.selection, most))
    console.print(f"{report.scored} clips scored, {report.reused} had been", highlight=False)
    for one in report.left_out:
        console.print(f"left out: {one.place}: {one.reason}", highlight=False, soft_wrap=True)
