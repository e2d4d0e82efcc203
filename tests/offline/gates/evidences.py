"""Evidence of a candidate that passes every gate, to be spoilt one thing at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.model_manifest import ModelManifest
from contracts.spec_yaml import parse_yaml, validate_located
from models.evaluation.comparison import LOWER_IS_BETTER, Comparison, Difference, figure_of
from models.evaluation.document import FrameSet, ModelIdentity
from models.evaluation.intervals import Estimate
from offline.gates.evidence import (
    BudgetEvidence,
    ComparisonEvidence,
    ManifestEvidence,
    ScenarioEvidence,
    ScenarioResult,
    ShadowEvidence,
)
from offline.gates.judge import Subjects

OLD, SUITE = "b" * 64, "5" * 64
_ZOO = Path(__file__).parents[3] / "models" / "zoo" / "student-s.manifest.yaml"
SCENARIOS = ("deer-at-dusk", "cyclist-at-night-in-rain", "child-behind-parked-van")
FIGURES = {
    "recall/vulnerable": 0.8, "recall/vehicle": 0.9, "recall/vulnerable@tod=night": 0.7,
    "recall/pedestrian": 0.8, "recall/obstacle": 0.6, "false_per_frame/vehicle": 0.3,
    "ap_2m@tod=night": 0.5, "mean_ap": 0.6, "vehicle_ap_2m": 0.9, "mean_iou": 0.8,
    "iou/lane": 0.5, "light_accuracy": 0.9, "ade_m": 0.5, "fde_m": 1.0,
    "calibration_error": 0.03,
}  # fmt: skip
"""The reference's; those of the candidate are the same."""

OLD_MANIFEST = validate_located(
    ModelManifest, parse_yaml(_ZOO.read_text(encoding="utf-8"), str(_ZOO))
)
NEW = "a" * 64


def manifest(**changes: Any) -> ModelManifest:
    lineage = {
        **OLD_MANIFEST.lineage, "dataset_sha256": "d" * 64, "embedding_space": "two",
        **changes.pop("lineage", {}),
    }  # fmt: skip
    return OLD_MANIFEST.model_copy(update={"sha256": NEW, "lineage": lineage, **changes})


def difference(
    name: str, reference: float | None, candidate: float | None, *, spread: float = 0.001,
    truths: int = 500,
) -> Difference:  # fmt: skip
    if reference is None or candidate is None:
        gain = Estimate(value=None)
    else:
        sign = -1 if figure_of(name) in LOWER_IS_BETTER else 1
        value = sign * (candidate - reference)
        gain = Estimate(value=value, low=value - spread, high=value + spread)
    return Difference(candidate=candidate, reference=reference, gain=gain, truths=truths, drives=30)


def comparison(changes: Mapping[str, Difference] = {}, *, weighted: bool = True) -> Comparison:
    return Comparison(
        candidate=ModelIdentity(name="student-s 2", kind="student-int8", digest=NEW),
        reference=ModelIdentity(name="student-s 1", kind="student-int8", digest=OLD),
        data=FrameSet(name="drives", digest="e" * 64, frames=900, drives=30, truths=4000),
        weighted=weighted,
        figures={name: difference(name, v, v) for name, v in FIGURES.items()} | dict(changes),
    )


def scenarios(*failed: str, left_out: tuple[str, ...] = ()) -> ScenarioEvidence:
    return ScenarioEvidence(
        model=NEW, suite=SUITE, expected=SCENARIOS,
        results=tuple(
            ScenarioResult(
                name=name, safety_slice="night", digest="c" * 64, passed=name not in failed,
                told="not seen within 30 m" if name in failed else "",
            )
            for name in SCENARIOS if name not in left_out
        ),
    )  # fmt: skip


def subjects() -> Subjects:
    return Subjects(
        candidate=NEW,
        candidate_name="student-s 2",
        reference=OLD,
        reference_name="student-s 1",
        suite=SUITE,
    )


@dataclass
class Given:
    """Evidence made beforehand; `asked` tells which was asked for, in order."""

    manifest_evidence: ManifestEvidence = field(
        default_factory=lambda: ManifestEvidence(
            candidate=manifest(), reference=OLD_MANIFEST.model_copy(update={"sha256": OLD}),
            file_sha256=NEW, file_bytes=OLD_MANIFEST.size_bytes, reference_sha256=OLD,
            embedding_cosine=0.2,
        )
    )  # fmt: skip
    budget_evidence: BudgetEvidence = field(
        default_factory=lambda: BudgetEvidence(
            frames=100, candidate_cpu_ms=19.0, reference_cpu_ms=19.5, candidate_bytes=1_200_000
        )
    )
    scenario_evidence: ScenarioEvidence = field(default_factory=scenarios)
    tails_comparison: Comparison = field(default_factory=comparison)
    aggregate_comparison: Comparison = field(default_factory=comparison)
    shadow_evidence: ShadowEvidence = field(
        default_factory=lambda: ShadowEvidence(
            candidate=NEW, active=OLD, vehicles=4, frames=9000, crashes=0, agreed=30_000,
            class_differs=300, only_active=1500, only_candidate=1800, disagreements=300,
            confirmed=90, refuted=10,
        )
    )  # fmt: skip
    asked: list[str] = field(default_factory=list)

    def manifest(self) -> ManifestEvidence:
        self.asked.append("manifest")
        return self.manifest_evidence

    def budget(self) -> BudgetEvidence:
        self.asked.append("budget")
        return self.budget_evidence

    def scenarios(self) -> ScenarioEvidence:
        self.asked.append("scenarios")
        return self.scenario_evidence

    def tails(self) -> ComparisonEvidence:
        self.asked.append("tails")
        return ComparisonEvidence(comparison=self.tails_comparison)

    def aggregate(self) -> ComparisonEvidence:
        self.asked.append("aggregate")
        return ComparisonEvidence(comparison=self.aggregate_comparison)

    def shadow(self) -> ShadowEvidence:
        self.asked.append("shadow")
        return self.shadow_evidence
