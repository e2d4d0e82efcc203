"""What a stage's work gets, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cloud_ingest.settings import Settings
from contracts.clock import Clock
from offline.pipeline.records import Figures, State, Turn
from offline.pipeline.spec import LoopSpec
from offline.pipeline.table import StageName

if TYPE_CHECKING:
    from offline.gates.measuring import SelfTest

Say = Callable[[str], None]


class ShadowFleet(Protocol):
    """Vehicles that run a candidate beside the active model."""

    def evidence(self, active: Path, candidate: Path, drives: Path, out: Path, say: Say) -> None:
        """Write a `ShadowEvidence` to `out`; the models by their manifests, `drives` a recipe."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """What the loop does not do itself: the agent's way to open a model, a simulated fleet, the
    database that the review queue is in (the service's settings), time.
    """

    opens_on_a_vehicle: SelfTest
    simulated: ShadowFleet
    settings: Settings
    clock: Clock


@dataclass(frozen=True, slots=True)
class Result:
    """The stage is done, or refuses to let the turn go on, which is an answer as well."""

    figures: Figures = field(default_factory=dict)
    state: State = "done"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is wrong; somebody else has to act before the stage can go on."""

    why: str


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt at a stage.

    Attributes:
        key: of the stage's work.
        needs: products of earlier stages of the turn.
        before: products of the turn before, where there is one.
        product: where the product goes. It counts once the stage has ended; what a killed attempt
            left is gone.
        scratch: the stage's own; what a killed attempt left is still there.
        shared: the loop's folder, for work that is kept across turns by keys of its own.
    """

    turn: Turn
    key: str
    needs: Mapping[StageName, Path]
    before: Mapping[StageName, Path]
    product: Path
    scratch: Path
    shared: Path
    outside: Outside
    say: Say

    @property
    def spec(self) -> LoopSpec:
        return self.turn.spec
