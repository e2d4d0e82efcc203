"""`longtail sim shadow`: a candidate beside the active model on the simulated fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def shadow(
    recipe: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Trials to drive, YAML.")
    ],
    active: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Model (ONNX) that drives.")
    ],
    candidate: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Model (ONNX) that looks on.")
    ],
    out: Annotated[
        Path, typer.Option("--out", dir_okay=False, help="For `loop gate --shadow`; JSON.")
    ],
    workers: Annotated[int, typer.Option(min=1, max=64, help="Drives at a time.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
) -> None:  # fmt: skip
    """Drive by the active model, ask the candidate beside it, and count where they differ.

    Each drive stands for a vehicle. Where the planner would do something else by the candidate,
    the human, who sees the truth, says who is right.
    """
    from sim_fleet.trials import read_trials
    from sim_fleet.trials.shadow import run_shadow

    found = run_shadow(
        read_trials(recipe), active, candidate, workers=workers,
        told=lambda done, of, name: typer.echo(f"{done} of {of}: {name}", err=True),
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(found.model_dump_json(indent=1) + "\n", "utf-8")
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    typer.echo(
        f"{found.frames} frames on {found.vehicles} vehicles, {found.crashes} without an answer; "
        f"{found.agreed} objects agreed, {found.class_differs} of another class, "
        f"{found.only_active} told by the active model alone, {found.only_candidate} by the "
        f"candidate; {found.disagreements} frames in which the planner would do something else: "
        f"the human sides with the candidate in {found.confirmed}, with the active model in "
        f"{found.refuted}"
    )
