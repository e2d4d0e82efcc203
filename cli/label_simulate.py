"""`longtail label simulate`: simulated people answer the review queue. No one was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.label_queue import FolderOption, with_queue
from cli.output import JsonOption, print_json


def simulate_answers(
    truth: Annotated[
        list[Path],
        typer.Argument(metavar="TRUTH...", exists=True, file_okay=False,
                       help="Drives with true labels, called as the tasks' clips."),
    ],
    asked: Annotated[
        list[Path],
        typer.Option("--of", exists=True, file_okay=False,
                     help="Drives that the tasks are of, as `label route` wrote them."),
    ],
    annotators: Annotated[int, typer.Option(min=0, max=50, help="Of consensus tasks.")] = 3,
    experts: Annotated[int, typer.Option(min=0, max=50, help="Of expert tasks.")] = 1,
    times: Annotated[
        float, typer.Option("--errors", min=0.01, max=100, help="How many times the usual errors.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of all that they get wrong.")] = 0,
    most: Annotated[int | None, typer.Option(min=1, help="At most so many answers.")] = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Let simulated annotators and experts answer what is open, by truth and stated noise.

    For tests, demonstrations and studies: what they say is told as by `simulated-...` in every
    label that follows. The same tasks and seed give the same answers. Where the truth has no frame
    of an instant that is asked about, they cannot tell.
    """
    from contracts.clock import SystemClock
    from offline.labels.queue.store import ReviewQueue
    from offline.labels.review.drives import read_drives
    from offline.labels.review.simulated import Answers, answer_open, known_of, team

    known = known_of(read_drives(truth), read_drives(asked))
    people = team(annotators, experts, times)

    async def work(queue: ReviewQueue) -> Answers:
        return await answer_open(queue, known, people, seed, SystemClock(), most)

    done = with_queue(folder, work)
    if as_json:
        print_json({"answers": dict(done.by_name), "seconds": round(done.seconds, 1)})
        return
    for name, count in done.by_name.items():
        typer.echo(f"{name}: {count} answers")
    typer.echo(f"{done.by_name.total()} simulated answers, {done.seconds:.0f} s of work")
