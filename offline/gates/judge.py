"""All gates, in their order: the first that fails stops the rest.

Evidence is asked for gate by gate, so that what is dear (a suite, a shadow run) is never made
for a candidate that has failed already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from contracts.errors import InputError
from contracts.gate_report import (
    GATES,
    Claim,
    Evidence,
    GateName,
    GateOutcome,
    GateReport,
    Observed,
)
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex
from offline.datasets.lineage import DATASET_KEY
from offline.gates.evidence import (
    BudgetEvidence,
    ComparisonEvidence,
    ManifestEvidence,
    ScenarioEvidence,
    ShadowEvidence,
    digest_of,
)
from offline.gates.figures import figure_claims
from offline.gates.policy import FigureGate, Policy, ShadowRule
from offline.intervals import upper_share


class Subjects(Frozen):
    """Who is judged against whom; `suite` the digest of the frozen suite that must be run."""

    candidate: Sha256Hex
    candidate_name: str
    reference: Sha256Hex
    reference_name: str
    suite: Sha256Hex


class EvidenceSource(Protocol):
    """Makes evidence when a gate asks for it; each is asked for once at most.

    `tails` are hard frames, `aggregate` frames of the random stream, with the probabilities of
    their draw; heads and calibration are judged on the latter. `shadow` is None
    while the fleet has not been asked yet.
    """

    def manifest(self) -> ManifestEvidence: ...

    def budget(self) -> BudgetEvidence: ...

    def scenarios(self) -> ScenarioEvidence: ...

    def tails(self) -> ComparisonEvidence: ...

    def aggregate(self) -> ComparisonEvidence: ...

    def shadow(self) -> ShadowEvidence | None: ...


Progress = Callable[[GateOutcome], None]


def judge(
    subjects: Subjects, source: EvidenceSource, policy: Policy,
    progress: Progress = lambda outcome: None,
) -> GateReport:  # fmt: skip
    """Ask every gate until one fails.

    Raises `InputError` when evidence speaks of another model, or of a shadow beside another one,
    or of another suite.
    """
    bench = _Bench(subjects, source, policy)
    outcomes: list[GateOutcome] = []
    stopped: GateName | None = None
    for gate in GATES:
        if stopped is not None:
            outcome = GateOutcome(
                gate=gate, verdict="not_run", reason=f"the gate `{stopped}` did not pass"
            )
        else:
            claims = bench.claims(gate)
            outcome = _not_yet(gate) if claims is None else _outcome(gate, claims)
            stopped = None if outcome.verdict == "pass" else gate
        progress(outcome)
        outcomes.append(outcome)
    return GateReport(
        **subjects.model_dump(), policy=policy.digest, gates=tuple(outcomes),
        indicators=bench.indicators, observed=bench.observed,
    )  # fmt: skip


def with_shadow(
    report: GateReport, seen: ShadowEvidence, subjects: Subjects, policy: Policy
) -> GateReport:
    """The report of a candidate whose shadow run was still to come, with what it told.

    Raises `InputError` where another gate stopped the candidate, or the shadow has been judged, or
    the evidence is of other models, or the other gates were asked by other rules.
    """
    if report.policy != policy.digest:
        raise InputError("the other gates were judged by another policy", report.candidate_name)
    last = report.gates[-1]
    if last.gate != "shadow" or last.verdict != "not_run" or report.failures():
        raise InputError("this candidate does not wait for its shadow run", report.candidate_name)
    outcome = _outcome("shadow", shadow_claims(seen, subjects, policy))
    return GateReport.model_validate(
        {**report.model_dump(), "gates": (*report.model_dump()["gates"][:-1], outcome.model_dump())}
    )


def _not_yet(gate: GateName) -> GateOutcome:
    return GateOutcome(gate=gate, verdict="not_run", reason="the fleet has not been asked yet")


def _outcome(gate: GateName, claims: tuple[Claim, ...]) -> GateOutcome:
    passes = bool(claims) and all(claim.verdict == "pass" for claim in claims)
    reason = "" if claims else "nothing could be judged"
    return GateOutcome(
        gate=gate, verdict="pass" if passes else "fail", claims=claims, reason=reason
    )


class _Bench:
    """Makes the claims of each gate; keeps the aggregate's evidence, which three gates share."""

    def __init__(self, subjects: Subjects, source: EvidenceSource, policy: Policy) -> None:
        self._subjects, self._source, self._policy = subjects, source, policy
        self._aggregate: ComparisonEvidence | None = None
        self.indicators: dict[str, float] = {}
        self.observed: tuple[Observed, ...] = ()

    def claims(self, gate: GateName) -> tuple[Claim, ...] | None:
        """None where the evidence is still to come."""
        match gate:
            case "manifest":
                return manifest_claims(self._source.manifest(), self._subjects, self._policy)
            case "budget":
                return budget_claims(self._source.budget(), self._policy)
            case "scenarios":
                return self._scenarios(self._source.scenarios())
            case "tails":
                return self._figures(gate, self._source.tails())
            case "shadow":
                seen = self._source.shadow()
                return None if seen is None else shadow_claims(seen, self._subjects, self._policy)
            case "aggregate" | "heads" | "calibration":
                if self._aggregate is None:
                    self._aggregate = self._source.aggregate()
                return self._figures(gate, self._aggregate)

    def _scenarios(self, evidence: ScenarioEvidence) -> tuple[Claim, ...]:
        self.observed = tuple(
            Observed(**result.model_dump(exclude={"digest"})) for result in evidence.results
        )
        return scenario_claims(evidence, self._subjects)

    def _figures(self, gate: FigureGate, evidence: ComparisonEvidence) -> tuple[Claim, ...]:
        found = evidence.comparison
        told = {"candidate": found.candidate.digest, "reference": found.reference.digest}
        for who, digest in told.items():
            wanted = getattr(self._subjects, who)
            if digest != wanted:
                raise InputError(f"the comparison is of another {who}: {digest}", gate)
        self.indicators |= {
            f"{found.data.name}: {name}": figure.candidate
            for name, figure in found.figures.items()
            if figure.candidate is not None and name in INDICATORS
        }
        named = _named("comparison", digest_of(evidence))
        claims = figure_claims(gate, found, self._policy, named)
        if gate != "aggregate":
            return claims
        words = "given" if found.weighted else "nobody says how the frames were drawn"
        requirement = "each frame comes with the probability of its draw"
        return (_claim("weights", requirement, found.weighted, words, named), *claims)


