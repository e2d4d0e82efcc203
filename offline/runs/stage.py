"""A stage, what it works on, and the keys that tell whether a clip was done already.

A clip's key is the digest of all that its product can depend on: its name, its files by name and
content, the stage's configuration, and the stage's code. The request that the work gets is made
of just these, so that equal keys mean equal work by construction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from pydantic import JsonValue

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from offline.executor.ports import Request
from offline.executor.source import source_digest

Configuration: TypeAlias = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Stage:
    """Work over clips. `version` is raised when a product changes for a reason that the source
    does not show: a library's new version, a file that the code reads by itself.
    """

    name: str
    version: int
    function: str

    def key(self, configuration: Configuration) -> str:
        """Of the stage as it is in this source and with this configuration."""
        return canonical_digest({
            "stage": self.name, "version": self.version, "function": self.function,
            "code": source_digest(self.function), "configuration": dict(configuration),
        })  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClipInputs:
    """A clip by name, and the files that its work reads, by role."""

    clip: str
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def digest(self) -> str:
        """Over roles, names and contents. Raises `InputError` for a file that cannot be read."""
        told: dict[str, JsonValue] = {
            role: [[path.name, _file_digest(path)] for path in paths]
            for role, paths in self.files.items()
        }
        return canonical_digest({"clip": self.clip, "files": told})

    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(path.stat().st_size for paths in self.files.values() for path in paths)

    def request(self, configuration: Configuration) -> Request:
        """What the work is called with: `clip`, `files` (role to paths) and `configuration`."""
        files: dict[str, JsonValue] = {
            role: [str(path.absolute()) for path in paths] for role, paths in self.files.items()
        }
        return {"clip": self.clip, "files": files, "configuration": dict(configuration)}


def clip_key(stage_key: str, inputs: str) -> str:
    """Of one clip's work."""
    return canonical_digest({"stage": stage_key, "inputs": inputs})


def run_key(stage_key: str, inputs: Mapping[str, str]) -> str:
    """Of a run over clips, each with its inputs' digest, in whatever order."""
    return canonical_digest({"stage": stage_key, "inputs": dict(inputs)})


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
