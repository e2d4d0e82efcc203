"""A retraining by several processes, on this machine or on a Ray cluster.

Each process is a task of the executor, so the same code runs in a pool and on a cluster, whose
machines see the same files. They meet at a file beside the run's folder (`models.student.crew`).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import InputError, TransientError
from contracts.geometry import Frozen
from offline.executor.ports import Failure, Product, Request, Task
from offline.retrain.run import Folders, RetrainReport, read_report, retrain_run

if TYPE_CHECKING:
    from offline.executor.ports import Executor

WORK = "offline.retrain.together:train_a_part"
MOST = 256
_LOOK_S = 0.5


class Part(Frozen):
    """What one process is asked for."""

    start: Path
    new: Path
    replay: tuple[Path, ...]
    reference: tuple[Path, ...]
    recipe: Path
    out: Path
    rank: int
    size: int
    meeting: Path


def retrain_together(
    folders: Folders, recipe: Path, out: Path, size: int, executor: Executor,
    say: Callable[[str], None] = lambda text: None,
) -> RetrainReport:  # fmt: skip
    """As `retrain_run`, by `size` processes; the executor must run as many at once.

    A run that was stopped goes on after its last whole epoch. `say` is called from a thread of its
    own as epochs end.

    Raises `InputError` for what one process would refuse too, `TransientError` when one dies.
    """
    from models.recipe import read_retrain_recipe

    epochs = read_retrain_recipe(recipe).train.epochs
    if not 2 <= size <= MOST:
        raise InputError(f"2 to {MOST} processes train together, not {size}", "workers")
    # Beside the run's folder, which may hold nothing but the run.
    out.parent.mkdir(parents=True, exist_ok=True)
    meeting = out.absolute().with_name(f".{out.name}-{secrets.token_hex(8)}")
    common = Part(
        start=folders.start.absolute(), new=folders.new.absolute(),
        replay=tuple(each.absolute() for each in folders.replay),
        reference=tuple(each.absolute() for each in folders.reference),
        recipe=recipe.absolute(), out=out.absolute(), rank=0, size=size, meeting=meeting,
    )  # fmt: skip
    tasks = [
        Task(f"rank-{rank}", common.model_copy(update={"rank": rank}).model_dump(mode="json"))
        for rank in range(size)
    ]
    say(f"{size} processes train together")
    try:
        with _epochs_told(out, epochs, say):
            for outcome in executor.run(WORK, tasks):
                if isinstance(outcome.result, Failure):
                    kind = InputError if outcome.result.kind == "InputError" else TransientError
                    raise kind(outcome.result.reason, outcome.clip)
    finally:
        meeting.unlink(missing_ok=True)
    return read_report(out)


@contextmanager
def _epochs_told(out: Path, epochs: int, say: Callable[[str], None]) -> Iterator[None]:
    """Say what the leader, perhaps on another machine, writes of each epoch that is new."""
    from models.history import kept_epochs
    from models.telling import epoch_told

    before, over = len(kept_epochs(out)), threading.Event()

    def follow() -> None:
        told, last = before, False
        while not last:
            last = over.wait(_LOOK_S)
            found = kept_epochs(out)
            for epoch in range(told, len(found)):
                say(epoch_told(epoch + 1, epochs, found[epoch]))
            told = max(told, len(found))

    follower = threading.Thread(target=follow, name="epochs")
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()


def train_a_part(request: Request) -> Product:
    """One process's work."""
    from models.recipe import read_retrain_recipe
    from models.student.crew import joined
    from models.telling import telling_epochs

    part = Part.model_validate(request)
    recipe = read_retrain_recipe(part.recipe)
    folders = Folders(part.start, part.new, part.replay, part.reference)
    with joined(part.rank, part.size, part.meeting) as crew:
        told = None
        if crew.leads:
            told = telling_epochs(part.out, recipe.train.epochs, lambda text: None)
        retrain_run(folders, recipe, part.out, progress=told, crew=crew)
    return Product({}, {"rank": part.rank})
