"""What the spool knows of a clip: its entry, its sidecar file, and the proof of an upload.

Guarantees: a `Receipt` exists only for a status in which the receiver says `committed` for
the very clip and size that were declared; nothing else marks a clip as uploaded. Sidecars
are the truth beside each clip, and readers keep fields that they do not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from contracts.clip import Window, Wire
from contracts.errors import CorruptError
from contracts.ids import EventKey
from contracts.scenes import Scene
from contracts.upload import UploadRequest, UploadStatus

SIDECAR_SCHEMA_VERSION = 2

Priority = Literal["interactive", "safety", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""From the most urgent to the least."""

CellularRule = Literal["allowed", "forbidden"]
State = Literal["queued", "uploaded", "unwanted"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that the receiver holds a clip: its own answer about what was declared.

    Raises `CorruptError` when the answer proves nothing of the kind.
    """

    request: UploadRequest
    status: UploadStatus

    def __post_init__(self) -> None:
        status, request = self.status, self.request
        if status.state != "committed":
            raise CorruptError(f"state {status.state!r} is not a receipt", request.clip_id)
        if status.clip_id != request.clip_id:
            raise CorruptError(f"the receiver speaks of clip {status.clip_id}", request.clip_id)
        if status.size_bytes not in (None, request.size_bytes):
            raise CorruptError(
                f"the receiver holds {status.size_bytes} bytes of {request.size_bytes}",
                request.clip_id,
            )


@dataclass(frozen=True, slots=True)
class ClipDescription:
    """What a clip file tells about itself, for a clip whose sidecar was lost or never made."""

    event: EventKey
    window: Window
    trigger_ids: tuple[str, ...]
    safety: bool
    stream: Literal["triggered", "random"]
    scene_hash: str | None
    priority: Priority
    cellular: CellularRule
    value: float
    scenes: tuple[Scene, ...] = ()


Describe = Callable[[Path], ClipDescription]
"""Reads a clip's manifest. Raises `CorruptError` or `InputError` for a file that is not whole."""


class Sidecar(Wire):
    """The JSON file beside a clip. `sequence` orders commits on this vehicle.

    `seal` is the digest of all the rest, from version 2 on: a flipped bit in a number or a digest
    leaves JSON that reads well and means something else.
    """

    schema_version: int = SIDECAR_SCHEMA_VERSION
    request: UploadRequest
    priority: Priority
    cellular: CellularRule
    value: float = Field(ge=0)
    sequence: int = Field(ge=1)
    utc_ns: int
    state: State = "queued"
    note: str = ""
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip in the spool, as policies see it.

    `value` is without unit, ranks clips against each other, and is divided by `size_bytes`
    where bytes are scarce.
    """

    clip_id: str
    size_bytes: int
    priority: Priority
    cellular: CellularRule
    value: float
    sequence: int
    utc_ns: int
    state: State
    safety: bool
    stream: Literal["triggered", "random"]
    note: str = ""

    @property
    def value_per_byte(self) -> float:
        return self.value / self.size_bytes


def entry_of(sidecar: Sidecar) -> Entry:
    """The entry that a sidecar describes."""
    request = sidecar.request
    return Entry(
        clip_id=request.clip_id,
        size_bytes=request.size_bytes,
        priority=sidecar.priority,
        cellular=sidecar.cellular,
        value=sidecar.value,
        sequence=sidecar.sequence,
        utc_ns=sidecar.utc_ns,
        state=sidecar.state,
        safety=request.safety or sidecar.priority == "safety",
        stream=request.stream,
        note=sidecar.note,
    )