INDICATORS = frozenset({
    "mean_ap", "vehicle_ap_2m", "recall/vulnerable", "recall/vehicle", "recall/obstacle",
    "false_per_frame/vulnerable", "false_per_frame/vehicle", "false_per_frame/obstacle",
    "calibration_error", "mean_iou", "light_accuracy",
})  # fmt: skip
"""Safety performance indicators that a report tells beside its claims."""


def manifest_claims(
    found: ManifestEvidence, subjects: Subjects, policy: Policy
) -> tuple[Claim, ...]:
    """The file is what its manifest says, and what hangs on the model still fits it."""
    evidence = _named("manifest", digest_of(found))
    new, old = found.candidate, found.reference
    same_file = found.file_sha256 == new.sha256 == subjects.candidate
    same_size = found.file_bytes == new.size_bytes
    taxonomy = new.lineage.get("taxonomy_version", "1"), old.lineage.get("taxonomy_version", "1")
    return (
        _claim("file", "the file has the manifest's digest and size", same_file and same_size,
               f"{found.file_sha256[:12]}, {found.file_bytes} bytes", evidence),
        _claim("reference", "the reference's file has its manifest's digest",
               found.reference_sha256 == old.sha256 == subjects.reference,
               found.reference_sha256[:12] if found.reference_sha256 else "nobody looked",
               evidence),
        _claim("self-test", "the stored answer is given on this runtime", not found.self_test,
               found.self_test or "given", evidence),
        _claim("taxonomy", "classes are those of the reference, or of a newer version",
               new.classes == old.classes or int(taxonomy[0]) > int(taxonomy[1]),
               f"version {taxonomy[1]} → {taxonomy[0]}", evidence),
        _claim("lineage", "the manifest names what the model was made from",
               bool(new.lineage.get(DATASET_KEY)), new.lineage.get(DATASET_KEY, "no dataset"),
               evidence),
        _embedding_claim(found, policy, evidence),
    )  # fmt: skip


def _embedding_claim(found: ManifestEvidence, policy: Policy, evidence: Evidence) -> Claim:
    """Embeddings of one space stay comparable: the index and novelty triggers hang on it."""
    spaces = [m.lineage.get("embedding_space") for m in (found.candidate, found.reference)]
    requirement = "embeddings are the reference's, or are declared a space of their own"
    cosine = found.embedding_cosine
    if found.candidate.embedding_tensor is None:
        lost = found.reference.embedding_tensor is not None
        return _claim("embedding", requirement, not lost, "the candidate has none", evidence)
    if spaces[0] != spaces[1] or found.reference.embedding_tensor is None:
        told = f"space {spaces[1]} → {spaces[0]}"
        return _claim("embedding", requirement, spaces[0] is not None, told, evidence)
    if cosine is None:
        told = f"both in space {spaces[0]}, and nothing of both can be compared"
        return _claim("embedding", requirement, False, told, evidence)
    return _claim(
        "embedding", requirement, cosine >= policy.same_embedding_cosine,
        f"both in space {spaces[0]}, median cosine {cosine:.4f}", evidence,
        value=cosine, limit=policy.same_embedding_cosine,
    )  # fmt: skip


