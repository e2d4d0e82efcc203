"""`longtail loop retrain`: a student takes in a new dataset without forgetting what it knew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.model_train import ThreadsOption, told_epochs, use_threads
from cli.output import JsonOption, absolute, print_json, progress_line
from cli.stage_run import RayOption

RECIPE = Path(__file__).parents[1] / "models" / "zoo" / "student-s.retrain.yaml"


def retrain(
    start: Annotated[
        Path, typer.Option("--from", exists=True, file_okay=False, help="Run folder of a student.")
    ],
    new: Annotated[
        Path, typer.Option("--new", exists=True, file_okay=False, help="Dataset that is new.")
    ],
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder of the run.")],
    replay: Annotated[
        list[Path],
        typer.Option("--replay", exists=True, file_okay=False, help="Dataset of before; repeated."),
    ] = [],  # noqa: B006
    reference: Annotated[
        list[Path],
        typer.Option(
            exists=True, file_okay=False,
            help="Clips or a dataset of the random stream, by which the new frames are weighed.",
        ),
    ] = [],  # noqa: B006
    recipe: Annotated[
        Path, typer.Option("--recipe", exists=True, dir_okay=False, help="The recipe, YAML.")
    ] = RECIPE,
    threads: ThreadsOption = 0,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that train together.")
    ] = 1,
    ray: RayOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Retrain a student on a new dataset; a few frames of before and its own word hold it.

    A dataset is a folder as `loop dataset export` writes it, of which the split `train` is read, or
    any folder of labelled drives. The same command again goes on with a run that was stopped.
    """
    from models.recipe import read_retrain_recipe
    from offline.executor.choice import executor_of
    from offline.retrain.run import Folders, retrain_run
    from offline.retrain.together import retrain_together

    use_threads(threads)
    plan = read_retrain_recipe(recipe)
    folders = Folders(start, new, tuple(replay), tuple(reference))
    if workers > 1:
        executor = executor_of(workers, ray)
        report = retrain_together(folders, recipe, out, workers, executor, progress_line)
    else:
        told = told_epochs(out, "retrain", plan.train.epochs)
        report = retrain_run(folders, plan, out, progress_line, told)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    kept = "the same" if report.same_space else "a new"
    typer.echo(
        f"{report.new_frames} new frames, {len(report.replayed_rows)} of {report.old_frames} old"
        f" ones replayed; embeddings in {kept} space (cosine {report.embedding_cosine:.3f})"
    )
    if not report.mix.reference:
        typer.echo("no random stream that tells: the mix is weighed by label sets alone")
    elif report.mix.untold:
        typer.echo(f"nothing tells of {' and '.join(report.mix.untold)}: weighs nothing")
    for name, share in report.mix.missed.items():
        typer.echo(f"the mix misses {name} by {share:+.1%}")
    typer.echo(absolute(out))
