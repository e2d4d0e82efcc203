"""What the catalogue is judged on: the shipped student's answers, made once for each frame.

Drives of a frozen suite, hard drives for the tails, and drives of a random stream. From plain
drives: what is driven every day is the random stream, by day drawn with a quarter of the
probability of the rest; what is not a plain clear day is hard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.gates_changes import Answered, Change
from contracts.errors import InputError
from contracts.geometry import TAXONOMY
from contracts.ids import sha256_hex
from contracts.labels import FrameLabels
from contracts.model_manifest import ModelManifest
from contracts.samples import Float64s
from contracts.scenario_suite import FrozenScenario, FrozenSuite
from models.evaluation.comparison import Resampled, compared, resampled
from models.evaluation.document import FrameSet, ModelIdentity
from models.evaluation.predictor import Prediction
from models.evaluation.recording import Recording, Truth
from models.evaluation.slices import RANGES_M, TAG_NAMES
from models.evaluation.statistics import Measured
from offline.gates.evidence import (
    BudgetEvidence,
    ComparisonEvidence,
    ManifestEvidence,
    ScenarioEvidence,
    ShadowEvidence,
)
from offline.gates.judge import INDICATORS, Subjects
from offline.gates.policy import FigureGate, Policy
from offline.gates.scenarios import Met, suite_evidence

DAY_DRAWN, ELSE_DRAWN = 0.1, 0.4
CANDIDATE = "c" * 64
RESAMPLES = 200
Judge = Callable[[Answered], Prediction]


@dataclass
class Frames:
    """Frames of a set with the student's answers; `inclusion` float64 [n] or None."""

    name: str
    answered: Sequence[Answered]
    inclusion: Float64s | None = None
    _reference: dict[tuple[str, ...], Mapping[str, Resampled]] = field(default_factory=dict)

    @cached_property
    def truth(self) -> Truth:
        truth = Truth(TAXONOMY)
        for each in self.answered:
            truth.add(each.labels)
        return truth

    def measured(self, answer: Judge) -> Measured:
        """What a model that answers so gives on these frames."""
        recording = Recording()
        for k, each in enumerate(self.answered):
            recording.add(answer(each), each.labels, self.truth.boxes[k], self.truth.ignored[k])
        drives = self.truth.drive_of_frame()
        return Measured(self.truth, recording, drives, TAXONOMY, TAG_NAMES, RANGES_M)

    def comparison(
        self, answer: Judge, reference: ModelIdentity, policy: Policy, *gates: FigureGate
    ) -> ComparisonEvidence:
        """The changed student against the shipped one, whose figures are made once."""

        def wanted(name: str) -> bool:
            return name in INDICATORS or any(policy.rule_for(g, name) for g in gates)

        def figures(how: Judge) -> Mapping[str, Resampled]:
            return resampled(
                self.measured(how), self.inclusion, self.name, resamples=RESAMPLES, wanted=wanted
            )

        key = (policy.digest, *gates)
        if key not in self._reference:
            self._reference[key] = figures(lambda each: each.told)
        drives = self.truth.drive_of_frame()
        data = FrameSet(
            name=self.name, digest=self.truth.digest(), frames=len(self.truth),
            drives=int(drives.max()) + 1,
            truths=sum(int((~ignored).sum()) for ignored in self.truth.ignored),
        )  # fmt: skip
        candidate = ModelIdentity(name="candidate", kind="other", digest=CANDIDATE)
        return ComparisonEvidence(
            comparison=compared(
                figures(answer), self._reference[key], (candidate, reference), data,
                weighted=self.inclusion is not None,
            )
        )  # fmt: skip


