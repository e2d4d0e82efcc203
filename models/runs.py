"""A training run on disk: weights, and where they come from.

RUN/run.json         what was trained, by which recipe, on which data, from which run
RUN/weights.pt       the network's weights, by name (no code, no pickle of objects)
RUN/checkpoint.pt    while it trains: all that it needs to go on
RUN/history.json     the mean of each loss after each epoch
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import CorruptError, InputError
from contracts.ids import Sha256Hex, sha256_hex
from models.student.config import StudentConfig
from models.student.network import Student
from models.teacher.network import Teacher

RUN_FILE, WEIGHTS_FILE, CHECKPOINT_FILE = "run.json", "weights.pt", "checkpoint.pt"


class TrainingRun(BaseModel):
    """What was trained. `parents` are digests of the weights that it built on.

    `dataset` names what was new to it, `replayed` by name what came along from before: a dataset
    version's own digest, or that of folders (`models.data.frames`). `embedding_space` is the
    digest of the weights whose embeddings its own compare with; None where it founded a space.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    kind: Literal["student", "sight", "teacher"]
    config: StudentConfig
    members: int = Field(0, ge=0)
    recipe: Sha256Hex
    stage: str
    seed: int
    dataset: Sha256Hex
    examples: int = Field(ge=1)
    parents: dict[str, Sha256Hex] = Field(default_factory=dict)
    weights: Sha256Hex
    replayed: dict[str, Sha256Hex] = Field(default_factory=dict)
    embedding_space: Sha256Hex | None = None

    def space(self) -> str:
        """The embedding space that it speaks in, by name; a packed copy speaks in the same."""
        return self.embedding_space or self.parents.get("float32") or self.weights


def save_weights(folder: Path, network: Student | Teacher, *, half: bool = False) -> str:
    """Write the weights, on wish in half precision; returns their digest."""
    path = folder / WEIGHTS_FILE
    partial = path.with_name(f".{path.name}")
    weights = {
        name: value.half() if half and value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    torch.save(weights, partial)
    partial.replace(path)
    return sha256_hex(path.read_bytes())


def finish_run(folder: Path, run: TrainingRun) -> None:
    """Tell what the weights are; a folder without this is an unfinished run."""
    (folder / RUN_FILE).write_text(run.model_dump_json(indent=1), "utf-8")
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def read_run(folder: Path) -> TrainingRun:
    """Raises `InputError` for an unfinished run, `CorruptError` for a damaged one."""
    path = folder / RUN_FILE
    try:
        run = TrainingRun.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"no finished training run: {error.strerror}", str(path)) from error
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise CorruptError(f"this is no training run: {reason}", str(path)) from error
    weights = folder / WEIGHTS_FILE
    if not weights.exists() or sha256_hex(weights.read_bytes()) != run.weights:
        raise CorruptError("the weights are not those of the run", str(weights))
    return run


def pack_run(folder: Path, out: Path) -> TrainingRun:
    """Copy a run with its weights in half precision, to be shipped: half the bytes.

    The copy's parent `float32` is the digest of the weights that it was made of.
    """
    run = read_run(folder)
    network = load_teacher(folder)[0] if run.kind == "teacher" else load_student(folder)[0]
    out.mkdir(parents=True, exist_ok=True)
    parents = {**run.parents, "float32": run.weights}
    weights = save_weights(out, network, half=True)
    packed = run.model_copy(update={"parents": parents, "weights": weights})
    finish_run(out, packed)
    return packed


def load_student(folder: Path) -> tuple[Student, TrainingRun]:
    """The student (or sight) of a run, in evaluation mode."""
    run = read_run(folder)
    if run.kind == "teacher":
        raise InputError("this run trained a teacher, not a student", str(folder))
    network = Student(run.config)
    network.load_state_dict(torch.load(folder / WEIGHTS_FILE, weights_only=True))
    return network.eval(), run


def load_teacher(folder: Path) -> tuple[Teacher, TrainingRun]:
    """The teacher of a run, in evaluation mode."""
    run = read_run(folder)
    if run.kind != "teacher":
        raise InputError("this run trained no teacher", str(folder))
    network = Teacher(run.config, run.members)
    network.load_state_dict(torch.load(folder / WEIGHTS_FILE, weights_only=True))
    return network.eval(), run
