"""What is kept of each clip and of each run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.ids import Name, Sha256Hex
from offline.executor.ports import Figure


class ClipFailure(Frozen):
    """Why a clip has no product; `detail` is for whoever looks into it."""

    kind: str
    reason: str
    detail: str = ""


class ClipRecord(Frozen):
    """One clip's work: `inputs` digest to `output` digest, or a failure.

    `output` is the digest over `files` (name to digest); the figures are no part of it.
    """

    schema_version: Literal[1] = 1
    stage: Name
    clip: str = Field(min_length=1, max_length=200)
    key: Sha256Hex
    inputs: Sha256Hex
    output: Sha256Hex | None = None
    files: dict[Name, Sha256Hex] = Field(default_factory=dict)
    figures: dict[str, Figure] = Field(default_factory=dict)
    failure: ClipFailure | None = None


class StageRun(Frozen):
    """A stage over clips, which are sorted by name.

    `digest` is over (clip, output), in the order of the clips; None while any clip has failed.
    """

    schema_version: Literal[1] = 1
    stage: Name
    version: int = Field(ge=1)
    function: str
    configuration: dict[str, JsonValue]
    key: Sha256Hex
    clips: tuple[ClipRecord, ...]
    digest: Sha256Hex | None

    def finished_digest(self) -> str:
        """`digest`. Raises `InputError` for a run that is not finished."""
        if self.digest is None:
            raise InputError(f"{len(self.failed)} clips of the run failed", self.stage)
        return self.digest

    @property
    def failed(self) -> tuple[ClipRecord, ...]:
        """Clips without a product."""
        return tuple(clip for clip in self.clips if clip.failure is not None)


def read_run(path: Path) -> StageRun:
    """A run's record. Raises `InputError` when it is none."""
    try:
        return StageRun.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"this is no stage run's record: {error}", str(path)) from error


def output_digest(files: Mapping[str, str]) -> str:
    """Of a product's files, name to digest."""
    return canonical_digest(dict(files))


def run_digest(clips: tuple[ClipRecord, ...]) -> str | None:
    """Of what a run gave, as `StageRun.digest`."""
    if any(clip.output is None for clip in clips):
        return None
    return canonical_digest([[clip.clip, clip.output] for clip in clips])
