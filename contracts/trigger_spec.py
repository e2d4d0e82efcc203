"""Trigger spec, version 1: what to watch for, what to keep of it, and what it may cost.

A spec is YAML written by hand, so unknown keys are rejected. Published versions never
change; `(id, version)` and the digest of the bytes name one for ever. Parameters are in SI
units, which their names carry. Each kind's condition is computed in `kernels.triggers`.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from contracts.embedding import MAX_CHARACTERS, embedding_of
from contracts.errors import InputError
from contracts.expression import ExpressionError, parse_expression
from contracts.ids import Name, Sha256Hex, sha256_hex
from contracts.quantities import Bytes, DurationNs
from contracts.spec_yaml import LocatedYaml, parse_yaml, read_text, validate_located

API_VERSION = "longtail/v1"
SAFETY_KINDS = frozenset({"hard_brake", "disengagement", "ttc", "swerve", "planner_divergence"})
"""Kinds whose clips may draw on the safety reserve and are never suppressed as duplicates."""


class Strict(BaseModel):
    """Base of what people write by hand: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HardBrakeWhen(Strict):
    """Filtered deceleration above a bound."""

    decel_mps2: float = Field(3.0, gt=0, le=20, description="bound on filtered deceleration")
    filter_s: float = Field(0.15, ge=0, le=5, description="time constant of the low-pass")


class HardAccelWhen(Strict):
    """Filtered forward acceleration above a bound."""

    accel_mps2: float = Field(3.0, gt=0, le=20, description="bound on filtered acceleration")
    filter_s: float = Field(0.15, ge=0, le=5, description="time constant of the low-pass")


class SwerveWhen(Strict):
    """Filtered lateral acceleration above a bound, or yaw rate that reverses quickly."""

    lat_accel_mps2: float = Field(4.0, gt=0, le=20, description="bound on lateral acceleration")
    yaw_rate_radps: float = Field(0.25, gt=0, le=4, description="yaw rate on both sides of it")
    reversal_s: float = Field(1.5, gt=0, le=5, description="longest time between both sides")
    min_speed_mps: float = Field(5.0, ge=0, le=60, description="reversals count above this speed")
    filter_s: float = Field(0.2, ge=0, le=5, description="time constant of the low-pass")


class JerkWhen(Strict):
    """Filtered derivative of acceleration beyond a bound, of either sign."""

    jerk_mps3: float = Field(10.0, gt=0, le=200, description="bound on |filtered jerk|")
    filter_s: float = Field(0.15, ge=0, le=5, description="time constant of the low-pass")


class DisengagementWhen(Strict):
    """Autonomy goes from engaged to off; the cause is read from what the driver did."""

    causes: tuple[
        Literal["driver_brake", "driver_steer", "driver_gas", "system", "emergency_stop"], ...
    ] = Field(
        ("driver_brake", "driver_steer", "driver_gas", "system", "emergency_stop"),
        min_length=1,
        description="causes that count",
    )


class LowConfidenceWhen(Strict):
    """A frame whose detections are uncertain, k of the last n frames."""

    uncertainty: float = Field(0.6, gt=0, le=1, description="normalised class entropy above")
    margin: float = Field(0.1, ge=0, lt=1, description="or best-two gap below")
    min_objects: int = Field(1, ge=1, le=1000, description="frames with fewer do not count")
    frames: int = Field(3, ge=1, le=32, description="k")
    of_frames: int = Field(5, ge=1, le=32, description="n")

    @model_validator(mode="after")
    def _k_of_n(self) -> LowConfidenceWhen:
        if self.frames > self.of_frames:
            raise ValueError("frames must not be more than of_frames")
        return self


class RareClassWhen(Strict):
    """A class of the list, detected with enough probability in k of the last n frames."""

    classes: tuple[Name, ...] = Field(min_length=1, max_length=64)
    probability: float = Field(0.4, gt=0, le=1, description="calibrated probability at least")
    frames: int = Field(3, ge=1, le=32, description="k")
    of_frames: int = Field(5, ge=1, le=32, description="n")

    @model_validator(mode="after")
    def _k_of_n(self) -> RareClassWhen:
        if self.frames > self.of_frames:
            raise ValueError("frames must not be more than of_frames")
        return self


class TtcWhen(Strict):
    """Time to collision with the nearest object in the path below a bound."""

    ttc_s: float = Field(1.5, gt=0, le=20, description="bound on the time to collision")
    min_speed_mps: float = Field(2.0, ge=0, le=60, description="above this own speed")


