"""The gate report: whether a candidate model may go to the fleet, and on what evidence.

A report is a list of gates in their order. Each holds claims; a claim is one thing that must
hold, with the digest of the evidence that it was judged on. The first gate that fails stops
those behind it: they are `not_run`, and a report with one of these never passes.

What is judged is content: the same candidate, reference, policy and evidence give the same
report and the same digest. Who signs it, and when, is the envelope's (`offline.gates.signing`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from contracts.canonical import canonical_digest
from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex
from contracts.scenario_suite import Standing

GateName = Literal[
    "manifest", "budget", "scenarios", "tails", "aggregate", "heads", "calibration", "shadow"
]
GATES: tuple[GateName, ...] = (
    "manifest", "budget", "scenarios", "tails", "aggregate", "heads", "calibration", "shadow",
)  # fmt: skip
"""In the order in which they are asked: what is cheap and hard first, the fleet last.

`manifest`: the file is what it says it is. `budget`: it runs on the vehicle in time and fits.
`scenarios`: every frozen scenario, pass or fail. `tails`: safety classes, night, rain, range.
`aggregate`: what the fleet meets, weighted by how it was drawn. `heads`: ground, light, motion.
`calibration`: probabilities mean what they say. `shadow`: beside the active model on the fleet.
"""
Verdict = Literal["pass", "fail", "not_run"]


class Evidence(Frozen):
    """What a claim was judged on: `digest` of the file, `kind` tells how to read it."""

    kind: Literal["manifest", "budget", "scenario", "comparison", "shadow"]
    digest: Sha256Hex


class Claim(Frozen):
    """One thing that must hold.

    `name` is the figure or scenario; `requirement` says in words what must hold of it, `told`
    what was found. `value` and `limit` where both are numbers. `not_run` only in a gate that
    was not run.
    """

    name: str = Field(min_length=1, max_length=300)
    requirement: str = Field(min_length=1, max_length=500)
    verdict: Verdict
    told: str = Field("", max_length=1000)
    value: Finite | None = None
    limit: Finite | None = None
    evidence: Evidence


class GateOutcome(Frozen):
    """One gate: it fails with any claim that fails, and with none at all it has nothing to say,
    which is no pass.
    """

    gate: GateName
    verdict: Verdict
    claims: tuple[Claim, ...] = ()
    reason: str = ""

    @model_validator(mode="after")
    def _verdict_follows_from_the_claims(self) -> GateOutcome:
        found = {claim.verdict for claim in self.claims}
        if self.verdict == "not_run":
            if self.claims or not self.reason:
                raise ValueError(f"{self.gate}: a gate that was not run says why, and no more")
        elif "not_run" in found:
            raise ValueError(f"{self.gate}: a gate that ran judged all of its claims")
        elif (self.verdict == "pass") != (found == {"pass"}):
            raise ValueError(f"{self.gate}: the verdict does not follow from the claims")
        return self


class Observed(Frozen):
    """How the candidate met one frozen scenario, whatever its standing.

    A `target` that is missed is told here and fails nothing. `spare` tells that it also holds
    when asked for more: this scenario may become a `must` once the candidate is released.
    """

    name: str = Field(min_length=1, max_length=200)
    safety_slice: str = Field(min_length=1, max_length=100)
    standing: Standing
    passed: bool
    spare: bool
    told: str = Field("", max_length=1000)


class GateReport(Frozen):
    """The whole judgement.

    `candidate` and `reference` are model digests; `reference` is the best ever, not the last.
    `policy` is the digest of the rules, `suite` that of the frozen scenarios. `indicators` are
    safety performance indicators by name, told for people and judged by nobody; `observed` are
    all frozen scenarios, those included that nobody must pass yet.
    """

    schema_version: Literal[1] = 1
    candidate: Sha256Hex
    candidate_name: str = Field(min_length=1, max_length=200)
    reference: Sha256Hex
    reference_name: str = Field(min_length=1, max_length=200)
    policy: Sha256Hex
    suite: Sha256Hex
    gates: tuple[GateOutcome, ...]
    indicators: dict[str, Finite] = Field(default_factory=dict)
    observed: tuple[Observed, ...] = ()

    @model_validator(mode="after")
    def _gates_are_asked_in_order(self) -> GateReport:
        if tuple(outcome.gate for outcome in self.gates) != GATES:
            raise ValueError(f"gates: must be {', '.join(GATES)}")
        stopped = False
        for outcome in self.gates:
            if stopped and outcome.verdict != "not_run":
                raise ValueError(f"{outcome.gate}: ran behind a gate that did not pass")
            stopped = stopped or outcome.verdict != "pass"
        return self

    @property
    def passes(self) -> bool:
        """Every gate ran, and every claim holds."""
        return all(outcome.verdict == "pass" for outcome in self.gates)

    @property
    def waits_for_the_fleet(self) -> bool:
        """Everything but the shadow passed, and the shadow has not run: it may begin."""
        *before, shadow = self.gates
        return shadow.verdict == "not_run" and all(gate.verdict == "pass" for gate in before)

    @property
    def stopped_by(self) -> GateOutcome | None:
        """The first gate that did not pass."""
        return next((gate for gate in self.gates if gate.verdict != "pass"), None)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return canonical_digest(self)

    def failures(self) -> tuple[Claim, ...]:
        """Every claim that does not hold."""
        return tuple(
            claim for gate in self.gates for claim in gate.claims if claim.verdict == "fail"
        )
