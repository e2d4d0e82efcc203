"""The loop on fixed seeds: what a turn of it is worth, and what choosing has to do with it.

The shipped student knows clear days in four regions, and rare classes from a handful of frames. The
fleet now meets a mix: mostly what it knows, some night and rain; and two things that are new, one
clip in eight of the pool each: a town of motorcycles and bicycles at night, and country roads with
cattle and boars (`bench/loop_data/pool.yaml`). Each seed has a part of the pool, draws,
annotators' errors and an order of training of its own. In a turn the candidate says what it is
unsure of (passes with dropout), the selector buys clips for a budget of labeller-seconds, simulated
people label them with published noise, the student is retrained by the published recipe with all
weights, and exported as vehicles run it. Two further turns go on from there, what was labelled
before being old then. And the first turn once more, with clips by lot for the same money as was
spent.

Measured on drives of other seeds, by the int8 model: critical objects missed or misnamed, and
phantoms in the ego's way (`sim_fleet.trials.criticality`, on labelled frames), disengagements at
the wheel (`sim_fleet.trials`, `bench/loop_data/trials.yaml`), AP on clear days against the best
that any model of the line had. Seeds and drives are drawn anew for the intervals
(`bench.loop_change`).

It takes hours on one core. With `--data FOLDER` all is kept there and a run that was stopped goes
on; the result is written beside after each step (`loop-study.json`, `loop.png`).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure, figure
from bench.loop_change import Mean, Reduction
from bench.loop_findings import Finding, findings_of
from bench.loop_plot import draw_loop
from bench.loop_records import LoopStudy, Turn
from bench.loop_turns import STUDENT, Line, LoopPlan, LoopTurns
from bench.loop_world import HERE, LoopData
from contracts.errors import InputError

SEEDS, FIRST_SEED = 5, 11
"""Budget, epochs and what counts as an error were chosen on the seeds before the first, on other
test drives; those of now were driven once all that was settled.
"""
PLAN = LoopPlan()
RESULT_FILE, PICTURE_FILE = "loop-study.json", "loop.png"


def run(data: Sequence[Path] = (), seeds: int = SEEDS) -> list[Figure]:
    """All figures.

    Args:
        data: one folder to keep everything in; without, a temporary one.
        seeds: how many, from `FIRST_SEED` on.

    Raises `InputError` for more than one folder, or fewer than two seeds.
    """
    if len(data) > 1:
        raise InputError("the study takes one folder to keep everything in", "--data")
    if seeds < 2:
        raise InputError("an interval over seeds needs two of them", "--seeds")
    if data:
        return figures_of(study_in(data[0], seeds))
    with tempfile.TemporaryDirectory() as folder:
        return figures_of(study_in(Path(folder), seeds))


def study_in(folder: Path, seeds: int) -> LoopStudy:
    """The whole study, on what the folder holds already and what is still to be made."""
    turns = _opened(folder)
    done: dict[Line, Turn] = {}
    before = turns.before(trials=False)
    for line, trials in steps(seeds, PLAN.turns):
        if trials:
            before = turns.before(trials=True)
        done[line] = turns.turn(line, trials)
        study = LoopStudy(
            settings=turns.settings, data=turns.digests, before=before, turns=tuple(done.values())
        )
        (folder / RESULT_FILE).write_text(study.model_dump_json(indent=1), "utf-8")
    draw_loop(folder / PICTURE_FILE, study)
    return study


def steps(seeds: int, turns: int) -> list[tuple[Line, bool]]:
    """Turns in the order in which they are made, and whether they are tried at the wheel: what
    says most comes first, should a run be stopped.
    """
    numbers = range(FIRST_SEED, FIRST_SEED + seeds)
    first = [Line(way, seed, 1) for seed in numbers for way in ("selector", "random")]
    further = [Line("selector", seed, turn) for turn in range(2, turns + 1) for seed in numbers]
    last = [Line("selector", seed, turns) for seed in numbers] if turns > 1 else []
    return [
        *((line, False) for line in first), *((line, True) for line in first),
        *((line, False) for line in further), *((line, True) for line in last),
    ]  # fmt: skip


def figures_of(study: LoopStudy) -> list[Figure]:
    """Each finding with the ends of its interval."""
    return [each for finding in findings_of(study) for each in _figures(finding)]


def _figures(finding: Finding) -> list[Figure]:
    found: Mean | Reduction = finding.found
    scale = 100 if finding.unit == "%" else 1
    name, unit = finding.name, finding.unit
    return [
        figure(name, scale * found.value, unit, goal=finding.goal),
        figure(f"{name}, low end of 95 %", scale * found.low, unit, goal=finding.low_goal),
        figure(f"{name}, high end of 95 %", scale * found.high, unit),
    ]


def _opened(folder: Path) -> LoopTurns:
    from bench.loop_train import with_epochs
    from models.recipe import read_retrain_recipe
    from models.runs import load_student
    from sim_fleet.trials import read_trials

    student, _ = load_student(STUDENT)
    data = LoopData(folder, student.config, _say)
    data.made()
    recipe = with_epochs(read_retrain_recipe(HERE / "loop_data" / "retrain.yaml"), PLAN.epochs)
    return LoopTurns(data, PLAN, recipe, read_trials(HERE / "loop_data" / "trials.yaml"), _say)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
