"""A training recipe: everything that, with the data, decides what a model becomes.

A recipe is a YAML file. Its digest goes into the lineage of each model made by it.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.errors import InputError
from contracts.ids import sha256_hex
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from models.student.augment import Augmentation
from models.student.config import StudentConfig, student_m, student_s
from models.student.dropout import DropoutOdds
from models.student.retrain import Held, Restraint
from models.student.train import Recipe


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class StageSpec(_Strict):
    """One training run; see `models.student.train.Recipe` for what each key means."""

    epochs: int = Field(ge=1, le=1000)
    batch: int = Field(8, ge=1, le=1024)
    max_rate: float = Field(2e-3, gt=0, le=1)
    weight_decay: float = Field(1e-4, ge=0, le=1)
    bf16: bool = False
    compiled: bool = False
    dropout: dict[str, float] = Field(default_factory=dict)
    augmentation: dict[str, float] = Field(default_factory=dict)

    def recipe(self) -> Recipe:
        """Raises `InputError` for a sensor or an augmentation that does not exist."""
        for name, given, kind in (
            ("dropout", self.dropout, DropoutOdds),
            ("augmentation", self.augmentation, Augmentation),
        ):
            known = {one.name for one in fields(kind)}
            if unknown := sorted(set(given) - known):
                raise InputError(f"no {unknown[0]!r}; known: {', '.join(sorted(known))}", name)
        return Recipe(
            self.epochs, self.batch, self.max_rate, self.weight_decay,
            DropoutOdds(**self.dropout), Augmentation(**self.augmentation),
            bf16=self.bf16, compiled=self.compiled,
        )  # fmt: skip


class TeacherSpec(_Strict):
    """The sight is trained as a student with future sweeps; then the members over it."""

    sight: StageSpec
    members: StageSpec
    count: int = Field(8, ge=2, le=64)


class ModelRecipe(_Strict):
    """How a student of one size and its teacher come to be.

    The stages of `student` learn from labels, each going on from the last; `distill` follows.
    """

    version: Literal["longtail/recipe/v1"] = Field(alias="apiVersion")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    size: Literal["s", "m"] = "s"
    seed: int = Field(0, ge=0)
    student: tuple[StageSpec, ...] = Field(min_length=1)
    teacher: TeacherSpec
    distill: StageSpec
    score_threshold: float = Field(0.1, gt=0, lt=1)

    def config(self) -> StudentConfig:
        return student_s() if self.size == "s" else student_m()

    def digest(self) -> str:
        return sha256_hex(self.model_dump_json(by_alias=True).encode())


class ReplaySpec(_Strict):
    """Which frames of before come along: `share` of them, dealt to the values of the tags
    `slices`, each with at least `floor`. They make up the part `part` of an epoch's frames.
    """

    share: float = Field(0.05, ge=0, le=1)
    slices: tuple[str, ...] = ("region", "tod", "weather", "scenario")
    floor: int = Field(1, ge=0, le=1000)
    part: float = Field(0.5, ge=0, lt=1)


class MixSpec(_Strict):
    """How new frames are weighed: towards the shares that the random stream has of each value of
    these tags, within bounds about 1. No tag: only label sets weigh.
    """

    tags: tuple[str, ...] = ("tod", "weather")
    lowest: float = Field(0.25, gt=0, le=1)
    highest: float = Field(4.0, ge=1, le=100)


class RetrainRecipe(_Strict):
    """How a network is retrained without forgetting; see `models.student.retrain`.

    `anchor` and `elastic` are weights of its own word of before and of the pull on its weights;
    `held` does not move, and the weights go `blend` of the way to the retrained ones. From the
    median cosine `same_space_cosine` between its embeddings and those of before on, it speaks in
    the same embedding space.
    """

    version: Literal["longtail/retrain/v1"] = Field(alias="apiVersion")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    seed: int = Field(0, ge=0)
    train: StageSpec
    replay: ReplaySpec = ReplaySpec()
    mix: MixSpec = MixSpec()
    anchor: float = Field(1.0, ge=0, le=100)
    elastic: float = Field(0.0, ge=0, le=1e9)
    fisher_examples: int = Field(64, ge=1, le=10_000)
    held: tuple[Held, ...] = ()
    blend: float = Field(1.0, gt=0, le=1)
    same_space_cosine: float = Field(0.99, gt=0, le=1)

    def digest(self) -> str:
        return sha256_hex(self.model_dump_json(by_alias=True).encode())

    def restraint(self) -> Restraint:
        return Restraint(self.anchor, self.elastic, self.fisher_examples, self.held, self.blend)


def read_retrain_recipe(path: Path) -> RetrainRecipe:
    """A retraining recipe from its file. Raises `InputError` with line and column."""
    return validate_located(RetrainRecipe, parse_yaml(read_text(path), str(path)))


def read_recipe(path: Path) -> ModelRecipe:
    """A recipe from its file. Raises `InputError` with line and column."""
    return validate_located(ModelRecipe, parse_yaml(read_text(path), str(path)))
