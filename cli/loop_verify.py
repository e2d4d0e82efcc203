"""`longtail loop verify`: who signed a gate report, of which model, and whether it may go out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, print_json


def verify(
    envelope: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="Signed gate report (.dsse.json)."),
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model", exists=True, dir_okay=False,
            help="Whom it must be of: its manifest; the ONNX is beside it.",
        ),
    ],
    key: Annotated[
        list[Path],
        typer.Option("--key", exists=True, dir_okay=False, help="Public key, PEM; repeated."),
    ],
    threshold: Annotated[
        int, typer.Option(min=1, help="How many of the keys must have signed.")
    ] = 1,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Whether a model may go out by its signed gate report. Exits 1 unless it may.

    The model's file is its manifest's, the report is of this very model, enough of the keys have
    signed it, and every gate in it passes.
    """
    from offline.gates.model_file import read_model
    from offline.gates.signing import check_may_go, read_public_keys, verified_report

    found = read_model(model)
    found.checked()
    report = verified_report(envelope.read_bytes(), read_public_keys(key), str(envelope), threshold)
    check_may_go(report, found.sha256, str(envelope))
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    typer.echo(
        f"{report.candidate_name} ({report.candidate[:12]}) may go out: every gate passes against "
        f"{report.reference_name} ({report.reference[:12]}), report {report.digest[:12]}"
    )