class RandomBaselineWhen(Strict):
    """Slots of time, each kept with a known probability: the unbiased stream."""

    probability: float = Field(gt=0, le=1, description="chance of each slot to be kept")
    slot_s: float = Field(20.0, ge=1, le=3600, description="length of a slot")
    seed: int = Field(0, ge=0, lt=2**63, description="changes which slots are kept")


class PlannerDivergenceWhen(Strict):
    """The plan made a horizon ago and the path driven since part."""

    ade_m: float = Field(1.5, gt=0, le=100, description="mean distance above")
    fde_m: float = Field(4.0, gt=0, le=200, description="or distance at the horizon above")
    min_speed_mps: float = Field(1.0, ge=0, le=60, description="above this own speed")


def _reference(text: str) -> str:
    try:
        embedding_of(text)
    except InputError as error:
        raise ValueError(error.message) from error
    return text


class SimilarToWhen(Strict):
    """The frame looks like a known scene: its embedding lies within an angle of the scene's, in
    k of the last n frames. Only the model that made the reference can tell.
    """

    space: Sha256Hex = Field(description="digest of the model whose embedding the reference is")
    reference: Annotated[
        str, StringConstraints(max_length=MAX_CHARACTERS), AfterValidator(_reference)
    ] = Field(description="the scene's embedding: half-precision values, little-endian, base64")
    similarity: float = Field(gt=0, le=1, description="cosine of the angle at least")
    frames: int = Field(3, ge=1, le=32, description="k")
    of_frames: int = Field(5, ge=1, le=32, description="n")

    @model_validator(mode="after")
    def _k_of_n(self) -> SimilarToWhen:
        if self.frames > self.of_frames:
            raise ValueError("frames must not be more than of_frames")
        return self

    @property
    def column(self) -> str:
        """What the likeness to this reference is called among a frame's scores."""
        return f"similar_to/{sha256_hex(f'{self.space} {self.reference}'.encode())[:16]}"


When = (
    HardBrakeWhen | HardAccelWhen | SwerveWhen | JerkWhen | DisengagementWhen | LowConfidenceWhen
    | RareClassWhen | SimilarToWhen | TtcWhen | RandomBaselineWhen | PlannerDivergenceWhen | str
)  # fmt: skip


class Capture(Strict):
    """What a fire keeps."""

    pre: DurationNs = Field(5 * 10**9, description="time kept before the event")
    post: DurationNs = Field(5 * 10**9, description="time kept after the event")
    channels: tuple[str, ...] = Field(("*",), min_length=1, description="channel name patterns")
    downsample: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict, description="pattern: keep every n-th message"
    )


class Budget(Strict):
    """What a trigger may spend on one vehicle in one day."""

    clips_per_day: int = Field(20, ge=0, le=100_000)
    bytes_per_day: Bytes = 2 * 10**9


class Upload(Strict):
    """How its clips travel."""

    priority: Literal["interactive", "safety", "high", "normal", "low"] = "normal"
    cellular: Literal["allowed", "forbidden"] = "forbidden"


class Target(Strict):
    """Which vehicles run it, and how."""

    select: dict[str, str] = Field(default_factory=dict, description="vehicle labels that match")
    shadow: bool = Field(False, description="count would-be fires, keep nothing")
    expires: dt.date | None = Field(None, description="not evaluated from this day on")


class TriggerSpecBase(Strict):
    """Fields that every kind has."""

    apiVersion: Literal["longtail/v1"]
    id: Name
    version: int = Field(ge=1, le=2**31 - 1)
    status: Literal["draft", "published", "retired"] = "published"
    owner: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    hold: DurationNs = Field(
        0, alias="for", description="the condition must hold this long before it fires"
    )
    mode: Literal["rising_edge", "level"] = "rising_edge"
    cooldown: DurationNs = Field(10 * 10**9, description="no second fire within this time")
    capture: Capture = Capture()
    budget: Budget = Budget()
    upload: Upload = Upload()
    target: Target = Target()


class HardBrakeSpec(TriggerSpecBase):
    kind: Literal["hard_brake"]
    when: HardBrakeWhen = HardBrakeWhen()


class HardAccelSpec(TriggerSpecBase):
    kind: Literal["hard_accel"]
    when: HardAccelWhen = HardAccelWhen()


class SwerveSpec(TriggerSpecBase):
    kind: Literal["swerve"]
    when: SwerveWhen = SwerveWhen()


class JerkSpec(TriggerSpecBase):
    kind: Literal["jerk"]
    when: JerkWhen = JerkWhen()


