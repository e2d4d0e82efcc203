"""What one loop works on, as a file: YAML that people write, so unknown keys are errors.

Paths are relative to the file. A key of a stage holds the content of the files that its section
names, and never where they lie; fields in a section's `aside` say how work is done, not what comes
of it, and are no part of a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, JsonValue, model_validator

from contracts.datasets import SplitRule
from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.ids import Name
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from offline.acquisition.adapters.request import AcquisitionRequest
from offline.pipeline.table import STAGES, StageName

_ROOT = Path(__file__).parents[2]
_ZOO = _ROOT / "models" / "zoo"
_TEACHER = _ROOT / "offline" / "labels" / "clips" / "teacher.json"
_POLICY = _ROOT / "offline" / "gates" / "policy.yaml"
"""Files that count where none is named. By their places: what is imported here is part of every
stage's source."""
Model = TypeVar("Model", bound=Frozen)


class Section(Frozen):
    """One stage's part of the file."""

    aside: ClassVar[frozenset[str]] = frozenset()

    def settings(self) -> dict[str, JsonValue]:
        """All that is part of the stage's key and is no path."""
        paths = set(self.reads())
        left_out = {name for name in type(self).model_fields if name in self.aside}
        return self.model_dump(mode="json", by_alias=True, exclude=left_out | paths)

    def reads(self) -> dict[str, tuple[Path, ...]]:
        """Files and folders that the stage reads, by field."""
        found: dict[str, tuple[Path, ...]] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Path):
                found[name] = (value,)
            elif isinstance(value, tuple) and value and all(isinstance(v, Path) for v in value):
                found[name] = value
        return {name: paths for name, paths in found.items() if name not in self.aside}


class ClipsSection(Section):
    """Which clips a turn begins with: folders of clips, the cloud's clips that a condition finds,
    or both. `url` None: the environment's `LONGTAIL_CLOUD`.
    """

    aside = frozenset({"folders", "url", "where"})

    folders: tuple[Path, ...] = ()
    where: str | None = None
    url: str | None = None
    least: int = Field(1, ge=1, description="a turn with fewer does not begin")

    @model_validator(mode="after")
    def _from_somewhere(self) -> ClipsSection:
        if not self.folders and self.where is None:
            raise ValueError("say `folders` of clips, or `where` to look for in the cloud")
        return self


class AcquireSection(Section):
    """Who scores, and the request. `by`: a training run, a model by its manifest, or nothing: then
    the vehicles' own word.
    """

    by: Path | None = None
    passes: int | None = Field(None, ge=2)
    request: AcquisitionRequest

    @model_validator(mode="before")
    @classmethod
    def _one_opinion_has_fewer_scores(cls, given: Any) -> Any:
        """Where one model speaks alone, the request's own weights would ask for what it lacks."""
        by = given.get("by") if isinstance(given, dict) else None
        request = given.get("request") if isinstance(given, dict) else None
        select = request.get("select") if isinstance(request, dict) else None
        if not isinstance(request, dict) or not isinstance(select, dict):
            return given
        if "score_weights" in select:
            return given
        if by is None:
            weights = {"uncertainty": 1.0}
        elif str(by).endswith(".manifest.yaml"):
            weights = {"entropy": 1.0}
        else:
            return given
        return {**given, "request": {**request, "select": {**select, "score_weights": weights}}}


class LabelSection(Section):
    """`parameters`: None, those of the shipped teacher; their calibrator lies beside them.
    `members`: how many of the teacher's are asked; None: all. `mirror`: each instant is shown to
    them mirrored too, at twice the cost.
    """

    aside = frozenset({"workers", "ray"})

    teacher: Path = _ZOO / "runs" / "teacher-s"
    parameters: Path | None = None
    bf16: bool = False
    points: bool = True
    members: int | None = Field(None, ge=1)
    mirror: bool = True
    workers: int | None = Field(None, ge=0)
    ray: str | None = None

    @property
    def parameters_file(self) -> Path:
        return self.parameters or _TEACHER

    def reads(self) -> dict[str, tuple[Path, ...]]:
        path = self.parameters_file
        return super().reads() | {"parameters": (path, path.with_suffix(".calibration.json"))}


