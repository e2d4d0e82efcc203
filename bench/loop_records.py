"""What a turn of the loop came to, and all turns of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from bench.forgetting_arms import Scores
from contracts.errors import InputError
from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex
from sim_fleet.trials.report import DriveTrial, TrialsReport

Way = Literal["selector", "random"]
BEFORE = "before"


class Bought(Frozen):
    """Clips labelled in a turn: `cost_s` labeller-seconds by what was drawn; `target_clips` of
    them show a rare class; clips by stream. `trained` frames are learned from, those of clips
    held out tell what a probability means.
    """

    clips: tuple[Sha256Hex, ...]
    frames: int
    boxes: int
    rare_boxes: int
    cost_s: Finite
    target_clips: int
    streams: dict[str, int]
    trained: int


class Measures(Frozen):
    """One exported model: critical errors on the target's labelled frames drive by drive, AP old
    and new, and its trials.
    """

    model: Sha256Hex
    drives: tuple[DriveTrial, ...] = Field(min_length=1)
    scores: Scores
    trials: TrialsReport | None = None


class Turn(Frozen):
    """One turn of one way on one seed."""

    way: Way
    seed: int
    turn: int = Field(ge=1)
    bought: Bought
    measures: Measures
    seconds: dict[str, Finite] = Field(default_factory=dict)


class LoopStudy(Frozen):
    """All turns; `settings` and `data` by name."""

    schema_version: Literal[1] = 1
    settings: dict[str, str]
    data: dict[str, str]
    before: Measures
    turns: tuple[Turn, ...]

    def of(self, way: Way, turn: int) -> dict[int, Turn]:
        """By seed."""
        found = {t.seed: t for t in self.turns if (t.way, t.turn) == (way, turn)}
        return dict(sorted(found.items()))

    def one(self, way: Way, seed: int, turn: int) -> Turn:
        """Raises `InputError` for a turn that is not there."""
        if seed not in (found := self.of(way, turn)):
            raise InputError(f"no turn {turn} of seed {seed}", way)
        return found[seed]

    def kept(self, way: Way, turn: int) -> dict[int, float]:
        """AP on the old over the best that any model of the seed's line had, by seed."""
        return {
            seed: found.measures.scores.old / max(
                self.before.scores.old,
                *(self.one(way, seed, k).measures.scores.old for k in range(1, turn)), 0.0,
            )
            for seed, found in self.of(way, turn).items()
        }  # fmt: skip


def drives_of(
    measures: Sequence[Measures], closed: bool, of_slice: str | None = None
) -> list[tuple[DriveTrial, ...]]:
    """Drives of each: those of the trials, or those with labels; all, or those of a slice.

    Raises `InputError` for a model that was not tried.
    """
    found = []
    for each in measures:
        if closed and each.trials is None:
            raise InputError("a model was not tried", "trials")
        drives = each.trials.drives if closed and each.trials is not None else each.drives
        found.append(tuple(d for d in drives if of_slice in (None, d.slice)))
    return found
