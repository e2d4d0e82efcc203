"""What is released to vehicles, and how the two signed repositories speak of it.

The *image repository* holds every published file with its digest, signed by people: root offline,
roles `models` and `triggers` delegated. The *director* tells one vehicle what it shall hold, signed
online. A vehicle installs a file only when both name it with the same length and digest, when the
director's word is for this vehicle, and when the release counter has risen.

| path                                                | answer                             |
|-----------------------------------------------------|------------------------------------|
| GET /v1/ota/image/metadata/{file}                   | TUF metadata                       |
| GET /v1/ota/image/targets/{path}                    | bytes, `<sha256>.` before the name |
| GET /v1/ota/director/{vehicle_id}/metadata/{file}   | that vehicle's TUF metadata        |

A *slot* is a place on a vehicle that holds one release: `trigger:<id>`, `model`, and the same
with `@shadow`, where a release runs and counts and changes nothing. A slot's *digest* is that of
the spec's bytes, for a model that of its manifest (which names the model file's own).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.clip import Wire
from contracts.errors import InputError
from contracts.ids import Name, Sha256Hex, parse_name

NOTE_FIELD = "longtail"
"""Field of the director's signed targets that holds its `DirectorNote`."""
DEMO_FIELD = "longtail_demo_keys"
"""True in a root whose keys were made for trying out; vehicles and services outside of dev mode
refuse such a root."""

MAX_SPEC_BYTES = 256 * 1024
MAX_MODEL_BYTES = 1024**3
MAX_KILLED = 1000

Kind = Literal["trigger", "model"]
ReleasePath = Annotated[
    str, StringConstraints(pattern=r"^(triggers|models)/[A-Za-z0-9._/-]+$", max_length=400)
]


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A place on a vehicle for one release. `name` is the trigger's id, empty for the model."""

    kind: Kind
    name: str = ""
    shadow: bool = False

    @property
    def text(self) -> str:
        """`trigger:hard-brake`, `model`, `model@shadow`."""
        name = f":{self.name}" if self.kind == "trigger" else ""
        return f"{self.kind}{name}{'@shadow' if self.shadow else ''}"

    @property
    def active(self) -> Slot:
        """The slot in which the same release works."""
        return Slot(self.kind, self.name)


def parse_slot(text: str, place: str = "slot") -> Slot:
    """The slot that `Slot.text` wrote. Raises `InputError`."""
    base, at, mode = text.partition("@")
    kind, colon, name = base.partition(":")
    if at and mode != "shadow":
        raise InputError(f"{text[:80]!r} is no slot: after '@' only 'shadow'", place)
    if kind == "model" and not colon:
        return Slot("model", "", bool(at))
    if kind == "trigger" and colon:
        return Slot("trigger", parse_name(name, place), bool(at))
    raise InputError(f"{text[:80]!r} is no slot such as 'trigger:hard-brake' or 'model'", place)


@dataclass(frozen=True, slots=True, order=True)
class ReleaseId:
    """Names one release for ever: a trigger spec or a model, and its version."""

    kind: Kind
    name: str
    version: int

    @property
    def folder(self) -> str:
        return f"{self.kind}s/{self.name}/{self.version}"

    @property
    def path(self) -> str:
        """The target that tells the slot's digest: the spec, or the model's manifest."""
        return f"{self.folder}/{'spec.yaml' if self.kind == 'trigger' else 'manifest.yaml'}"

    @property
    def model_path(self) -> str:
        """The model file beside its manifest."""
        return f"{self.folder}/model.onnx"

    @property
    def paths(self) -> tuple[str, ...]:
        """All targets of the release."""
        return (self.path,) if self.kind == "trigger" else (self.path, self.model_path)

    @property
    def role(self) -> str:
        """The image repository's delegated role that signs it."""
        return f"{self.kind}s"

    def slot(self, *, shadow: bool = False) -> Slot:
        return Slot(self.kind, self.name if self.kind == "trigger" else "", shadow)

    @property
    def text(self) -> str:
        return f"{self.kind} {self.name} version {self.version}"


MAX_VERSION_DIGITS = 18


def release_of_path(path: str, place: str = "path") -> ReleaseId:
    """The release that a target path belongs to. Raises `InputError` for any other path."""
    parts = path.split("/")
    kinds: dict[str, Kind] = {"triggers": "trigger", "models": "model"}
    digits = parts[2] if len(parts) == 4 and parts[0] in kinds else ""
    if digits.isascii() and digits.isdigit() and len(digits) <= MAX_VERSION_DIGITS:
        release = ReleaseId(kinds[parts[0]], parse_name(parts[1], place), int(digits))
        if path in release.paths and release.version > 0:
            return release
    raise InputError(f"{path[:200]!r} is no release's path", place)


DELEGATED_PATHS = {"triggers": ("triggers/*/*/*",), "models": ("models/*/*/*",)}
"""Which targets each delegated role of the image repository may sign."""


class DirectorNote(Wire):
    """What the director's targets say beside the files.

    `release_counter` rises with every change of the assignment. Triggers in `killed` do not run,
    wherever their spec came from.
    """

    vehicle_id: Name
    release_counter: int = Field(ge=1)
    killed: tuple[Name, ...] = Field((), max_length=MAX_KILLED)


class TargetNote(Wire):
    """`custom` of a director's target: where the file belongs.

    `attempt` numbers the offers of one rollout; a vehicle's word about a failure repeats it.
    """

    slot: str = Field(max_length=200)
    attempt: int = Field(1, ge=1)


class TimeStatement(Wire):
    """The director's word on the time, for one vehicle's one question, and what is newest then."""

    vehicle_id: Name
    nonce: str = Field(min_length=16, max_length=128)
    utc_ns: int
    fleet_scenes: Sha256Hex | None = None
    """Of the newest list of scenes of which there are enough, `GET /v1/fleet-scenes/{digest}`."""


class SignedTime(Wire):
    """A `TimeStatement` as its exact JSON text, signed over `TIME_CONTEXT + text` by a key of
    the director's timestamp role. `signature` is hex."""

    statement: str = Field(max_length=1000)
    keyid: Sha256Hex
    signature: str = Field(max_length=512)


TIME_CONTEXT = b"longtail-time-v1\n"
