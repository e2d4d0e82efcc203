"""Tells of a training run as it goes: in words, as history, as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.evaluation.plots import draw_history
from models.history import History, Losses
from models.runs import CHECKPOINT_FILE

PICTURE_FILE = "losses.png"


def telling_epochs(
    out: Path, epochs: int, say: Callable[[str], None]
) -> Callable[[int, Losses], None]:
    """What a trainer calls after each epoch; the history goes on where the run was stopped."""
    history = History(out, resumed=(out / CHECKPOINT_FILE).exists())

    def tell(epoch: int, losses: Losses) -> None:
        history.add(epoch, losses)
        draw_history(history.epochs, out / PICTURE_FILE)
        say(epoch_told(epoch, epochs, losses))

    return tell


def epoch_told(epoch: int, epochs: int, losses: Losses) -> str:
    """One epoch in a line."""
    words = "  ".join(f"{task} {loss:.3f}" for task, loss in losses.items())
    return f"epoch {epoch} of {epochs}  {words}"
