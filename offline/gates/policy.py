"""The rules by which a candidate is judged: YAML that people read, review and version.

A figure's rule has two margins. A loss beyond `margin` fails when it is more than chance: the
whole interval lies below zero. A loss beyond `most` fails whatever its interval, since nobody
can rule it out. What rests on less than `min_truths` true boxes is not judged, unless the rule
is `required`: then too little evidence is a failure.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from contracts.canonical import canonical_digest
from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex
from contracts.spec_yaml import parse_yaml, read_text, validate_located

FigureGate = Literal["tails", "aggregate", "heads", "calibration"]
PUBLISHED = Path(__file__).parent / "policy.yaml"


class FigureRule(Frozen):
    """What must hold of all figures whose names match `figures` (`*` stands for anything).

    Margins are in the figure's unit. `at_least`, `at_most` bound the candidate itself, whatever
    the reference does.
    """

    figures: str = Field(min_length=1, max_length=200)
    gate: FigureGate
    margin: Finite = Field(ge=0)
    most: Finite = Field(gt=0)
    min_truths: int = Field(30, ge=1)
    required: bool = False
    at_least: Finite | None = None
    at_most: Finite | None = None

    @model_validator(mode="after")
    def _most_is_the_larger(self) -> FigureRule:
        if self.most < self.margin:
            raise ValueError(f"most {self.most:g} is below margin {self.margin:g}")
        return self

    def governs(self, name: str) -> bool:
        return fnmatchcase(name, self.figures)


class BudgetRule(Frozen):
    """On the vehicle: CPU time against the reference's, and the file's size."""

    max_cpu_ratio: float = Field(gt=0)
    max_bytes: int = Field(gt=0)


class ShadowRule(Frozen):
    """On the fleet: how much must have been seen, and how often the human may have sided with
    the active model. `max_refuted_share` bounds the upper end of the 95 % interval of
    refuted / (confirmed + refuted); `max_lost_share` how many of the active model's objects the
    candidate may not tell.
    """

    min_frames: int = Field(ge=1)
    min_vehicles: int = Field(ge=1)
    max_crash_rate: float = Field(ge=0, le=1)
    max_refuted_share: float = Field(gt=0, le=1)
    max_lost_share: float = Field(gt=0, le=1)


class Policy(Frozen):
    """All rules. For each figure and gate the first rule that matches counts.

    `suite` is the digest of the frozen suite that must be run; None: of whichever is given.
    """

    schema_version: Literal[1] = 1
    suite: Sha256Hex | None = None
    budget: BudgetRule
    shadow: ShadowRule
    same_embedding_cosine: float = Field(0.99, gt=0, le=1)
    figures: tuple[FigureRule, ...] = Field(min_length=1)

    @property
    def digest(self) -> str:
        return canonical_digest(self)

    def rule_for(self, gate: FigureGate, name: str) -> FigureRule | None:
        return next((r for r in self.figures if r.gate == gate and r.governs(name)), None)


def read_policy(path: Path = PUBLISHED) -> Policy:
    """Read a policy. Raises `InputError` with the place of what is wrong."""
    return validate_located(Policy, parse_yaml(read_text(path), str(path)))