class ReviewSection(Section):
    """How labels are accepted and people are asked. Without `accept` the thresholds are those of
    the labeller's calibrator. With `truth` (drives called as the clips are) simulated people
    answer; without, the turn waits for real ones.
    """

    accept: float | None = Field(None, gt=0, le=1)
    precision: float = Field(0.98, gt=0, lt=1)
    budget_s: float | None = Field(None, ge=0)
    gold: tuple[Path, ...] = ()
    gold_share: float = Field(0.1, ge=0, le=0.9)
    audit_share: float = Field(0.05, ge=0, le=1)
    most_missed: float = Field(0.1, ge=0, le=1)
    truth: Path | None = None
    annotators: int = Field(3, ge=1, le=50)
    experts: int = Field(1, ge=1, le=50)
    errors: float = Field(1.0, ge=0.01, le=100)


class Weights(Frozen):
    """How often frames of a stream are drawn in training, as the label sets' weights."""

    random: float = Field(1.0, gt=0)
    triggered: float = Field(1.0, gt=0)


class DatasetSection(Section):
    """`every_s`: of a clip's labelled instants those at least so far apart; None: all. `lights`,
    `ground`: teach the state of lights, and road and lanes, as the auto-labeller told them. Nobody
    is asked about either. At night it takes a red light for none; ground that is not taught at all
    was lost faster than ground that is taught a little wrong.
    """

    lights: bool = False
    ground: bool = True
    every_s: float | None = Field(None, gt=0, le=60)
    rule: SplitRule = SplitRule(parts=(("train", 8), ("validation", 2)))
    weights: Weights = Weights()


class TrainSection(Section):
    """`start`, `before` (its manifest as vehicles run it) and `replay` are the student and the
    datasets of before the first turn; later turns go on from the turn before and replay its dataset
    too. `calibrate`: drives beside the dataset's split `validation` on which probabilities are
    fitted; classes that these hardly show keep the curves of before.
    """

    aside = frozenset({"threads", "ray"})

    start: Path = _ZOO / "runs" / "student-s"
    before: Path = _ZOO / "student-s.manifest.yaml"
    recipe: Path = _ZOO / "student-s.retrain.yaml"
    replay: tuple[Path, ...] = Field(min_length=1)
    reference: tuple[Path, ...] = ()
    calibrate: tuple[Path, ...] = Field(min_length=1)
    name: Name = "student-s"
    threshold: float = Field(0.25, gt=0, lt=1)
    range_frames: int = Field(48, ge=4, le=512)
    threads: int = Field(0, ge=0)
    workers: int = Field(1, ge=1, le=256, description="processes that train together")
    ray: str | None = None


class EvaluateSection(Section):
    """`reference` is the model that the fleet runs before the first turn; afterwards it is the
    one that the turn before shipped. `policy`: None, the published one.
    """

    reference: Path = _ZOO / "student-s.manifest.yaml"
    suite: Path
    tails: tuple[Path, ...] = Field(min_length=1)
    random: tuple[Path, ...] = Field(min_length=1)
    probabilities: Path | None = None
    policy: Path | None = None

    @property
    def policy_file(self) -> Path:
        return self.policy or _POLICY

    def reads(self) -> dict[str, tuple[Path, ...]]:
        return super().reads() | {"policy": (self.policy_file,)}


class SpecsSection(Section):
    """Trigger specs that follow from a turn. `rare_below`: a class counts as rare while fewer of
    its boxes than that are in all that the student learns from, replay and earlier turns included;
    `novel`: how many of the clips farthest from all that is known the fleet is asked for more of;
    `rate`: of clips, at which a novelty spec fires.
    """

    rare_below: int | None = Field(None, ge=1)
    rare_spec: Path = _ROOT / "trigger_specs" / "rare-class.yaml"
    novel: int = Field(0, ge=0, le=16)
    rate: float = Field(0.01, gt=0, lt=1)


