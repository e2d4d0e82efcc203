"""The losses of a training run after each epoch, on disk."""

from __future__ import annotations

import json
from pathlib import Path

HISTORY_FILE = "history.json"
Losses = dict[str, float]


def kept_epochs(folder: Path) -> list[Losses]:
    """What a run's folder tells of its epochs so far; none where nothing is told yet."""
    try:
        epochs: list[Losses] = json.loads((folder / HISTORY_FILE).read_text("utf-8"))
    except FileNotFoundError:
        return []
    return epochs


class History:
    """Keeps `history.json` up to date; a run that is resumed keeps its earlier epochs."""

    def __init__(self, folder: Path, *, resumed: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / HISTORY_FILE
        self.epochs = kept_epochs(folder) if resumed else []

    def add(self, epoch: int, losses: Losses) -> None:
        """Take the means of the epoch, counted from 1."""
        self.epochs = [*self.epochs[: epoch - 1], losses]
        partial = self._path.with_name(f".{self._path.name}")
        partial.write_text(json.dumps(self.epochs, indent=1), "utf-8")
        partial.replace(self._path)
