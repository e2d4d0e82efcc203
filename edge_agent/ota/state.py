"""What the updater must not forget, in one file that is whole or known to be damaged.

Guarantees: the file is replaced atomically and holds a digest of itself, so that damage is
noticed; a damaged file is set aside under another name, never overwritten. Beside the slots it
holds what protects against a replay when TUF's own cached metadata is lost: the highest
release counter with its content, and the highest version of each role that was ever verified.

It says nothing of whether the files named are still whole: `edge_agent.ota.files` does, each
time that one is read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from contracts.clip import Wire
from contracts.errors import CorruptError
from contracts.ids import Name, Sha256Hex, sha256_hex
from contracts.ota import ReleaseId, Slot, parse_slot, release_of_path
from edge_agent.disk import Disk, move_file, replace_file

SCHEMA_VERSION = 1
DAMAGED_SUFFIX = ".damaged"

Phase = Literal["waiting", "soaking", "committed"]
Stage = Literal["verify", "self_test", "activate", "soak"]


class HeldFile(Wire):
    """One file of a release, as both repositories signed it."""

    path: str
    sha256: Sha256Hex
    size_bytes: int = Field(ge=0)


class Release(Wire):
    """A release that both repositories agreed on. `digest` is its slot's digest, `counter` the
    director's word that brought it, `attempt` the director's count of its offers."""

    path: str
    digest: Sha256Hex
    files: tuple[HeldFile, ...]
    counter: int = Field(ge=1)
    attempt: int = Field(ge=1)

    @property
    def release_id(self) -> ReleaseId:
        return release_of_path(self.path)


class Rejection(Wire):
    """A release refused or taken back. A `final` one is not tried again at this attempt; any
    other is judged anew with each word of the director."""

    slot: str
    digest: Sha256Hex
    attempt: int
    stage: Stage
    reason: str
    final: bool = True


class SlotState(Wire):
    """One slot: what the director wants there, what runs there, and the way back.

    `soaked_ns` is driving with `current` since it first ran, `starts` counts starts of the
    process since then that followed no orderly end, `tests` self-tests of `assigned` that were
    begun and never ended.
    """

    slot: str
    assigned: Release | None = None
    current: Release | None = None
    previous: Release | None = None
    phase: Phase = "waiting"
    soaked_ns: int = 0
    starts: int = 0
    tests: int = 0

    @property
    def parsed(self) -> Slot:
        return parse_slot(self.slot)


class Floor(Wire):
    """The highest verified version of a role, among versions signed by these keys: with new
    keys a role's versions may begin anew, as TUF lets them."""

    version: int
    keyids: tuple[str, ...]


class OtaState(Wire):
    """All of it. `content` is the digest of what the word number `release_counter` ordered;
    `taken_up_counter` the newest word whose files were agreed on."""

    schema_version: int = SCHEMA_VERSION
    release_counter: int = 0
    content: str = ""
    taken_up_counter: int = 0
    killed: tuple[Name, ...] = ()
    slots: tuple[SlotState, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    floors: dict[str, Floor] = Field(default_factory=dict)

    def slot(self, text: str) -> SlotState:
        """The slot's state, an empty one where nothing was ever ordered."""
        return next((held for held in self.slots if held.slot == text), SlotState(slot=text))


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def write_state(disk: Disk, path: Path, state: OtaState) -> None:
    """Make `state` what the next start finds. Raises `ExhaustedError` on a full disk."""
    document = state.model_dump(mode="json")
    content = {"sha256": sha256_hex(_canonical(document)), "state": document}
    replace_file(disk, path, _canonical(content) + b"\n")


def read_state(path: Path) -> OtaState:
    """The state, an empty one when there is no file. Raises `CorruptError` for a damaged one."""
    try:
        content = json.loads(path.read_bytes())
        found = sha256_hex(_canonical(content["state"]))
        if content["sha256"] != found:
            raise CorruptError("the state's digest does not match", str(path))
        if content["state"].get("schema_version") != SCHEMA_VERSION:
            raise CorruptError("the state has a schema that this software does not know", str(path))
        return OtaState.model_validate(content["state"])
    except FileNotFoundError:
        return OtaState()
    except (
        ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError
    ) as error:  # fmt: skip
        raise CorruptError("the state cannot be read", str(path)) from error


def set_aside(disk: Disk, path: Path) -> None:
    """Keep a damaged file for a person to look at, out of the way."""
    move_file(disk, path, path.with_name(path.name + DAMAGED_SUFFIX))
