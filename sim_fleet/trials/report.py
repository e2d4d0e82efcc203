"""What trials came to: counts of each drive, and what they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen
from contracts.ids import Name, Sha256Hex

TRUTH = "truth"
"""Stands where a model's digest would: the planner was told the truth."""

Count = dict[str, int]


class DriveCounts(Frozen):
    """One drive, counted. Whoever drove, every instant that is judged counts.

    `disengagements` by the human's reason; `hard_brakes` episodes in which the planner asked for
    `HARD_MPS2` or more, `false_hard_brakes` those in which the human would not have braked half as
    hard; `contacts` others that the ego touched. `instants` were judged
    (`sim_fleet.trials.criticality`): of `critical` objects, by class, `missed` and `misnamed`;
    `phantoms`, by the class that was told.
    """

    driven_s: Finite = Field(ge=0)
    driven_m: Finite = Field(ge=0)
    engaged_s: Finite = Field(ge=0)
    disengagements: Count = Field(default_factory=dict)
    hard_brakes: int = Field(0, ge=0)
    false_hard_brakes: int = Field(0, ge=0)
    contacts: int = Field(0, ge=0)
    instants: int = Field(0, ge=0)
    critical: Count = Field(default_factory=dict)
    missed: Count = Field(default_factory=dict)
    misnamed: Count = Field(default_factory=dict)
    phantoms: Count = Field(default_factory=dict)

    @property
    def minutes(self) -> float:
        return self.driven_s / 60.0

    @property
    def all_disengagements(self) -> int:
        return sum(self.disengagements.values())

    @property
    def all_critical(self) -> int:
        return sum(self.critical.values())

    @property
    def all_missed(self) -> int:
        return sum(self.missed.values())

    @property
    def all_misnamed(self) -> int:
        return sum(self.misnamed.values())

    @property
    def all_phantoms(self) -> int:
        return sum(self.phantoms.values())

    @property
    def critical_errors(self) -> int:
        """Critical false negatives and false positives together."""
        return self.all_missed + self.all_phantoms


class DriveTrial(Frozen):
    """A drive of the recipe with its counts."""

    name: str
    slice: Name
    counts: DriveCounts


class TrialsReport(Frozen):
    """All drives of one recipe by one model.

    `recipe_digest` of the recipe's content; `model` the digest of the ONNX file, or `TRUTH`;
    `manifest_digest` that of its manifest, which holds the calibration. Nothing of a wall clock is
    in it: the same recipe and model give the same report.
    """

    schema_version: Literal[1] = 1
    recipe: Name
    recipe_digest: Sha256Hex
    model: str
    manifest_digest: Sha256Hex | None
    drives: tuple[DriveTrial, ...] = Field(min_length=1)

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(drive.slice for drive in self.drives))

    def total(self, of_slice: str | None = None) -> DriveCounts:
        """What the drives add up to: all, or those of a slice."""
        return added(d.counts for d in self.drives if of_slice in (None, d.slice))


def read_report(path: Path) -> TrialsReport:
    """A report from its JSON file. Raises `InputError` for a file that is none."""
    try:
        return TrialsReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(f"no report of trials: {reason}", str(path)) from error


def added(drives: Iterable[DriveCounts]) -> DriveCounts:
    """The counts of several drives as one."""
    rows = list(drives)

    def summed(name: str) -> Count:
        total: Counter[str] = Counter()
        for row in rows:
            total.update(getattr(row, name))
        return dict(sorted(total.items()))

    return DriveCounts(
        driven_s=sum(row.driven_s for row in rows), driven_m=sum(row.driven_m for row in rows),
        engaged_s=sum(row.engaged_s for row in rows), disengagements=summed("disengagements"),
        hard_brakes=sum(row.hard_brakes for row in rows),
        false_hard_brakes=sum(row.false_hard_brakes for row in rows),
        contacts=sum(row.contacts for row in rows), instants=sum(row.instants for row in rows),
        critical=summed("critical"), missed=summed("missed"), misnamed=summed("misnamed"),
        phantoms=summed("phantoms"),
    )  # fmt: skip
