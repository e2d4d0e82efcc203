"""Reading the evidence: is the release worse, is it no worse, or is it too early to say?

Guarantees, under the model of `evidence`: over all guardrails and all looks of one rollout
together, a release without effect is called worse with probability at most `alpha`. The
e-values of the guardrails are averaged, which is valid under any dependence between them (Vovk
and Wang 2021) and never weaker than Bonferroni. "Not worse" is a finding of its own: over a
minimum of exposure each guardrail must reject a rate ratio of `tolerated_ratio` or more (or, for
rare events, a rate that is not negligible), each at level `alpha`; the absence of an alarm
advances nothing.

Which vehicles are treated comes from signed manifests. Whether the arms can be compared at all
is asked elsewhere (`sample_ratio`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cloud_ingest.rollout.evidence import (
    CONTROL,
    RATIOS,
    TREATED,
    UNREAD,
    ArmArray,
    Evidence,
    absorb,
    likeliest_ratio,
    log_e_below,
    log_e_rate_below,
    log_e_worse,
)
from cloud_ingest.rollout.observation import Exposure, FloatArray, Interval
from contracts.errors import InputError


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric that must not get worse: events per exposure, more being worse.

    Args:
        name: key of `Interval.events`.
        min_exposure: treated exposure (km or h) since a stage began, without which the stage
            does not advance.
        negligible_rate: events per km or h below which a ratio does not matter; None when any
            ratio does.
        burst: how many counted events come together, at least 1; counts are divided by it. For
            bytes: those of a typical clip. Too small makes false alarms, too large costs power.
    """

    name: str
    exposure: Exposure
    min_exposure: float
    negligible_rate: float | None = None
    burst: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.min_exposure) and self.min_exposure > 0):
            raise InputError("a minimum of exposure is positive", f"{self.name}.min_exposure")
        if not (math.isfinite(self.burst) and self.burst >= 1.0):
            raise InputError("a burst has at least one event", f"{self.name}.burst")
        if self.negligible_rate is not None and not (
            math.isfinite(self.negligible_rate) and self.negligible_rate > 0
        ):
            raise InputError("a rate is positive", f"{self.name}.negligible_rate")


class Verdict(StrEnum):
    WORSE = "worse"
    NOT_WORSE = "not worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class GuardrailReading:
    """One guardrail at one look. `likeliest_ratio` is a value of a coarse grid, for people.

    `missing` says what keeps it from being called no worse; empty when nothing does.
    """

    name: str
    log_e_worse: float
    likeliest_ratio: float
    treated_exposure: float
    treated_events: float
    missing: str


@dataclass(frozen=True, slots=True)
class Reading:
    """All guardrails at one look; `log_e_worse` is of their average."""

    verdict: Verdict
    log_e_worse: float
    guardrails: tuple[GuardrailReading, ...]

    def why(self) -> str:
        """One line for a person: what is worst, or what is missing."""
        if self.verdict is Verdict.WORSE:
            worst = max(self.guardrails, key=lambda reading: reading.log_e_worse)
            return (
                f"{worst.name} is worse: about {worst.likeliest_ratio:g} times the control's, "
                f"e-value 10^{worst.log_e_worse / math.log(10):.1f}"
            )
        return "; ".join(f"{g.name}: {g.missing}" for g in self.guardrails if g.missing)


def check_tolerated_ratio(ratio: float) -> None:
    """Raises `InputError` for a margin that the evidence's grid does not hold."""
    margins = [float(value) for value in RATIOS if value > 1.0]
    if ratio not in margins:
        raise InputError(f"a tolerated ratio is one of {margins}, not {ratio}", "tolerated_ratio")


def absorb_interval(
    evidence: Evidence, guardrails: Sequence[Guardrail], interval: Interval, arms: ArmArray
) -> Evidence:
    """Raises `InputError` when the interval does not tell a guardrail: that is not zero events."""
    if not guardrails:
        return evidence
    for guardrail in guardrails:
        if guardrail.name not in interval.events:
            raise InputError("the interval does not count it", guardrail.name)
    return absorb(
        evidence,
        interval.vehicle_ids,
        arms,
        np.stack([interval.exposure(guardrail.exposure) for guardrail in guardrails]),
        np.stack([interval.events[guardrail.name] / guardrail.burst for guardrail in guardrails]),
    )


def arms_of(
    interval: Interval, target_digest: str, assigned: frozenset[str], eligible: frozenset[str]
) -> ArmArray:
    """(vehicles,) who is treated (assigned, and its manifest told the digest) and who is control
    (eligible, not assigned, runs something else); all others are unread."""
    arms = [
        (TREATED if digest == target_digest else UNREAD)
        if vehicle_id in assigned
        else (CONTROL if vehicle_id in eligible and digest != target_digest else UNREAD)
        for vehicle_id, digest in zip(interval.vehicle_ids, interval.installed_digests, strict=True)
    ]
    return np.array(arms, dtype=np.int8)


def treated_exposure(evidence: Evidence) -> tuple[float, ...]:
    """For each guardrail, over the whole rollout."""
    return tuple(float(total) for total in evidence.treated_exposure.sum(axis=1))


def read(
    evidence: Evidence,
    guardrails: Sequence[Guardrail],
    *,
    alpha: float,
    tolerated_ratio: float | None,
    exposure_before: Sequence[float],
) -> Reading:
    """Read all guardrails.

    Args:
        tolerated_ratio: the stage's margin; None asks for no finding of "not worse".
        exposure_before: treated exposure of each guardrail when the stage began.
    """
    if not guardrails:
        return Reading(Verdict.NOT_WORSE, 0.0, ())
    worse = log_e_worse(evidence)
    missing = _missing(evidence, guardrails, alpha, tolerated_ratio, exposure_before)
    mean_log_e = float(np.logaddexp.reduce(worse) - math.log(len(guardrails)))
    if mean_log_e >= -math.log(alpha):
        verdict = Verdict.WORSE
    elif any(missing):
        verdict = Verdict.UNDECIDED
    else:
        verdict = Verdict.NOT_WORSE
    ratios = likeliest_ratio(evidence)
    readings = tuple(
        GuardrailReading(
            name=guardrail.name,
            log_e_worse=float(worse[g]),
            likeliest_ratio=float(ratios[g]),
            treated_exposure=float(evidence.treated_exposure[g].sum()),
            treated_events=float(evidence.treated_events[g].sum() * guardrail.burst),
            missing=missing[g],
        )
        for g, guardrail in enumerate(guardrails)
    )
    return Reading(verdict, mean_log_e, readings)


def _missing(
    evidence: Evidence,
    guardrails: Sequence[Guardrail],
    alpha: float,
    tolerated_ratio: float | None,
    exposure_before: Sequence[float],
) -> list[str]:
    if tolerated_ratio is None:
        return [""] * len(guardrails)
    threshold = -math.log(alpha)
    below = log_e_below(evidence, tolerated_ratio) >= threshold
    rates: FloatArray = np.array([(g.negligible_rate or math.nan) / g.burst for g in guardrails])
    # A rate that is not told compares as false.
    negligible = log_e_rate_below(evidence, rates) >= threshold
    missing = []
    for g, (guardrail, total) in enumerate(
        zip(guardrails, treated_exposure(evidence), strict=True)
    ):
        since = total - exposure_before[g]
        if since < guardrail.min_exposure:
            missing.append(f"{since:.0f} of {guardrail.min_exposure:.0f} {guardrail.exposure}")
        elif not (below[g] or negligible[g]):
            missing.append(f"a rate {tolerated_ratio:g} times the control's is not ruled out")
        else:
            missing.append("")
    return missing
