"""Fits a calibrator so that nothing it tells of a sequence was learnt from it.

Sequences are the folds, so that no track is on both sides. Trees fitted without a sequence tell
its log odds; on these the link is fitted. Each sequence's confidence is then told by trees and a
link that know nothing of it (`Folds.held_out`), and these are what thresholds are fixed on. What is
shipped is fitted to all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float64s
from offline.labels.calibration.boosting import Growth, Trees, boosted
from offline.labels.calibration.calibrator import Acceptance, Calibrator, Origin, sealed
from offline.labels.calibration.conformal import least_confidence
from offline.labels.calibration.inputs import CLASS_NAMES, INPUTS
from offline.labels.calibration.links import Link, LinkKind, fitted_link
from offline.labels.calibration.samples import Samples
from offline.labels.evaluation.acceptance import PRECISION, steady_threshold
from offline.labels.evaluation.detections import RIGHT_FROM

RISK = 0.1
GROUPS_M = (0.0, 20.0, 40.0)
"""Where ranges of acceptance begin."""
_LEAST_SEQUENCES = 3
_PLACES = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """How to fit."""

    growth: Growth = field(default_factory=Growth)
    link: LinkKind = "platt"
    precision: float = PRECISION
    risk: float = RISK


class Folds:
    """Trees and links of all sequences but some; each is fitted once.

    Raises `InputError` with less than three sequences: one is left out, and of the others one.
    """

    def __init__(self, samples: Samples, plan: Plan) -> None:
        if len(samples.sequences) < _LEAST_SEQUENCES:
            raise InputError(
                f"{len(samples.sequences)} sequences, at least {_LEAST_SEQUENCES} are needed"
            )
        self._samples, self._plan = samples, plan
        self._trees: dict[frozenset[int], Trees] = {}

    def calibrator(self, parameters_digest: str) -> Calibrator:
        """What is shipped, for labels made with parameters of this digest."""
        samples, plan = self._samples, self._plan
        origin = Origin(
            samples_digest=samples.digest(), parameters_digest=parameters_digest,
            sequences=samples.sequences, boxes=len(samples),
            tracks=int(np.unique(samples.track).size), right_from=RIGHT_FROM,
            precision=plan.precision, risk=plan.risk, growth=plan.growth,
        )  # fmt: skip
        groups = acceptance(samples, self.held_out(), plan)
        return sealed(origin, self.link(), groups, self.trees())

    def held_out(self) -> Float64s:
        """Confidence [n], each sequence told by what was fitted to the others."""
        told = np.zeros(len(self._samples))
        for held in range(len(self._samples.sequences)):
            inside = self._samples.sequence == held
            told[inside] = self.confidence(self._samples.inputs[inside], held)
        return told

    def confidence(self, inputs: Float64s, *without: int) -> Float64s:
        """Of rows of inputs, by what was fitted without some sequences: float64 [n]."""
        return self.link(*without).confidence(self.trees(*without).margin(inputs))

    def link(self, *without: int) -> Link:
        """Fitted to log odds that each remaining sequence has from trees of the rest."""
        kept = ~np.isin(self._samples.sequence, without)
        margin = np.zeros(len(self._samples))
        for other in np.unique(self._samples.sequence[kept]).tolist():
            inside = self._samples.sequence == other
            trees = self.trees(*without, other)
            margin[inside] = trees.margin(self._samples.inputs[inside])
        rest = self._samples.take(kept)
        return fitted_link(self._plan.link, margin[kept], rest.right, _weights(rest))

    def trees(self, *without: int) -> Trees:
        """Fitted to all sequences but some."""
        key = frozenset(without)
        if key not in self._trees:
            rest = self._samples.take(~np.isin(self._samples.sequence, without))
            self._trees[key] = boosted(
                rest.inputs, rest.right, _weights(rest), list(INPUTS.values()), self._plan.growth
            )
        return self._trees[key]


def acceptance(samples: Samples, told: Float64s, plan: Plan) -> tuple[Acceptance, ...]:
    """Thresholds of every class and range, from confidence [n] told by what did not know it."""
    groups = []
    for kind, name in enumerate(CLASS_NAMES):
        of_class = samples.kind == kind
        whole = least_confidence(
            told[of_class], samples.right[of_class], samples.track[of_class], plan.precision,
            plan.risk,
        )  # fmt: skip
        for low, high in zip(GROUPS_M, [*GROUPS_M[1:], np.inf], strict=True):
            rows = of_class & (samples.range_m >= low) & (samples.range_m < high)
            data = told[rows], samples.right[rows]
            own = least_confidence(*data, samples.track[rows], plan.precision, plan.risk)
            expected = steady_threshold(*data, samples.sequence[rows], plan.precision)
            tested = rows if own is not None else of_class
            least = own if own is not None else whole
            vouched = "group" if own is not None else "class" if whole is not None else "none"
            groups.append(Acceptance.model_validate({
                "class_name": name, "low_m": low, "high_m": None if np.isinf(high) else high,
                "vouched_by": vouched, "accept_from": least,
                "expected_from": _rounded_up(expected),
                "tracks": int(np.unique(samples.track[tested]).size),
            }))  # fmt: skip
    return tuple(groups)


def _weights(samples: Samples) -> Float64s:
    """A long track tells more than a short one, but not by all of its boxes."""
    _, track, count = np.unique(samples.track, return_inverse=True, return_counts=True)
    return np.asarray(1 / np.sqrt(count[track]))


def _rounded_up(value: float) -> float | None:
    """A threshold never becomes laxer by being written down."""
    return None if np.isinf(value) else float(np.ceil(value * 10**_PLACES) / 10**_PLACES)
