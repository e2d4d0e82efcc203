"""What a gate judges: records that others make by running the models."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field, model_validator

from contracts.canonical import canonical_digest
from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex
from contracts.model_manifest import ModelManifest
from contracts.scenario_suite import Standing
from contracts.shadow_evidence import ShadowEvidence as ShadowEvidence  # noqa: PLC0414
from models.evaluation.comparison import Comparison


class ManifestEvidence(Frozen):
    """Both manifests, and what their files turned out to be.

    `file_sha256`, `file_bytes` of the candidate's file, `reference_sha256` of the reference's (None
    in evidence of before it was looked at); `self_test` what its self-test said,
    empty when it passed; `embedding_cosine` the median cosine between both models' embeddings of
    the same frames, None where either has none or their lengths differ.
    """

    kind: Literal["manifest"] = "manifest"
    candidate: ModelManifest
    reference: ModelManifest
    file_sha256: Sha256Hex
    file_bytes: int = Field(ge=0)
    reference_sha256: Sha256Hex | None = None
    self_test: str = ""
    embedding_cosine: Finite | None = Field(None, ge=-1.0001, le=1.0001)


class BudgetEvidence(Frozen):
    """CPU time of a frame by the vehicle's runtime, both models in turn in the same run.

    Times are medians over `frames` frames on one thread; the ratio is what is judged, since the
    machine that measures is not the vehicle.
    """

    kind: Literal["budget"] = "budget"
    frames: int = Field(ge=1)
    candidate_cpu_ms: float = Field(gt=0)
    reference_cpu_ms: float = Field(gt=0)
    candidate_bytes: int = Field(ge=1)

    @property
    def ratio(self) -> float:
        return self.candidate_cpu_ms / self.reference_cpu_ms


class ScenarioResult(Frozen):
    """One frozen scenario as the candidate met it; `digest` of its content, whatever its name.

    `spare`: it also holds by a stricter measure.
    """

    name: str = Field(min_length=1, max_length=200)
    safety_slice: str = Field(min_length=1, max_length=100)
    digest: Sha256Hex
    standing: Standing = "must"
    passed: bool
    spare: bool = False
    told: str = Field("", max_length=1000)


class ScenarioEvidence(Frozen):
    """The whole suite's results. `suite` is the digest of the frozen suite that was run, and
    `expected` the names that it holds.
    """

    kind: Literal["scenario"] = "scenario"
    model: Sha256Hex
    suite: Sha256Hex
    expected: tuple[str, ...] = Field(min_length=1)
    results: tuple[ScenarioResult, ...]

    @model_validator(mode="after")
    def _names_are_of_the_suite(self) -> ScenarioEvidence:
        twice = [name for name, n in Counter(r.name for r in self.results).items() if n > 1]
        if twice:
            raise ValueError(f"results: {twice[0]} comes twice")
        unknown = {result.name for result in self.results} - set(self.expected)
        if unknown:
            raise ValueError(f"results: {sorted(unknown)[0]} is not in the suite")
        return self


class ComparisonEvidence(Frozen):
    """Both models on one set of frames; `digests` are of the files that were measured."""

    kind: Literal["comparison"] = "comparison"
    comparison: Comparison


AnyEvidence = (
    ManifestEvidence | BudgetEvidence | ScenarioEvidence | ComparisonEvidence | ShadowEvidence
)


def digest_of(evidence: AnyEvidence) -> str:
    """By which claims name their evidence."""
    return canonical_digest(evidence)
