"""What the commands print alike."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

CloudOption = Annotated[
    str, typer.Option("--cloud", envvar="LONGTAIL_CLOUD", help="The cloud's URL.")
]
TokenOption = Annotated[
    str | None, typer.Option(envvar="LONGTAIL_OPERATOR_TOKEN", help="Operator token.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")]

DEFAULT_CLOUD = "http://127.0.0.1:8080"


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f}"


def progress_line(text: str) -> None:
    """How far a long command is, on standard error: one line that is written over at a terminal."""
    at_terminal = sys.stderr.isatty()
    typer.echo(f"\r\033[K{text}" if at_terminal else text, err=True, nl=not at_terminal)


def absolute(path: Path) -> str:
    return str(path.resolve())
