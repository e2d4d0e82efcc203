"""`longtail sim suite`: the frozen scenario suite, and how it is frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InputError


def suite(
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the drives.")],
    recipe: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Of another suite; YAML.")
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Freeze the drives as they come out: a new version.")
    ] = False,
    promote: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False,
            help="A released model's gate report: what it passed with something to spare must be "
            "passed from now on.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Write the drives of the frozen suite, each checked against its digest."""
    from contracts.scenario_suite import suite_text
    from sim_fleet.suite import PUBLISHED, frozen_file, read_recipe, refrozen, suite_of, write_suite

    path = recipe or PUBLISHED
    asked, before = read_recipe(path), suite_of(path)
    if before is None and not freeze:
        raise InputError("was never frozen: --freeze does it", str(path))
    if promote is not None:
        if before is None or freeze:
            raise InputError("a suite is frozen before it is promoted", "--promote")
        before = before.promoted(_passed(promote, before.digest))
        frozen_file(path).write_text(suite_text(before), "utf-8")
    made, alike = write_suite(
        asked, None if freeze else before, out,
        lambda done, of, name: typer.echo(f"{done} of {of}: {name}", err=True),
    )  # fmt: skip
    if freeze:
        made = refrozen(made, before)
        frozen_file(path).write_text(suite_text(made), "utf-8")
    musts = sum(each.standing == "must" for each in made.scenarios)
    slices = len({each.scenario.safety_slice for each in made.scenarios})
    typer.echo(
        f"{made.name} version {made.version}: {len(made.scenarios)} scenarios in {slices} slices, "
        f"{musts} must be passed; digest {made.digest}"
    )
    if alike:
        typer.echo(
            f"{len(alike)} of them are not bit for bit as they were frozen, and alike in all that "
            "is compared: another kind of processor, or too small a change to tell from one"
        )


def _passed(report: Path, suite: str) -> list[str]:
    """What a report says was passed with something to spare, in this very suite."""
    from pydantic import ValidationError

    from contracts.gate_report import GateReport

    try:
        found = GateReport.model_validate_json(report.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"this is no gate report: {error.errors()[0]['msg']}", str(report)
        ) from error
    if found.suite != suite:
        raise InputError("it speaks of another suite", str(report))
    return [each.name for each in found.observed if each.spare]
