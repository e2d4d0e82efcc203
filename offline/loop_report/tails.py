"""Figures of a gate's comparison before and after, with the intervals of their differences."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.gate_report import GateReport
from models.evaluation.comparison import LOWER_IS_BETTER, Comparison, figure_of
from offline.gates.evidence import ComparisonEvidence
from offline.loop_report.facts import Change
from offline.traceability.evidence import Evidences

_TAILS = "tails"


def tails_of(report: GateReport, evidence: Evidences) -> tuple[Change, ...]:
    """What the gate `tails` judged, in its order; empty where its evidence is not at hand."""
    gate = next(each for each in report.gates if each.gate == _TAILS)
    found: list[Change] = []
    for claim in gate.claims:
        held = evidence.get(claim.evidence.digest)
        if isinstance(held, ComparisonEvidence):
            found += _change(claim.name, held.comparison)
    return tuple(found)


def _change(name: str, comparison: Comparison) -> Iterator[Change]:
    """None for a figure that a model does not have."""
    figure = comparison.figures.get(name)
    if figure is None or figure.candidate is None or figure.reference is None:
        return
    lower = figure_of(name) in LOWER_IS_BETTER
    low, high = figure.gain.low, figure.gain.high
    if low is not None and high is not None and lower:
        low, high = -high, -low
    if low is None or high is None:
        low = high = None
    metric, _, where = name.partition("@")
    yield Change(
        metric=metric, slice=where or "all", before=figure.reference, after=figure.candidate,
        low=low, high=high, interval="difference", better="lower" if lower else "higher",
    )  # fmt: skip