@dataclass(frozen=True)
class World:
    """All that is judged on, the shipped student's manifest, and the rules."""

    suite: FrozenSuite
    met: Mapping[str, Sequence[Answered]]
    hard: Frames
    random: Frames
    manifest: ModelManifest
    policy: Policy

    @property
    def reference(self) -> ModelIdentity:
        return ModelIdentity(name="shipped", kind="other", digest=self.manifest.sha256)

    def subjects(self) -> Subjects:
        return Subjects(
            candidate=CANDIDATE, candidate_name="candidate", reference=self.manifest.sha256,
            reference_name="shipped", suite=self.suite.digest,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Injected:
    """An `EvidenceSource` of a student that is changed; what is not changed is as good as the
    shipped one's.
    """

    world: World
    change: Change = lambda frame, rng: frame.told
    seed: int = 0
    manifests: Callable[[ManifestEvidence], ManifestEvidence] = lambda found: found
    budgets: Callable[[BudgetEvidence], BudgetEvidence] = lambda found: found
    shadows: Callable[[ShadowEvidence], ShadowEvidence] = lambda found: found
    unweighted: bool = False

    def answer(self, frame: Answered) -> Prediction:
        record = frame.labels.record
        place = int(sha256_hex(f"{record.drive_id}/{record.mono_ns}".encode())[:12], 16)
        return self.change(frame, np.random.default_rng([self.seed, place]))

    def manifest(self) -> ManifestEvidence:
        old = self.world.manifest
        lineage = {**old.lineage, "dataset_sha256": "d" * 64}
        new = old.model_copy(update={"sha256": CANDIDATE, "lineage": lineage, "version": 2})
        return self.manifests(
            ManifestEvidence(
                candidate=new, reference=old, file_sha256=CANDIDATE, file_bytes=new.size_bytes,
                reference_sha256=old.sha256, embedding_cosine=1.0,
            )
        )  # fmt: skip

    def budget(self) -> BudgetEvidence:
        return self.budgets(
            BudgetEvidence(
                frames=40, candidate_cpu_ms=18.2, reference_cpu_ms=18.0,
                candidate_bytes=self.world.manifest.size_bytes,
            )
        )  # fmt: skip

    def scenarios(self) -> ScenarioEvidence:
        def meet(frozen: FrozenScenario) -> list[Met]:
            frames = self.world.met[frozen.scenario.name]
            return [Met(each.labels, self.answer(each)) for each in frames]

        return suite_evidence(CANDIDATE, self.world.suite, meet)

    def tails(self) -> ComparisonEvidence:
        world = self.world
        return world.hard.comparison(self.answer, world.reference, world.policy, "tails")

    def aggregate(self) -> ComparisonEvidence:
        world = self.world
        found = world.random.comparison(
            self.answer, world.reference, world.policy, "aggregate", "heads", "calibration"
        )
        if not self.unweighted:
            return found
        return ComparisonEvidence(
            comparison=found.comparison.model_copy(update={"weighted": False})
        )

    def shadow(self) -> ShadowEvidence:
        return self.shadows(
            ShadowEvidence(
                candidate=CANDIDATE, active=self.world.manifest.sha256, vehicles=4, frames=9000,
                crashes=0, agreed=30_000, class_differs=300, only_active=1500,
                only_candidate=1800, disagreements=300, confirmed=90, refuted=10,
            )
        )  # fmt: skip


def is_hard(labels: FrameLabels) -> bool:
    tags = labels.record.tags
    plain = tags.get("tod") == "day" and tags.get("weather") == "clear"
    return not plain or not tags.get("scenario", "").startswith("everyday")


def split(frames: Iterable[Answered]) -> tuple[Frames, Frames]:
    """Hard frames, and those of the random stream with the probability of their draw.

    Raises `InputError` where one of both is empty.
    """
    every = list(frames)
    hard = [each for each in every if is_hard(each.labels)]
    drawn = [
        each for each in every
        if each.labels.record.tags.get("scenario", "").startswith("everyday")
    ]  # fmt: skip
    if not hard or not drawn:
        raise InputError("drives of every day are wanted, and hard ones", "--data")
    by_day = np.array([each.labels.record.tags.get("tod") == "day" for each in drawn])
    return Frames("hard", hard), Frames("random", drawn, np.where(by_day, DAY_DRAWN, ELSE_DRAWN))


def answered(folders: Sequence[Path], model: Path) -> dict[Path, list[Answered]]:
    """What the model at a manifest says of all labelled frames, by drive."""
    from models.data.drives import read_drive
    from offline.gates.model_file import read_model

    file = read_model(model)
    return {
        folder: [
            Answered(each.labels, file.predictor.predict(each.frame))
            for each in read_drive(folder, file.config)
        ]
        for folder in folders
    }
