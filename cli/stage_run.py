"""What commands share that run a stage over clips."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import progress_line

if TYPE_CHECKING:
    from offline.runs.run import Progress

RUN_FOLDER = ".run"
"""In the folder of the results: what was done, so that a later call goes on from there."""

WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Processes; 0: none but this. Else one a core."),
]
RayOption = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster's address, or 'local'."),
]


def tell_progress(progress: Progress) -> None:
    """A line a clip on standard error; one of a clip that failed stays."""
    record = progress.record
    line = f"{progress.number} of {progress.total}: {record.clip}"
    if record.failure is None:
        progress_line(line if progress.computed else f"{line} (done before)")
    else:
        progress_line(f"{line}: {record.failure.reason}")
        if sys.stderr.isatty():
            typer.echo(err=True)
