"""What commands share that run a stage over clips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import progress_line

if TYPE_CHECKING:
    from offline.runs.folder import WorkFolder
    from offline.runs.records import ClipRecord
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


def publish(folder: WorkFolder, record: ClipRecord, name: str, path: Path) -> None:
    """Put one file of a clip's product where people look for it. A file that holds the same
    already is left alone; one of a clip that failed is of an earlier run and goes.
    """
    from offline.runs.files import write_durably

    if record.output is None:
        path.unlink(missing_ok=True)
        return
    content = folder.objects.get(record.files[name])
    if not path.is_file() or path.read_bytes() != content:
        write_durably(path, content)


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
