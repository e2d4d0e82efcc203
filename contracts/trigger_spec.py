"""Trigger spec, version 1: what to watch for, what to keep of it, and what it may cost.

A spec is YAML written by hand, so unknown keys are rejected. Published versions never
change; `(id, version)` and the digest of the bytes name one for ever. Parameters are in SI
units, which their names carry; `contracts.trigger_when` has those of each kind. Conditions are
computed in `kernels.triggers`.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from contracts.errors import InputError
from contracts.expression import ExpressionError, parse_expression
from contracts.ids import Name, Sha256Hex, sha256_hex
from contracts.quantities import Bytes, DurationNs
from contracts.spec_yaml import LocatedYaml, parse_yaml, read_text, validate_located
from contracts.trigger_when import (
    DisengagementWhen,
    HardAccelWhen,
    HardBrakeWhen,
    JerkWhen,
    LowConfidenceWhen,
    NoveltyWhen,
    OperatorBookmarkWhen,
    PlannerDivergenceWhen,
    RandomBaselineWhen,
    SensorDisagreementWhen,
    ShadowDisagreementWhen,
    SimilarToWhen,
    SwerveWhen,
    TrackFlickerWhen,
    TtcWhen,
    UnknownObjectWhen,
)

# Words of the spec that others read from here.
from contracts.trigger_when import RareClassWhen as RareClassWhen  # noqa: PLC0414
from contracts.trigger_when import Strict as Strict  # noqa: PLC0414

API_VERSION = "longtail/v1"
SAFETY_KINDS = frozenset({"hard_brake", "disengagement", "ttc", "swerve", "planner_divergence"})
"""Kinds whose clips may draw on the safety reserve and are never suppressed as duplicates."""
ADAPTIVE_KINDS = frozenset({
    "hard_accel", "jerk", "low_confidence", "rare_class", "similar_to", "track_flicker",
    "sensor_disagreement", "novelty", "unknown_object", "shadow_disagreement",
})  # fmt: skip
"""Kinds of a continuous score whose threshold may follow a target rate. Safety kinds never do."""


class Capture(Strict):
    """What a fire keeps."""

    pre: DurationNs = Field(5 * 10**9, description="time kept before the event")
    post: DurationNs = Field(5 * 10**9, description="time kept after the event")
    channels: tuple[str, ...] = Field(("*",), min_length=1, description="channel name patterns")
    downsample: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict, description="pattern: keep every n-th message"
    )


class Budget(Strict):
    """What a trigger may spend on one vehicle, in one day and on one drive; null is no limit."""

    clips_per_day: int = Field(20, ge=0, le=100_000)
    bytes_per_day: Bytes = 2 * 10**9
    fires_per_day: int | None = Field(
        None, ge=0, le=1_000_000, description="fires outside of the cooldown, kept or not"
    )
    clips_per_drive: int | None = Field(None, ge=0, le=100_000)
    bytes_per_drive: Bytes | None = None
    cellular_bytes_per_day: Bytes | None = Field(
        None, description="clips beyond it wait for a link that costs nothing"
    )
    clips_per_scene: int | None = Field(
        None, ge=1, le=1000,
        description="of one known scene; the count halves every two weeks",
    )  # fmt: skip


class Rate(Strict):
    """Fires a driving hour on which the threshold lands by itself, whatever the road is like.

    The bound in `when` is the reference: fires at it go on being counted. The threshold is a
    multiple of it that rises with each fire and falls with time (`kernels.triggers.adapt`).
    """

    per_hour: float = Field(gt=0, le=1000, description="of known driving, cooldown applied")
    lowest: float = Field(0.1, gt=0, le=1, description="threshold never below, of the reference")
    highest: float = Field(30.0, ge=1, le=1000, description="threshold never above, likewise")
    gain: float = Field(
        0.2, ge=0.001, le=1, description="by how much one fire raises the threshold's logarithm"
    )


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
    rate: Rate | None = Field(None, description="let the threshold follow a target rate")

    @property
    def is_safety(self) -> bool:
        """True when its clips may draw on the safety reserve."""
        return getattr(self, "kind", "") in SAFETY_KINDS or self.upload.priority == "safety"

    @model_validator(mode="after")
    def _never_of_safety(self) -> Self:
        kind = getattr(self, "kind", "")
        if self.is_safety or kind == "random_baseline":
            who = "a safety trigger" if self.is_safety else "the random stream"
            if self.rate is not None:
                raise ValueError(f"rate: the threshold of {who} never adapts")
            if self.budget.clips_per_scene is not None:
                raise ValueError(f"budget.clips_per_scene: {who} is never suppressed")
        elif self.rate is not None and kind not in ADAPTIVE_KINDS:
            raise ValueError(f"rate: kind {kind} has no continuous score to adapt")
        return self


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


class NoveltySpec(TriggerSpecBase):
    kind: Literal["novelty"]
    when: NoveltyWhen


class TrackFlickerSpec(TriggerSpecBase):
    kind: Literal["track_flicker"]
    when: TrackFlickerWhen = TrackFlickerWhen()


class UnknownObjectSpec(TriggerSpecBase):
    kind: Literal["unknown_object"]
    when: UnknownObjectWhen = UnknownObjectWhen()


class SensorDisagreementSpec(TriggerSpecBase):
    kind: Literal["sensor_disagreement"]
    when: SensorDisagreementWhen = SensorDisagreementWhen()


class ShadowDisagreementSpec(TriggerSpecBase):
    kind: Literal["shadow_disagreement"]
    when: ShadowDisagreementWhen = ShadowDisagreementWhen()


class OperatorBookmarkSpec(TriggerSpecBase):
    kind: Literal["operator_bookmark"]
    when: OperatorBookmarkWhen = OperatorBookmarkWhen()


class ExpressionSpec(TriggerSpecBase):
    kind: Literal["expression"]
    when: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


TriggerSpec = (
    HardBrakeSpec | HardAccelSpec | SwerveSpec | JerkSpec | DisengagementSpec | LowConfidenceSpec
    | RareClassSpec | SimilarToSpec | TtcSpec | RandomBaselineSpec | PlannerDivergenceSpec
    | NoveltySpec | TrackFlickerSpec | UnknownObjectSpec | SensorDisagreementSpec
    | ShadowDisagreementSpec | OperatorBookmarkSpec | ExpressionSpec
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
    "novelty": NoveltySpec,
    "track_flicker": TrackFlickerSpec,
    "unknown_object": UnknownObjectSpec,
    "sensor_disagreement": SensorDisagreementSpec,
    "shadow_disagreement": ShadowDisagreementSpec,
    "operator_bookmark": OperatorBookmarkSpec,
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
        return self.spec.is_safety


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
