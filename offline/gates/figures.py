"""Claims over figures: what the candidate may lose, and what it may not."""

from __future__ import annotations

from statistics import NormalDist

from contracts.gate_report import Claim, Evidence, Verdict
from models.evaluation.comparison import LOWER_IS_BETTER, Comparison, Difference, figure_of
from offline.gates.policy import MIN_DRIVES, FigureGate, FigureRule, Policy


def figure_claims(
    gate: FigureGate, comparison: Comparison, policy: Policy, evidence: Evidence
) -> tuple[Claim, ...]:
    """A claim for every figure that a rule of this gate governs and that has truth enough.

    A rule that is `required` but finds no figure to judge is itself a claim that fails.
    """
    governed = [(name, policy.rule_for(gate, name)) for name in sorted(comparison.figures)]
    judged = [
        (name, comparison.figures[name], rule)
        for name, rule in governed
        if rule is not None and (rule.required or not _is_thin(comparison.figures[name], rule))
    ]
    surety = _surety(policy.confidence, len(judged))
    claims = [_claim(name, found, rule, evidence, surety) for name, found, rule in judged]
    met = {rule for _, _, rule in judged}
    missing = [
        rule for rule in policy.figures
        if rule.gate == gate and rule.required and rule not in met
    ]  # fmt: skip
    claims += [
        Claim(
            name=rule.words, requirement="is measured", verdict="fail",
            told="the evaluation holds no such figure", evidence=evidence,
        )
        for rule in missing
    ]  # fmt: skip
    return tuple(claims)


def _is_thin(found: Difference, rule: FigureRule) -> bool:
    return found.truths < rule.min_truths or found.reference is None


def _surety(confidence: float, claims: int) -> float:
    """How many standard deviations make a loss sure, so that of all claims together none fails by
    chance with `confidence`.
    """
    return NormalDist().inv_cdf(1 - (1 - confidence) / max(claims, 1))


def _claim(
    name: str, found: Difference, rule: FigureRule, evidence: Evidence, surety: float
) -> Claim:
    verdict, told = _judged(found, rule, surety)
    return Claim(
        name=name, requirement=_requirement(name, rule), verdict=verdict, told=told,
        value=found.candidate, limit=_limit(name, found, rule), evidence=evidence,
    )  # fmt: skip


def _judged(found: Difference, rule: FigureRule, surety: float) -> tuple[Verdict, str]:
    """Whether it holds, and what was found."""
    if found.truths < rule.min_truths:
        return "fail", f"rests on {found.truths}, at least {rule.min_truths} are asked for"
    candidate, reference, gain = found.candidate, found.reference, found.gain.value
    if reference is None:
        return "fail", "the reference has no such figure"
    if candidate is None or gain is None:
        return "fail", f"the candidate has no such figure, the reference {reference:.4g}"
    told = f"{reference:.4g} → {candidate:.4g}{_interval(found)}"
    if rule.at_least is not None and candidate < rule.at_least:
        return "fail", f"{told}: below {rule.at_least:g}"
    if rule.at_most is not None and candidate > rule.at_most:
        return "fail", f"{told}: above {rule.at_most:g}"
    if gain < -rule.most:
        return "fail", f"{told}: worse by {-gain:.4g}, over {rule.most:g}"
    if _is_sure(found, rule.margin, surety):
        return "fail", f"{told}: worse by {-gain:.4g}, over {rule.margin:g} and not by chance"
    return "pass", told


def _is_sure(found: Difference, margin: float, surety: float) -> bool:
    """Whether more than the margin is lost, and not by chance."""
    gain, low, high = found.gain.value, found.gain.low, found.gain.high
    if gain is None or low is None or high is None or found.drives < MIN_DRIVES:
        return False
    deviation = (high - low) / (2 * NormalDist().inv_cdf(0.975))
    return gain < -margin and gain + surety * deviation < 0


def _interval(found: Difference) -> str:
    low, high = found.gain.low, found.gain.high
    return "" if low is None or high is None else f" (gain {low:+.4g} to {high:+.4g})"


def _requirement(name: str, rule: FigureRule) -> str:
    bounds = []
    if rule.at_least is not None:
        bounds.append(f"at least {rule.at_least:g}")
    if rule.at_most is not None:
        bounds.append(f"at most {rule.at_most:g}")
    bounds.append(
        f"no worse than the reference by more than {rule.margin:g}, or {rule.most:g} by chance"
    )
    return f"{name} is {', '.join(bounds)}"


def _limit(name: str, found: Difference, rule: FigureRule) -> float | None:
    """The value past which the claim fails whatever its interval."""
    if found.reference is None:
        return None
    lower = figure_of(name) in LOWER_IS_BETTER
    limit = found.reference + (rule.most if lower else -rule.most)
    if lower:
        return limit if rule.at_most is None else min(limit, rule.at_most)
    return limit if rule.at_least is None else max(limit, rule.at_least)