def budget_claims(found: BudgetEvidence, policy: Policy) -> tuple[Claim, ...]:
    """It runs on the vehicle in time, and fits."""
    evidence = _named("budget", digest_of(found))
    rule = policy.budget
    return (
        _claim("cpu_ratio", f"CPU time a frame is at most {rule.max_cpu_ratio:g} of the reference",
               found.ratio <= rule.max_cpu_ratio,
               f"{found.reference_cpu_ms:.1f} → {found.candidate_cpu_ms:.1f} ms", evidence,
               value=found.ratio, limit=rule.max_cpu_ratio),
        _claim("size", f"the file has at most {rule.max_bytes} bytes",
               found.candidate_bytes <= rule.max_bytes, f"{found.candidate_bytes} bytes", evidence,
               value=float(found.candidate_bytes), limit=float(rule.max_bytes)),
    )  # fmt: skip


def scenario_claims(found: ScenarioEvidence, subjects: Subjects) -> tuple[Claim, ...]:
    """Every scenario of the suite was run, and each that must be passed is; none is outvoted."""
    if found.model != subjects.candidate:
        raise InputError(f"the scenarios were run with another model: {found.model}", "scenarios")
    if found.suite != subjects.suite:
        raise InputError(f"another suite was run: {found.suite}", "scenarios")
    evidence = _named("scenario", digest_of(found))
    results = {result.name: result for result in found.results}
    left_out = [name for name in found.expected if name not in results]
    told = f"{len(results)} of {len(found.expected)}" + (f": not {left_out[0]}" if left_out else "")
    claims = [_claim("suite", "every scenario was run", not left_out, told, evidence)]
    for result in found.results:
        if result.standing == "must":
            requirement = f"{result.safety_slice}: what is asked of the scenario holds"
            claims.append(_claim(result.name, requirement, result.passed, result.told, evidence))
    return tuple(claims)


def shadow_claims(found: ShadowEvidence, subjects: Subjects, policy: Policy) -> tuple[Claim, ...]:
    """Beside the active model on the fleet."""
    if found.candidate != subjects.candidate:
        raise InputError(f"another model was in the shadow: {found.candidate}", "shadow")
    if found.active != subjects.reference:
        raise InputError(f"the shadow was beside another model: {found.active}", "shadow")
    evidence, rule = _named("shadow", digest_of(found)), policy.shadow
    crashes = found.crashes / found.frames
    return (
        _claim("seen", f"at least {rule.min_frames} frames on {rule.min_vehicles} vehicles",
               found.frames >= rule.min_frames and found.vehicles >= rule.min_vehicles,
               f"{found.frames} frames, {found.vehicles} vehicles", evidence),
        _claim("crashes", f"no answer in at most {rule.max_crash_rate:g} of the frames",
               crashes <= rule.max_crash_rate, f"{found.crashes} of {found.frames}", evidence,
               value=crashes, limit=rule.max_crash_rate),
        _claim("objects", f"the active model told at least {rule.min_objects} objects",
               found.objects >= rule.min_objects, f"{found.objects} objects", evidence,
               value=float(found.objects), limit=float(rule.min_objects)),
        _share("lost", f"at most {rule.max_lost_share:g} of the active model's objects are lost",
               found.only_active, found.objects, rule.max_lost_share, evidence),
        _share("extra", f"at most {rule.max_extra_share:g} times the active model's objects are"
               " told by the candidate alone",
               found.only_candidate, found.objects, rule.max_extra_share, evidence),
        _human_claim(found, rule, evidence),
    )  # fmt: skip


def _share(
    name: str, requirement: str, count: int, objects: int, limit: float, evidence: Evidence
) -> Claim:
    """Of the active model's objects; a share of none holds of nobody."""
    share = count / objects if objects else None
    return _claim(
        name, requirement, share is not None and share <= limit, f"{count} of {objects}", evidence,
        value=share, limit=limit,
    )  # fmt: skip


def _human_claim(found: ShadowEvidence, rule: ShadowRule, evidence: Evidence) -> Claim:
    """Whom the human sides with. Where nobody has decided anything there is no share to tell."""
    requirement = f"the human sides with the active model in at most {rule.max_refuted_share:g}"
    decided = found.confirmed + found.refuted
    if decided == 0:
        asked = rule.undecided == "fail"
        words = requirement if asked else f"not asked where nobody has decided: {requirement}"
        told = f"nobody has decided any of {found.disagreements} disagreements"
        return _claim("human", words, not asked, told, evidence)
    share = upper_share(found.refuted, decided)
    told = f"{found.refuted} of {decided} decided disagreements, at most {share:.3f}"
    return _claim(
        "human", requirement, share <= rule.max_refuted_share, told, evidence,
        value=share, limit=rule.max_refuted_share,
    )  # fmt: skip


def _claim(
    name: str, requirement: str, holds: bool, told: str, evidence: Evidence,
    value: float | None = None, limit: float | None = None,
) -> Claim:  # fmt: skip
    return Claim(
        name=name, requirement=requirement, verdict="pass" if holds else "fail", told=told,
        value=value, limit=limit, evidence=evidence,
    )  # fmt: skip


def _named(kind: str, digest: str) -> Evidence:
    return Evidence.model_validate({"kind": kind, "digest": digest})