class DisengagementSpec(TriggerSpecBase):
    kind: Literal["disengagement"]
    when: DisengagementWhen = DisengagementWhen()


class LowConfidenceSpec(TriggerSpecBase):
    kind: Literal["low_confidence"]
    when: LowConfidenceWhen = LowConfidenceWhen()


class RareClassSpec(TriggerSpecBase):
    kind: Literal["rare_class"]
    when: RareClassWhen


class SimilarToSpec(TriggerSpecBase):
    kind: Literal["similar_to"]
    when: SimilarToWhen


class TtcSpec(TriggerSpecBase):
    kind: Literal["ttc"]
    when: TtcWhen = TtcWhen()


class RandomBaselineSpec(TriggerSpecBase):
    kind: Literal["random_baseline"]
    when: RandomBaselineWhen


class PlannerDivergenceSpec(TriggerSpecBase):
    kind: Literal["planner_divergence"]
    when: PlannerDivergenceWhen = PlannerDivergenceWhen()


class ExpressionSpec(TriggerSpecBase):
    kind: Literal["expression"]
    when: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


TriggerSpec = (
    HardBrakeSpec | HardAccelSpec | SwerveSpec | JerkSpec | DisengagementSpec | LowConfidenceSpec
    | RareClassSpec | SimilarToSpec | TtcSpec | RandomBaselineSpec | PlannerDivergenceSpec
    | ExpressionSpec
)  # fmt: skip

SPEC_KINDS: dict[str, type[TriggerSpecBase]] = {
    "hard_brake": HardBrakeSpec,
    "hard_accel": HardAccelSpec,
    "swerve": SwerveSpec,
    "jerk": JerkSpec,
    "disengagement": DisengagementSpec,
    "low_confidence": LowConfidenceSpec,
    "rare_class": RareClassSpec,
    "similar_to": SimilarToSpec,
    "ttc": TtcSpec,
    "random_baseline": RandomBaselineSpec,
    "planner_divergence": PlannerDivergenceSpec,
    "expression": ExpressionSpec,
}


class LoadedSpec(BaseModel):
    """A spec with the bytes that it was read from and their digest."""

    model_config = ConfigDict(frozen=True)

    spec: Annotated[TriggerSpec, Field(discriminator="kind")]
    digest: Sha256Hex
    text: str

    @property
    def is_safety(self) -> bool:
        """True when its clips may draw on the safety reserve."""
        return self.spec.kind in SAFETY_KINDS or self.spec.upload.priority == "safety"


def _spec_class(located: LocatedYaml) -> type[TriggerSpecBase]:
    if not isinstance(located.value, dict):
        raise InputError("a trigger spec is a mapping of keys", located.place(()))
    kind = located.value.get("kind")
    if kind is None:
        raise InputError("key 'kind' is missing", located.place(()))
    found = SPEC_KINDS.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise InputError(
            f"unknown kind {kind!r}; known: {', '.join(SPEC_KINDS)}", located.place(("kind",))
        )
    return found


def parse_spec(text: str, source: str) -> LoadedSpec:
    """Parse and check one spec. Raises `InputError` with `source:line:column`."""
    located = parse_yaml(text, source)
    spec = validate_located(_spec_class(located), located)
    if isinstance(spec, ExpressionSpec):
        try:
            parse_expression(spec.when)
        except ExpressionError as error:
            place = located.place_in_scalar(("when",), error.offset)
            raise InputError(error.message, place) from error
    checked = cast(TriggerSpec, spec)
    return LoadedSpec.model_construct(spec=checked, digest=sha256_hex(text.encode()), text=text)


def load_spec(path: Path) -> LoadedSpec:
    """Read a spec file. Raises `InputError` with the file's name and position."""
    return parse_spec(read_text(path), str(path))


def load_specs(folder: Path) -> list[LoadedSpec]:
    """All specs of a folder by name; two files of one id are an error."""
    specs: dict[str, tuple[Path, LoadedSpec]] = {}
    for path in sorted(folder.glob("*.yaml")):
        loaded = load_spec(path)
        if loaded.spec.id in specs:
            raise InputError(
                f"trigger id {loaded.spec.id!r} is also in {specs[loaded.spec.id][0].name}",
                str(path),
            )
        specs[loaded.spec.id] = (path, loaded)
    return [loaded for _, loaded in specs.values()]


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file format, for editors."""
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[TriggerSpec, Field(discriminator="kind")])
    schema = adapter.json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Longtail trigger spec, version 1",
        **schema,
    }


def json_schema_text() -> str:
    """The schema file's exact text, as committed in `trigger_specs/`."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"
