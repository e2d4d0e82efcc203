"""Two reports of one recipe, drive by drive: what changed, and how sure that is.

Drives are drawn with replacement, the same for both reports, so what all drives of a seed share
cancels out (percentile bootstrap, `models.evaluation.intervals`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex
from contracts.samples import Float64s
from models.evaluation.intervals import Estimate, estimate
from sim_fleet.trials.report import DriveCounts, DriveTrial, TrialsReport

ALL = "all"
"""The slice of all drives."""
RESAMPLES = 2000

Part = Callable[[DriveCounts], float]
_minutes: Part = lambda counts: counts.minutes  # noqa: E731
FIGURES: dict[str, tuple[Part, Part]] = {
    "disengagements_per_min": (lambda c: c.all_disengagements, _minutes),
    "critical_missed_ratio": (lambda c: c.all_missed, lambda c: c.all_critical),
    "critical_misnamed_ratio": (lambda c: c.all_misnamed, lambda c: c.all_critical),
    "critical_missed_per_min": (lambda c: c.all_missed, _minutes),
    "phantoms_per_min": (lambda c: c.all_phantoms, _minutes),
    "critical_errors_per_min": (lambda c: c.critical_errors, _minutes),
    "hard_brakes_per_min": (lambda c: c.hard_brakes, _minutes),
    "false_hard_brakes_per_min": (lambda c: c.false_hard_brakes, _minutes),
    "contacts_per_min": (lambda c: c.contacts, _minutes),
    "engaged_ratio": (lambda c: c.engaged_s, lambda c: c.driven_s),
}
"""Each figure is a sum over drives divided by another; minutes are of driving, whoever drove."""


class FigureChange(Frozen):
    """One figure in one slice, before and after. `change` is after / before - 1, none where
    before is 0; `gap` is after - before.
    """

    name: str
    slice: str
    before: Estimate
    after: Estimate
    gap: Estimate
    change: Estimate


class TrialsComparison(Frozen):
    """Both models by their digests, over `drives` drives; figures of all drives and each slice."""

    schema_version: Literal[1] = 1
    recipe: str
    recipe_digest: Sha256Hex
    before: str
    after: str
    drives: int = Field(ge=1)
    seed: int
    figures: tuple[FigureChange, ...]

    def figure(self, name: str, of_slice: str = ALL) -> FigureChange:
        """Raises `InputError` for one that is not there."""
        for each in self.figures:
            if (each.name, each.slice) == (name, of_slice):
                return each
        raise InputError(f"no figure {name!r} of slice {of_slice!r}", self.recipe)


def compared(before: TrialsReport, after: TrialsReport, seed: int) -> TrialsComparison:
    """Raises `InputError` when the reports are not of the same drives."""
    if before.recipe_digest != after.recipe_digest:
        raise InputError("the reports are of different recipes", after.recipe)
    pairs = list(zip(before.drives, after.drives, strict=True))
    figures = []
    for name in (ALL, *before.slices):
        of_slice = [pair for pair in pairs if name in (ALL, pair[0].slice)]
        figures += [
            _change(figure, name, [b for b, _ in of_slice], [a for _, a in of_slice], seed)
            for figure in FIGURES
        ]
    return TrialsComparison(
        recipe=before.recipe, recipe_digest=before.recipe_digest, before=before.model,
        after=after.model, drives=len(pairs), seed=seed, figures=tuple(figures),
    )  # fmt: skip


def _change(
    figure: str, of_slice: str, before: Sequence[DriveTrial], after: Sequence[DriveTrial], seed: int
) -> FigureChange:
    old, new = _parts(figure, before), _parts(figure, after)
    drives = np.arange(len(before))

    def by(statistic: Callable[[float, float], float]) -> Estimate:
        return estimate(
            lambda weights: statistic(_ratio(old, weights), _ratio(new, weights)), drives,
            RESAMPLES, seed,
        )  # fmt: skip

    return FigureChange(
        name=figure, slice=of_slice, before=by(lambda b, _: b), after=by(lambda _, a: a),
        gap=by(lambda b, a: a - b),
        change=by(lambda b, a: a / b - 1.0 if b > 0.0 else float("nan")),
    )  # fmt: skip


def _parts(figure: str, drives: Sequence[DriveTrial]) -> Float64s:
    """Numerator and denominator of each drive, float64 [2, drives]."""
    above, below = FIGURES[figure]
    return np.array(
        [[above(d.counts) for d in drives], [below(d.counts) for d in drives]], np.float64
    )


def _ratio(parts: Float64s, weights: Float64s) -> float:
    above, below = parts @ weights
    return float(above / below) if below > 0.0 else float("nan")
