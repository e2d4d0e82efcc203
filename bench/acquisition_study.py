"""Acquisition on paired seeds: labelled boxes that the selector saves, against chance and peers.

A pool of simulated clips, mostly plain traffic (`bench/acquisition_data/pool.yaml`), and drives of
other seeds with more that is rare to measure on (`test.yaml`). The shipped student is frozen; over
its features an ensemble of heads is trained from scratch after each turn and measured: mean AP at
2 m over the rare classes, and over the common ones. Each seed has a part of the pool, a labelled
start and first weights of its own, the same for all strategies: chance, predictive entropy alone,
k-centre alone, and the selector, whose random stream counts in its cost.

What is saved is told on all boxes ever labelled, with those of the start
(`offline.acquisition.study.savings`), with Student's interval over the seeds.

It takes the better part of an hour on one core; with `--data FOLDER` drives, cells and finished
loops are kept there, a run that was stopped goes on, and curves and picture are written beside
them (`study.json`, `study.png`).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Figure, figure
from contracts.errors import InputError
from offline.acquisition.study.clips import Clips, make_cells, pool_of, read_clips
from offline.acquisition.study.heads import COMMON, RARE, HeadLearner
from offline.acquisition.study.plot import draw_study
from offline.acquisition.study.ports import Learner
from offline.acquisition.study.result import (
    OURS,
    RANDOM,
    PoolFacts,
    StudyResult,
    kept_or_run,
    loop_key,
    savings_of,
)
from offline.acquisition.study.run import Curve, Plan, run_loop
from offline.acquisition.study.strategies import STRATEGIES

if TYPE_CHECKING:
    from models.student.network import Student

RECIPES = Path(__file__).parent / "acquisition_data"
STUDENT = Path(__file__).parents[1] / "models" / "zoo" / "runs" / "student-s"
SEEDS = tuple(range(12))
"""Two more than ten: one where chance learns nothing at all cannot be compared."""
PLAN = Plan()
FRAMES_A_CLIP = 2
RESULT_FILE, PICTURE_FILE = "study.json", "study.png"


def run(data: Sequence[Path] = ()) -> list[Figure]:
    """All figures.

    Args:
        data: one folder to keep everything in; without, a temporary one.

    Raises `InputError` for more than one folder.
    """
    if len(data) > 1:
        raise InputError("the study takes one folder to keep its drives and loops in", "--data")
    if data:
        return figures_of(study_in(data[0]))
    with tempfile.TemporaryDirectory() as folder:
        return figures_of(study_in(Path(folder)))


def study_in(folder: Path) -> StudyResult:
    """The whole study, on what the folder holds already and what is still to be made."""
    from models.runs import load_student
    from models.student.heads import HeadRecipe

    student = load_student(STUDENT)[0]
    pool, test = (_clips(folder, name, student) for name in ("pool", "test"))
    recipe = HeadRecipe()
    learner = HeadLearner(pool, test, student.config, recipe)
    result = study(pool, test, learner, repr(recipe), folder / "loops", PLAN, SEEDS)
    (folder / RESULT_FILE).write_text(result.model_dump_json(indent=1), "utf-8")
    draw_study(folder / PICTURE_FILE, result, (RARE, COMMON))
    return result


def study(
    pool: Clips, test: Clips, learner: Learner, how: str, loops: Path, plan: Plan,
    seeds: Sequence[int],
) -> StudyResult:  # fmt: skip
    """All loops of all strategies and seeds, and what they save.

    Args:
        how: what settles the learner, so that its loops are known again.
        loops: where each loop is kept once it is done; those of older code are to be deleted.
    """
    clips = pool_of(pool)
    settings = {"heads": how, OURS: repr(STRATEGIES[OURS])}
    told = (plan.model_dump_json(), pool.digest, test.digest, how)
    curves: list[Curve] = []
    for seed in seeds:
        for name, strategy in STRATEGIES.items():
            run_this = partial(run_loop, clips, learner, strategy, name, plan, seed)
            key = loop_key(*told, settings.get(name, ""))
            curves.append(kept_or_run(loops, key, name, seed, run_this))
            end = curves[-1].points[-1]
            _say(f"{name}, seed {seed}: AP {end.figures[RARE]:.3f} after {end.boxes} boxes")
    facts = PoolFacts(
        clips=len(clips), boxes=int(clips.boxes.sum()), rare_clips=int(clips.rare.any(1).sum()),
        pool=pool.digest, test=test.digest, test_frames=len(test.frames),
    )  # fmt: skip
    return StudyResult(
        plan=plan, data=facts, settings=settings, curves=tuple(curves),
        savings=savings_of(curves, (RARE, COMMON)),
    )  # fmt: skip


def figures_of(result: StudyResult) -> list[Figure]:
    """Savings and end points as figures."""
    said = "boxes saved against random for equal rare-slice AP"
    ours = result.saving_of(OURS, RARE)
    figures = [
        figure(f"{OURS}: {said}", 100 * ours.all_boxes.mean, "%", goal=">= 30"),
        figure(f"{OURS}: {said}, low end of 95 %", 100 * ours.all_boxes.low, "%", goal=">= 0.1"),
        figure(f"{OURS}: {said}, high end of 95 %", 100 * ours.all_boxes.high, "%"),
        figure(f"{OURS}: {said}, start left out", 100 * ours.beyond_start.mean, "%"),
        figure(f"{OURS}: {said}, start left out, low end", 100 * ours.beyond_start.low, "%"),
        figure(
            f"{OURS}: seeds that could be compared",
            len(ours.by_seed) - ours.by_seed.count(None),
            "seeds",
            reference="seeds run",
            reference_value=len(ours.seeds),
        ),
    ]
    if ours.of_means is not None:
        figures += [
            figure(f"{OURS}: {said}, of mean curves", 100 * ours.of_means.mean, "%"),
            figure(f"{OURS}: {said}, of mean curves, low end", 100 * ours.of_means.low, "%"),
            figure(f"{OURS}: {said}, of mean curves, high end", 100 * ours.of_means.high, "%"),
        ]
    names = [name for name in STRATEGIES if name != RANDOM]
    for name in (name for name in names if name != OURS):
        saved = result.saving_of(name, RARE).all_boxes
        figures.append(figure(f"{name} only: {said}", 100 * saved.mean, "%"))
        figures.append(figure(f"{name} only: {said}, low end of 95 %", 100 * saved.low, "%"))
    figures += [
        figure(f"{name}: clips with something rare in 100 boxes chosen", _yield(result, name),
               "clips", reference=RANDOM, reference_value=_yield(result, RANDOM))
        for name in names
    ]  # fmt: skip
    for kind in (RARE, COMMON):
        chance = _end(result, RANDOM, kind)
        figures += [
            figure(f"{name}: AP of {kind} classes after the last turn", _end(result, name, kind),
                   "AP", reference=RANDOM, reference_value=chance)
            for name in names
        ]  # fmt: skip
    return figures


def _yield(result: StudyResult, strategy: str) -> float:
    """Of all that was chosen after the start, over all seeds."""
    ends = [(curve.points[0], curve.points[-1]) for curve in result.of(strategy)]
    found = sum(last.rare_clips - first.rare_clips for first, last in ends)
    return 100 * found / sum(last.boxes - first.boxes for first, last in ends)


def _end(result: StudyResult, strategy: str, name: str) -> float:
    """The mean over the seeds."""
    ends = [curve.points[-1].figures[name] for curve in result.of(strategy)]
    return sum(ends) / len(ends)


def _clips(folder: Path, name: str, student: Student) -> Clips:
    """Drive, look, and read, as far as that is not done yet."""
    from sim_fleet.dataset import read_dataset_spec, write_dataset

    spec = read_dataset_spec(RECIPES / f"{name}.yaml")
    drives = write_dataset(
        spec, folder / name, lambda done, of, drive: _say(f"{name}: {done} of {of} drives")
    )
    cells = folder / "cells" / name
    make_cells(student, drives, cells)
    return read_clips(cells, FRAMES_A_CLIP)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
