"""What a trigger watches for: the `when` of each kind, with its parameters.

Parameters are in SI units, which their names carry. Each kind's condition is computed in
`kernels.triggers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

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
from contracts.ids import Name, Sha256Hex, sha256_hex
from contracts.quantities import DurationNs

MAX_CENTROIDS = 64


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


class KOfN(Strict):
    """What must hold in k (`frames`) of the last n (`of_frames`) frames.

    Each kind states both itself, behind its own bounds: that is their order in a spec.
    """

    if TYPE_CHECKING:
        frames: int
        of_frames: int

    @model_validator(mode="after")
    def _k_of_n(self) -> Self:
        if self.frames > self.of_frames:
            raise ValueError("frames must not be more than of_frames")
        return self


class LowConfidenceWhen(KOfN):
    """A frame whose detections are uncertain, k of the last n frames."""

    uncertainty: float = Field(0.6, gt=0, le=1, description="normalised class entropy above")
    margin: float = Field(0.1, ge=0, lt=1, description="or best-two gap below")
    min_objects: int = Field(1, ge=1, le=1000, description="frames with fewer do not count")
    frames: int = Field(3, ge=1, le=32, description="k")
    of_frames: int = Field(5, ge=1, le=32, description="n")


class RareClassWhen(KOfN):
    """A class of the list, detected with enough probability in k of the last n frames."""

    classes: tuple[Name, ...] = Field(min_length=1, max_length=64)
    probability: float = Field(0.4, gt=0, le=1, description="calibrated probability at least")
    frames: int = Field(3, ge=1, le=32, description="k")
    of_frames: int = Field(5, ge=1, le=32, description="n")


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


class SimilarToWhen(KOfN):
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

    @property
    def column(self) -> str:
        """What the likeness to this reference is called among a frame's scores."""
        return f"similar_to/{sha256_hex(f'{self.space} {self.reference}'.encode())[:16]}"


class NoveltyWhen(KOfN):
    """The frame looks like nothing that is known: its embedding lies further than a distance from
    every centroid, in k of the last n frames. Only the model that made the centroids can tell.
    """

    space: Sha256Hex = Field(description="digest of the model whose embeddings the centroids are")
    centroids: tuple[
        Annotated[str, StringConstraints(max_length=MAX_CHARACTERS), AfterValidator(_reference)],
        ...,
    ] = Field(
        min_length=1, max_length=MAX_CENTROIDS,
        description="embeddings of what is known: half-precision values, little-endian, base64",
    )  # fmt: skip
    distance: float = Field(gt=0, le=1, description="1 less the cosine to the nearest one, above")
    frames: int = Field(3, ge=1, le=32, description="k")
    of_frames: int = Field(5, ge=1, le=32, description="n")

    @model_validator(mode="after")
    def _of_one_space(self) -> Self:
        if len({len(embedding_of(text)) for text in self.centroids}) > 1:
            raise ValueError("centroids are of different lengths: they share no space")
        return self

    @property
    def column(self) -> str:
        """What the likeness to the nearest centroid is called among a frame's scores."""
        text = " ".join((self.space, *self.centroids))
        return f"novelty/{sha256_hex(text.encode())[:16]}"


class TrackFlickerWhen(KOfN):
    """Objects that blink: there for a frame or two, or gone for one or two and back."""

    flickers: int = Field(2, ge=1, le=1000, description="so many within the last second at least")
    frames: int = Field(1, ge=1, le=32, description="k")
    of_frames: int = Field(1, ge=1, le=32, description="n")


class UnknownObjectWhen(KOfN):
    """Something is in the path that nothing explains: a lidar cluster outside of all detections,
    or a detection that is probably something, of a class that the model cannot name.
    """

    points: int | None = Field(
        15,
        ge=3,
        le=100_000,
        description="lidar returns of the cluster at least; null: not looked at",
    )
    within_m: float = Field(40.0, gt=0, le=100, description="cluster no further than this")
    probability: float | None = Field(
        None, gt=0, le=1, description="of something that the model cannot name; null: not looked at"
    )
    frames: int = Field(3, ge=1, le=32, description="k")
    of_frames: int = Field(5, ge=1, le=32, description="n")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.points is None and self.probability is None:
            raise ValueError("give points, or probability, or both")
        return self


class SensorDisagreementWhen(KOfN):
    """Camera and lidar do not tell the same: detections through which the lidar looks, or a camera
    that has turned against the lidar since both were calibrated.
    """

    missed: int | None = Field(
        2, ge=1, le=1000, description="detections that the lidar looks through; null: not looked at"
    )
    share: float = Field(0.5, ge=0, le=1, description="and this share of those it can judge")
    drift_rad: float | None = Field(
        None, gt=0, le=0.5, description="turn of a camera above; null: not looked at"
    )
    frames: int = Field(3, ge=1, le=32, description="k")
    of_frames: int = Field(5, ge=1, le=32, description="n")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.missed is None and self.drift_rad is None:
            raise ValueError("give missed, or drift_rad, or both")
        return self


class ShadowDisagreementWhen(KOfN):
    """A candidate model in shadow and the active one see different things, in k of the last n
    frames on which both were compared.
    """

    disagreement: float = Field(
        0.5, gt=0, le=1, description="share of objects that only one sees, or names otherwise"
    )
    frames: int = Field(2, ge=1, le=32, description="k")
    of_frames: int = Field(3, ge=1, le=32, description="n")


class OperatorBookmarkWhen(Strict):
    """Somebody asks for this moment: the driver by a button, or an operator by publishing the spec.

    A remote request is answered once by a vehicle, over boots, by the trigger's id: another
    request is another id.
    """

    source: Literal["button", "remote"] = "button"
    lasts: DurationNs = Field(
        0, le=6 * 3600 * 10**9,
        description="how long a remote request holds; with `mode: level` a clip each cooldown",
    )  # fmt: skip

    @model_validator(mode="after")
    def _of_remote(self) -> Self:
        if self.source == "button" and self.lasts:
            raise ValueError("lasts is of remote requests: a button holds while it is pressed")
        return self


When = (
    HardBrakeWhen | HardAccelWhen | SwerveWhen | JerkWhen | DisengagementWhen | LowConfidenceWhen
    | RareClassWhen | SimilarToWhen | TtcWhen | RandomBaselineWhen | PlannerDivergenceWhen
    | NoveltyWhen | TrackFlickerWhen | UnknownObjectWhen | SensorDisagreementWhen
    | ShadowDisagreementWhen | OperatorBookmarkWhen | str
)  # fmt: skip