class ShadowSection(Section):
    """Who tells of the candidate in shadow: the `fleet`'s check-ins, a `simulated` fleet over
    `drives` (a recipe), or a `file`.
    """

    aside = frozenset({"key", "workers"})

    by: Literal["fleet", "simulated", "file"] = "fleet"
    drives: Path | None = None
    file: Path | None = None
    key: Path | None = None
    workers: int = Field(2, ge=1, le=64)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> ShadowSection:
        if self.by == "simulated" and self.drives is None:
            raise ValueError("a simulated fleet drives `drives`, a recipe")
        if self.by == "file" and self.file is None:
            raise ValueError("say which `file`")
        return self


class RolloutSection(Section):
    """`to`: the cloud's rollout, or a `folder` for a person to take from. `key` signs models,
    `spec_key` specs. `until`: the stage is done once the rollout is complete, or has only started;
    then a next turn goes on from a model that the fleet may yet give back.
    """

    aside = frozenset({"url", "key", "spec_key", "root", "actor"})

    to: Literal["cloud", "folder"] = "cloud"
    url: str | None = None
    key: Path | None = None
    spec_key: Path | None = None
    root: Path | None = None
    actor: str = "loop"
    stages: str | None = None
    soak_s: float | None = Field(None, ge=0)
    guardrails: bool = True
    canary: int | None = Field(None, ge=1)
    until: Literal["started", "complete"] = "complete"

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> RolloutSection:
        if self.to == "cloud" and self.key is None:
            raise ValueError("a rollout over the cloud needs the `key` that signs models")
        return self


class Trigger(Frozen):
    """When `longtail loop watch` begins a turn: so often, or as soon as so many clips are new."""

    every_h: float | None = Field(None, gt=0)
    clips: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _says_when(self) -> Trigger:
        if self.every_h is None and self.clips is None:
            raise ValueError("say `every_h`, `clips` or both")
        return self


class LoopSpec(Frozen):
    """One loop."""

    apiVersion: Literal["longtail/loop/v1"] = "longtail/loop/v1"
    name: Name
    seed: int = Field(0, ge=0)
    ingest: ClipsSection
    acquire: AcquireSection
    label: LabelSection = LabelSection()
    review: ReviewSection = ReviewSection()
    dataset: DatasetSection = DatasetSection()
    train: TrainSection
    evaluate: EvaluateSection
    specs: SpecsSection = SpecsSection()
    shadow: ShadowSection = ShadowSection()
    rollout: RolloutSection
    when: Trigger | None = None

    def section(self, stage: StageName) -> Section:
        found: Section = getattr(self, stage)
        return found

    def reads(self, stage: StageName) -> dict[str, tuple[Path, ...]]:
        """Files and folders that a stage reads, other sections' among them."""
        found = dict(self.section(stage).reads())
        for section, name in _SHARED.get(stage, ()):
            found[f"{section}.{name}"] = self.section(section).reads()[name]
        return found


_SHARED: Mapping[StageName, tuple[tuple[StageName, str], ...]] = {
    "review": (("label", "parameters"),), "dataset": (("label", "parameters"),),
    "specs": (("train", "replay"),), "shadow": (("evaluate", "policy"),),
}  # fmt: skip
"""What a stage reads that another stage's section names."""


def read_spec(path: Path) -> LoopSpec:
    """A loop from its file, its paths made absolute. Raises `InputError` with line and column, and
    for a path where nothing is.
    """
    spec = validate_located(LoopSpec, parse_yaml(read_text(path), str(path)))
    placed = _placed(spec, path.resolve().parent)
    for name in STAGES:
        for field, paths in placed.section(name).reads().items():
            for each in paths:
                if not each.exists():
                    raise InputError(f"{name}.{field}: nothing is at {each}", str(path))
    return placed


def _placed(model: Model, base: Path) -> Model:
    """The same with every relative path in it taken from `base`."""
    return model.model_copy(
        update={name: _value(getattr(model, name), base) for name in type(model).model_fields}
    )


def _value(value: Any, base: Path) -> Any:
    if isinstance(value, Path):
        return base / value
    if isinstance(value, Frozen):
        return _placed(value, base)
    if isinstance(value, tuple):
        return tuple(_value(each, base) for each in value)
    return value
