"""The rules by which a candidate is judged: YAML that people read, review and version.

A figure's rule has two margins. A loss beyond `margin` fails when it is more than chance, as sure
as `confidence` asks of all claims of a gate together: with many claims, each must be surer
(Bonferroni). That is asked only of figures over `MIN_DRIVES` drives, since an interval over few
is too narrow. A loss beyond `most` fails whatever its interval. What rests on less than
`min_truths` true boxes is not judged, unless the rule is `required`: then too little evidence is
a failure.
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
MIN_DRIVES = 5
PUBLISHED = Path(__file__).parent / "policy.yaml"


class FigureRule(Frozen):
    """What must hold of the figures whose names match one of `figures`, in the slices that match
    one of `at`; without `at` over everything (`*` stands for anything).

    Margins are in the figure's unit. `at_least`, `at_most` bound the candidate itself, whatever
    the reference does.
    """

    figures: tuple[str, ...] = Field(min_length=1)
    at: tuple[str, ...] = ()
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
        figure, _, part = name.partition("@")
        if not any(fnmatchcase(figure, each) for each in self.figures):
            return False
        return any(fnmatchcase(part, each) for each in self.at) if self.at else not part

    @property
    def words(self) -> str:
        """Its figures, to name it by."""
        return ", ".join(self.figures) + (f" @ {', '.join(self.at)}" if self.at else "")


class BudgetRule(Frozen):
    """On the vehicle: CPU time against the reference's, and the file's size."""

    max_cpu_ratio: float = Field(gt=0)
    max_bytes: int = Field(gt=0)


class ShadowRule(Frozen):
    """On the fleet: how much must have been seen, and how often the human may have sided with
    the active model. `max_refuted_share` bounds the upper end of the 95 % interval of
    refuted / (confirmed + refuted). `min_objects` is how many objects the active model must have
    told, without which no share says anything; `max_lost_share` how many of them the candidate may
    not tell, `max_extra_share` how many others it may tell, as a share of them. `undecided` is what
    follows where nobody has decided a disagreement, which check-ins never hold.
    """

    min_frames: int = Field(ge=1)
    min_vehicles: int = Field(ge=1)
    min_objects: int = Field(500, ge=1)
    max_crash_rate: float = Field(ge=0, le=1)
    max_refuted_share: float = Field(gt=0, le=1)
    max_lost_share: float = Field(gt=0, le=1)
    max_extra_share: float = Field(0.5, gt=0)
    undecided: Literal["fail", "not_asked"] = "fail"


class Policy(Frozen):
    """All rules. For each figure and gate the first rule that matches counts.

    `suite` is the digest of the frozen suite that must be run; None: of whichever is given.
    """

    schema_version: Literal[1] = 1
    suite: Sha256Hex | None = None
    budget: BudgetRule
    shadow: ShadowRule
    same_embedding_cosine: float = Field(0.99, gt=0, le=1)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    figures: tuple[FigureRule, ...] = Field(min_length=1)

    @property
    def digest(self) -> str:
        return canonical_digest(self)

    def rule_for(self, gate: FigureGate, name: str) -> FigureRule | None:
        return next((r for r in self.figures if r.gate == gate and r.governs(name)), None)


def read_policy(path: Path = PUBLISHED) -> Policy:
    """Read a policy. Raises `InputError` with the place of what is wrong."""
    return validate_located(Policy, parse_yaml(read_text(path), str(path)))
