"""`longtail model train | teach | distill`: from labelled drives to weights.

Each writes a run folder (`models.runs`). A run that was stopped goes on after its last whole
epoch when the same command is given again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import progress_line
from contracts.errors import InputError

if TYPE_CHECKING:  # torch loads when a command runs
    from models.data.frames import LabelledFrames
    from models.history import Losses
    from models.recipe import ModelRecipe, StageSpec
    from models.student.config import StudentConfig
    from models.student.losses import TeacherFrame
    from models.student.network import Student
    from models.teacher.network import Teacher

RecipeOption = Annotated[Path, typer.Option("--recipe", help="The recipe, a YAML file.")]
DataOption = Annotated[
    list[Path], typer.Option("--data", help="Folder with labelled drives; may be given again.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the run.")]
ThreadsOption = Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")]


def train(
    recipe: RecipeOption, data: DataOption, out: OutOption, threads: ThreadsOption = 0
) -> None:
    """Train a student from labels alone, stage by stage."""
    from models.recipe import read_recipe
    from models.runs import RUN_FILE, load_student

    use_threads(threads)
    plan = read_recipe(recipe)
    start: Student | None = None
    parents: dict[str, str] = {}
    for number, stage in enumerate(plan.student, start=1):
        last = number == len(plan.student)
        folder = out if last else out / f"stage-{number}"
        if last or not (folder / RUN_FILE).exists():
            _train_network(
                plan, f"student-{number}", stage, plan.config(), data, folder, start=start,
                parents=parents,
            )  # fmt: skip
        start, run = load_student(folder)
        parents = {f"stage-{number}": run.weights}


def teach(
    recipe: RecipeOption, data: DataOption, out: OutOption, threads: ThreadsOption = 0
) -> None:
    """Train a teacher: a sight that looks ahead too, then the members over it."""
    from models.data.examples import Examples
    from models.recipe import read_recipe
    from models.runs import (
        CHECKPOINT_FILE,
        RUN_FILE,
        TrainingRun,
        finish_run,
        load_student,
        save_weights,
    )
    from models.teacher.config import teacher_config
    from models.teacher.train import train_members

    use_threads(threads)
    plan = read_recipe(recipe)
    config = teacher_config(plan.config())
    sight_folder = out / "sight"
    if not (sight_folder / RUN_FILE).exists():
        _train_network(plan, "sight", plan.teacher.sight, config, data, sight_folder)
    first, sight_run = load_student(sight_folder)
    frames = _frames(data, config)
    stage = plan.teacher.members
    teacher = train_members(
        first, Examples(frames, config), frames.drive_of, stage.recipe(), plan.teacher.count,
        plan.seed, told_epochs(out, "members", stage.epochs), out / CHECKPOINT_FILE,
    )  # fmt: skip
    run = TrainingRun(
        kind="teacher", config=config, members=plan.teacher.count, recipe=plan.digest(),
        stage="members", seed=plan.seed, dataset=frames.digest, examples=len(frames),
        parents={"sight": sight_run.weights}, weights=save_weights(out, teacher),
    )  # fmt: skip
    finish_run(out, run)
    typer.echo(f"teacher of {plan.teacher.count} members: {out}")


def distill(
    recipe: RecipeOption,
    data: DataOption,
    out: OutOption,
    teacher: Annotated[Path, typer.Option(help="Run folder of the teacher.")],
    start: Annotated[Path, typer.Option(help="Run folder of the student to go on from.")],
    threads: ThreadsOption = 0,
) -> None:
    """Go on training a student, from the labels and from what a teacher says of the same frames."""
    from models.recipe import read_recipe
    from models.runs import load_student, load_teacher

    use_threads(threads)
    plan = read_recipe(recipe)
    network, run = load_student(start)
    taught, teacher_run = load_teacher(teacher)
    words = _words(taught, data, bf16=plan.distill.bf16)
    parents = {"student": run.weights, "teacher": teacher_run.weights}
    _train_network(
        plan, "distill", plan.distill, run.config, data, out, start=network, words=words,
        parents=parents,
    )  # fmt: skip


def _words(teacher: Teacher, data: list[Path], *, bf16: bool) -> list[TeacherFrame]:
    """What the teacher says of every frame; the frames as it sees them are not kept."""
    from models.teacher.predict import TeacherView

    view, seen = TeacherView(teacher, bf16=bf16), _frames(data, teacher.config)
    words = []
    for place in range(len(seen)):
        words.append(view.word(seen.frame(place)))
        if (place + 1) % 50 == 0 or place + 1 == len(seen):
            progress_line(f"the teacher's word: {place + 1} of {len(seen)} frames")
    return words


def _train_network(
    plan: ModelRecipe, name: str, stage: StageSpec, config: StudentConfig, data: list[Path],
    out: Path, *, start: Student | None = None, words: list[TeacherFrame] | None = None,
    parents: dict[str, str] | None = None,
) -> None:  # fmt: skip
    from models.data.examples import Examples
    from models.runs import CHECKPOINT_FILE, TrainingRun, finish_run, save_weights
    from models.student.train import train_student

    frames = _frames(data, config)
    network = train_student(
        config, Examples(frames, config, words), stage.recipe(), plan.seed,
        told_epochs(out, name, stage.epochs), checkpoint=out / CHECKPOINT_FILE, start=start,
    )  # fmt: skip
    run = TrainingRun(
        kind="sight" if name == "sight" else "student", config=config, recipe=plan.digest(),
        stage=name, seed=plan.seed, dataset=frames.digest, examples=len(frames),
        parents=parents or {}, weights=save_weights(out, network),
    )  # fmt: skip
    finish_run(out, run)
    typer.echo(f"{name}: {len(frames)} frames, {stage.epochs} epochs: {out}")


def _frames(data: list[Path], config: StudentConfig) -> LabelledFrames:
    from models.data.frames import load_frames

    return load_frames(
        data, config, lambda done, of: progress_line(f"reading drives: {done} of {of}")
    )


def told_epochs(out: Path, name: str, epochs: int) -> Callable[[int, Losses], None]:
    """Tells of each epoch, keeps the history and draws it."""
    from models.telling import telling_epochs

    return telling_epochs(out, epochs, lambda words: progress_line(f"{name}: {words}"))


def use_threads(threads: int) -> None:
    import torch

    if threads < 0:
        raise InputError("threads cannot be negative")
    if threads:
        torch.set_num_threads(threads)
