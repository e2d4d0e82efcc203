"""`longtail loop embed`: clips of older models brought into a newer model's embedding space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.loop_acquire import model_scorer, of_cloud
from cli.output import (
    DEFAULT_CLOUD,
    CloudOption,
    JsonOption,
    TokenOption,
    print_json,
    progress_line,
)
from client import CloudClient
from contracts.clip import ClipEmbedding


def embed(
    model: Annotated[Path, typer.Option("--model", exists=True, dir_okay=False, help="ONNX file.")],
    cloud: CloudOption = DEFAULT_CLOUD,
    operator_token: TokenOption = None,
    where: Annotated[str, typer.Option(help="Only these clips.")] = "",
    every_s: Annotated[float, typer.Option(min=0.02, help="Between looks at a clip.")] = 0.5,
    scores: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder that keeps what was made of each clip."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give the cloud's clips a model's embedding, so that they can be compared with its own.

    Where the vehicle ran that very model, its own embedding stays.
    """
    from offline.acquisition.adapters.pool import ScoredClips
    from offline.acquisition.adapters.scoring import ScoringSettings
    from offline.acquisition.adapters.store import ScoreStore

    client = CloudClient(cloud, operator_token)
    scorer = model_scorer(model, ScoringSettings(every_s=every_s))
    store = None if scores is None else ScoreStore(scores, scorer.digest)
    clips = ScoredClips(scorer, store, lambda done: progress_line(f"{done} clips"))
    new = known = 0
    for facts, scored in clips.each(of_cloud(client, where)):
        vector = tuple(map(float, scored.embedding))
        embedding = ClipEmbedding(model_digest=scored.space, vector=vector)
        if client.put_embedding(facts.clip_id, embedding).is_new:
            new += 1
        else:
            known += 1
    if as_json:
        left_out = [one.model_dump() for one in clips.left_out]
        print_json({"space": clips.space, "new": new, "known": known, "left_out": left_out})
        return
    typer.echo(f"{new} clips have a new embedding, {known} had one")
    for one in clips.left_out:
        typer.echo(f"left out: {one.place}: {one.reason}")
