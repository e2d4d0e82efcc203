"""`longtail loop report`: what a turn came to, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.output import JsonOption, absolute, print_json

if TYPE_CHECKING:
    from offline.loop_report.facts import Change, LoopFacts
    from offline.pipeline.records import Turn
    from offline.pipeline.turn import LoopFolder
    from sim_fleet.trials.compare import FigureChange

REPORT = "report"


def report(
    turn: Annotated[
        str | None, typer.Argument(metavar="[TURN]", help="Its id's beginning; none: the last.")
    ] = None,
    loop: Annotated[
        Path, typer.Option("--loop", exists=True, file_okay=False, help="The loop's folder.")
    ] = Path("longtail-loop"),
    out: Annotated[
        Path | None, typer.Option("--out", file_okay=False, help="Else in the turn's own folder.")
    ] = None,
    trials: Annotated[
        list[Path],
        typer.Option(
            exists=True, dir_okay=False,
            help="Of `sim trials`, of the model before and of the one after; both or neither.",
        ),
    ] = [],  # noqa: B006
    health: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Of `loop health --json`; else what the turn saw."
        ),
    ] = None,
    sim_to_real: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Of `loop sim-to-real --json`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Write a turn's page: what happened, before and after, where it all comes from."""
    from offline.health.records import HealthReport
    from offline.pipeline.facts import TurnFacts
    from offline.pipeline.turn import LoopFolder
    from offline.sim_to_real.records import SimToReal

    kept = LoopFolder(loop)
    found = kept.turn(turn)
    _ask_the_cloud(kept, found)
    facts = TurnFacts(kept, found).facts()
    facts = facts.model_copy(update={
        "trials": trial_changes(trials, found.spec.seed) if trials else (),
        "sim_to_real": None if sim_to_real is None
        else SimToReal.model_validate_json(sim_to_real.read_bytes()),
    })  # fmt: skip
    if health is not None:
        told = HealthReport.model_validate_json(health.read_bytes())
        facts = facts.model_copy(update={"health": told})
    page = _written(facts, out or kept.turn_folder(found.turn_id) / REPORT)
    if as_json:
        print_json({"report": absolute(page)})
        return
    typer.echo(absolute(page))


def write_turn_report(kept: LoopFolder, turn: Turn) -> Path:
    """The page of a turn as it stands, in its own folder."""
    from offline.pipeline.facts import TurnFacts

    _ask_the_cloud(kept, turn)
    return _written(TurnFacts(kept, turn).facts(), kept.turn_folder(turn.turn_id) / REPORT)


def _ask_the_cloud(kept: LoopFolder, turn: Turn) -> None:
    """How the rollout stands by now; without an answer the page tells what was last known."""
    from contracts.errors import LongtailError
    from offline.pipeline.course import note_rollout

    try:
        note_rollout(kept, turn)
    except LongtailError as error:
        typer.echo(f"how the rollout stands by now is not known: {error}", err=True)


def _written(facts: LoopFacts, out: Path) -> Path:
    from offline.loop_report.write import write_report

    return write_report(facts, out)


HEADLINES = ("critical_missed_ratio", "disengagements_per_min", "phantoms_per_min")
_HIGHER = frozenset({"engaged_ratio"})


def trial_changes(reports: list[Path], seed: int) -> tuple[Change, ...]:
    """What driving the same scenes by both models showed. Raises `InputError` for other files."""
    from contracts.errors import InputError
    from offline.loop_report.facts import Change
    from sim_fleet.trials.compare import ALL, compared
    from sim_fleet.trials.report import read_report

    if len(reports) != 2:
        raise InputError("two reports: of the model before, and of the one after", "--trials")
    found = compared(read_report(reports[0]), read_report(reports[1]), seed)
    changes = []
    for each in found.figures:
        if each.before.value is None or each.after.value is None:
            continue
        low, high, interval = _bounds(each)
        changes.append(Change(
            metric=each.name, slice=each.slice, before=each.before.value, after=each.after.value,
            low=low, high=high, interval=interval,
            better="higher" if each.name in _HIGHER else "lower",
            headline=each.slice == ALL and each.name in HEADLINES,
        ))  # fmt: skip
    return tuple(changes)


def _bounds(
    figure: FigureChange,
) -> tuple[float | None, float | None, Literal["difference", "ratio"]]:
    """The ratio's where there is one: a resample with a high figure before may lose more than the
    whole of the figure that was measured, and no figure falls below nothing.
    """
    change = figure.change
    if change.low is None or change.high is None:
        return figure.gap.low, figure.gap.high, "difference"
    return 1.0 + change.low, 1.0 + change.high, "ratio"
