"""Evidence as it is asked for: from model files, a suite's folder and folders of drives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from contracts.gate_report import GateName
from contracts.samples import Float32s
from contracts.scenario_suite import FrozenScenario, FrozenSuite
from models.data.drives import read_drive
from offline.gates.drives import (
    BothMeasured,
    DriveSet,
    both_measured,
    comparison_evidence,
)
from offline.gates.evidence import (
    BudgetEvidence,
    ComparisonEvidence,
    ManifestEvidence,
    ScenarioEvidence,
    ShadowEvidence,
)
from offline.gates.judge import INDICATORS
from offline.gates.measuring import SelfTest, budget_evidence, manifest_evidence
from offline.gates.model_file import ModelFile
from offline.gates.policy import FigureGate, Policy
from offline.gates.scenarios import Met, checked_folder, suite_evidence
from offline.gates.shadow import read_shadow

Progress = Callable[[GateName, int, int], None]
EMBEDDED_DRIVES = 16
"""Scenarios whose first frame both models embed."""


@dataclass(frozen=True, slots=True)
class FolderEvidence:
    """An `EvidenceSource` over files. `shadow_file` None: the fleet has not been asked yet. Where
    `hard` and `random` are the same drives, they are answered once.
    """

    candidate: ModelFile
    reference: ModelFile
    suite: FrozenSuite
    suite_folder: Path
    hard: DriveSet
    random: DriveSet
    policy: Policy
    self_test: SelfTest
    shadow_file: Path | None = None
    progress: Progress = lambda gate, done, of: None
    _measured: dict[tuple[Path, ...], BothMeasured] = field(default_factory=dict, init=False)

    def manifest(self) -> ManifestEvidence:
        return manifest_evidence(self.candidate, self.reference, self.self_test, self._embeddings)

    def budget(self) -> BudgetEvidence:
        return budget_evidence(self.candidate, self.reference)

    def scenarios(self) -> ScenarioEvidence:
        return suite_evidence(
            self.candidate.manifest.sha256, self.suite, self._meet, self._of("scenarios")
        )

    def tails(self) -> ComparisonEvidence:
        return self._comparison(self.hard, "tails")

    def aggregate(self) -> ComparisonEvidence:
        return self._comparison(self.random, "aggregate", "heads", "calibration")

    def _comparison(self, drives: DriveSet, *gates: FigureGate) -> ComparisonEvidence:
        models = self.candidate, self.reference
        measured = self._measured.get(drives.folders)
        if measured is None:
            measured = both_measured(*models, drives, self._of(gates[0]))
            self._measured[drives.folders] = measured
        return comparison_evidence(*models, drives, measured, self._wanted(*gates))

    def shadow(self) -> ShadowEvidence | None:
        if self.shadow_file is None:
            return None
        models = self.candidate.manifest.sha256, self.reference.manifest.sha256
        return read_shadow(self.shadow_file, *models)

    def _meet(self, frozen: FrozenScenario) -> list[Met]:
        folder = checked_folder(frozen, self.suite_folder)
        model = self.candidate
        return [
            Met(each.labels, model.predictor.predict(each.frame))
            for each in read_drive(folder, model.config)
        ]

    def _embeddings(self) -> Iterator[tuple[Float32s, Float32s]]:
        models = (self.candidate, self.reference)
        if any(model.manifest.embedding_tensor is None for model in models):
            return
        step = max(1, len(self.suite.scenarios) // EMBEDDED_DRIVES)
        for frozen in self.suite.scenarios[::step]:
            folder = self.suite_folder / frozen.folder
            ours, theirs = (
                [m.predictor.predict(f.frame) for f in islice(read_drive(folder, m.config), 1)]
                for m in models
            )
            yield from (
                (one.embedding, other.embedding) for one, other in zip(ours, theirs, strict=True)
            )

    def _wanted(self, *gates: FigureGate) -> Callable[[str], bool]:
        return lambda name: (
            name in INDICATORS
            or any(self.policy.rule_for(gate, name) is not None for gate in gates)
        )

    def _of(self, gate: GateName) -> Callable[[int, int], None]:
        return lambda done, of: self.progress(gate, done, of)
