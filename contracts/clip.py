"""The clip manifest: what a clip file says about itself, in its MCAP metadata record `clip`.

Guarantees: a function of the event alone (no packing time), so that the same event packed
twice gives the same bytes. The `clip_id` is not in it: an id lives outside the file that it
names. Readers keep fields that they do not know.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.clock import ClockQuality
from contracts.ids import EventKey, Name, Sha256Hex
from contracts.scenes import Scene

CLIP_SCHEMA_VERSION = 1
CLIP_METADATA_NAME = "clip"
SPEC_ATTACHMENT_PREFIX = "trigger_spec/"
MOST_SCENES = 16


class Wire(BaseModel):
    """Base of machine-written messages: frozen; fields of newer writers are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Cause(Wire):
    """One fire that asked for this clip. `evidence` holds the values that made it fire."""

    trigger_id: Name
    trigger_version: int
    spec_digest: Sha256Hex
    kind: str
    fired_mono_ns: int
    start_mono_ns: int
    end_mono_ns: int
    score: float
    evidence: dict[str, float] = Field(default_factory=dict)
    evidence_text: str = ""
    safety: bool = False


class Window(Wire):
    """A span of the vehicle's monotonic time, both ends included."""

    start_mono_ns: int
    end_mono_ns: int


class ChannelSummary(Wire):
    """What a channel holds. A gap is a silence of more than 5 median periods."""

    name: str
    schema_name: str
    messages: int
    payload_bytes: int
    gaps: tuple[Window, ...] = ()


class ObjectSummary(Wire):
    """How a class was seen over the clip."""

    frames: int
    max_in_frame: int
    max_probability: float


class ClipSummary(Wire):
    """Values that a search reads. None where the vehicle could not know."""

    weather: str | None = None
    tod: str | None = None
    road_type: str | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    min_speed_mps: float | None = None
    mean_speed_mps: float | None = None
    max_speed_mps: float | None = None
    max_decel_mps2: float | None = None
    max_accel_mps2: float | None = None
    max_lat_accel_mps2: float | None = None
    max_jerk_mps3: float | None = None
    min_ttc_s: float | None = None
    max_uncertainty: float | None = None
    detected_objects: dict[str, ObjectSummary] = Field(default_factory=dict)
    image_frames: int = 0
    lidar_sweeps: int = 0

    def tags(self) -> dict[str, str]:
        """What is known of the surroundings, by which frames and drives are told apart."""
        told = {"weather": self.weather, "tod": self.tod, "road_type": self.road_type}
        return {name: value for name, value in told.items() if value is not None}


class ClipEmbedding(Wire):
    """One vector for the clip, from the model's embedding head (mean over frames, unit norm)."""

    model_digest: Sha256Hex
    vector: tuple[float, ...]


class ClipManifest(Wire):
    """All that a clip says about itself."""

    schema_version: int = CLIP_SCHEMA_VERSION
    event: EventKey
    drive_id: Name
    software_version: str
    stream: Literal["triggered", "random"]
    inclusion_probability: float | None = None
    causes: tuple[Cause, ...]
    requested: Window
    actual: Window
    utc_minus_mono_ns: int
    clock: ClockQuality
    model_digest: Sha256Hex | None = None
    channels: tuple[ChannelSummary, ...] = ()
    summary: ClipSummary = ClipSummary()
    embedding: ClipEmbedding | None = None
    scene_hash: str | None = None
    scenes: tuple[Scene, ...] = Field((), max_length=MOST_SCENES)
    """What the causes met, where place, direction and picture are known."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """Messages of each channel that the vehicle left out, since nothing had changed."""

    @property
    def safety(self) -> bool:
        """True when any cause is a safety kind."""
        return any(cause.safety for cause in self.causes)

    @property
    def start_utc_ns(self) -> int:
        return self.actual.start_mono_ns + self.utc_minus_mono_ns

    @property
    def end_utc_ns(self) -> int:
        return self.actual.end_mono_ns + self.utc_minus_mono_ns
