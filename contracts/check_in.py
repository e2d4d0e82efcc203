"""The signed check-in: what a vehicle says of itself, and the answer.

POST /v1/check-ins: `SignedCheckIn` → `CheckInAnswer`, with the vehicle's bearer token. The
vehicle signs `CHECK_IN_CONTEXT` + the manifest's exact bytes with its own key, so that what it
ran and counted is its word for good, not the connection's.

Counters only rise, over all drives since the vehicle's state was made: a lost check-in loses no
count. `sequence` rises with every check-in; a replayed or late one changes nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts import SOFTWARE_VERSION
from contracts.clip import Wire
from contracts.clock import ClockQuality
from contracts.ids import Name, Sha256Hex
from contracts.ota import SignedTime

CHECK_IN_CONTEXT = b"longtail-check-in-v1\n"
MAX_CHECK_IN_BYTES = 256 * 1024

Origin = Literal["built_in", "ota"]


class RunningTrigger(Wire):
    """A spec that the vehicle has loaded. `reason` tells why an inactive one does not run."""

    trigger_id: Name
    version: int
    digest: Sha256Hex
    origin: Origin
    state: Literal["active", "shadow", "inactive", "killed"]
    reason: str = Field("", max_length=500)


class RunningModel(Wire):
    """A model that runs. `digest` is its manifest's, `file_sha256` the ONNX file's."""

    name: Name
    version: int
    digest: Sha256Hex
    file_sha256: Sha256Hex
    origin: Origin
    shadow: bool = False


class HeldRelease(Wire):
    """What a slot holds by the director's order: running, soaking, or waiting for a safe state."""

    slot: str = Field(max_length=200)
    digest: Sha256Hex
    attempt: int = 1
    state: Literal["waiting", "soaking", "committed"]
    reason: str = Field("", max_length=500)


class RejectedRelease(Wire):
    """A release that the vehicle refused or took back by itself, and why."""

    slot: str = Field(max_length=200)
    digest: Sha256Hex
    attempt: int = 1
    stage: Literal["verify", "self_test", "activate", "soak"]
    reason: str = Field(max_length=500)


class ShadowTrigger(Wire):
    """What a spec in shadow would have asked for, since it was put there on this vehicle.

    `fires` counts those outside of its cooldown, `clips` and `size_bytes` what they would have
    become before any budget; `driving_s` is how long it was evaluated.
    """

    trigger_id: Name
    version: int
    digest: Sha256Hex
    fires: int = 0
    clips: int = 0
    size_bytes: int = 0
    driving_s: float = 0.0


class ShadowModel(Wire):
    """A candidate beside the active model, over the frames that both saw.

    Detections are matched one to one by overlap (IoU ≥ 0.5). `agreed` have the same class,
    `class_differs` another; `probability_gap` is the mean |difference| over matched ones.
    """

    digest: Sha256Hex
    active_digest: Sha256Hex
    frames: int = 0
    failed_frames: int = 0
    agreed: int = 0
    class_differs: int = 0
    only_active: int = 0
    only_candidate: int = 0
    probability_gap: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class Latency(Wire):
    """Camera frames of this run: sample to triggers, and the model alone."""

    frames: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    model_p50_ms: float = 0.0


class QueueDepth(Wire):
    clips: int = 0
    size_bytes: int = 0
    waiting_events: int = 0
    tombstones: int = 0


class DiskSpace(Wire):
    free_bytes: int
    total_bytes: int
    spool_quota_bytes: int


class BudgetUse(Wire):
    """Today's spending against what one day may have, in budget time."""

    day: int
    clips: int
    size_bytes: int
    clips_per_day: int
    bytes_per_day: int
    cellular_day_bytes: int = 0
    cellular_month_bytes: int = 0
    cellular_bytes_per_day: int = 0
    cellular_bytes_per_month: int = 0


class Suppressed(Wire):
    """Fires of a day that were not kept, by reason."""

    day: int
    trigger_id: str = Field(max_length=200)
    reason: str = Field(max_length=100)
    fires: int


class Counters(Wire):
    """Totals since the vehicle's state was made; they never fall.

    `connected_driving_s` is driving during which the cloud was reachable; `slow_frames` took
    longer than `SLOW_FRAME_MS`; `unclean_starts` followed a run that did not end in order.
    """

    driven_m: float = 0.0
    driving_s: float = 0.0
    connected_driving_s: float = 0.0
    frames: int = 0
    slow_frames: int = 0
    fires: int = 0
    clips: int = 0
    clip_bytes: int = 0
    upload_bytes: int = 0
    disengagements: int = 0
    starts: int = 0
    unclean_starts: int = 0


SLOW_FRAME_MS = 50.0


class CheckIn(Wire):
    """The manifest. `assignment_counter` is the newest director's word that it has taken up."""

    schema_version: int = 1
    software_version: str = SOFTWARE_VERSION
    vehicle_id: Name
    boot_id: Name
    sequence: int = Field(ge=1)
    nonce: str = Field(min_length=16, max_length=128)
    utc_ns: int
    mono_ns: int
    clock: ClockQuality
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    assignment_counter: int = 0
    triggers: tuple[RunningTrigger, ...] = Field((), max_length=1000)
    models: tuple[RunningModel, ...] = Field((), max_length=8)
    held: tuple[HeldRelease, ...] = Field((), max_length=1000)
    rejected: tuple[RejectedRelease, ...] = Field((), max_length=200)
    shadow_triggers: tuple[ShadowTrigger, ...] = Field((), max_length=1000)
    shadow_model: ShadowModel | None = None
    latency: Latency = Latency()
    queue: QueueDepth = QueueDepth()
    disk: DiskSpace | None = None
    budget: BudgetUse | None = None
    suppressed: tuple[Suppressed, ...] = Field((), max_length=5000)
    counters: Counters = Counters()
    ota_note: str = Field("", max_length=500, description="why the last update check failed")

    def running_digest(self, slot: str) -> str | None:
        """The digest of what truly runs in a slot (see `contracts.ota`); None for nothing."""
        for trigger in self.triggers:
            if trigger.state in ("active", "inactive") and slot == f"trigger:{trigger.trigger_id}":
                return trigger.digest
            if trigger.state == "shadow" and slot == f"trigger:{trigger.trigger_id}@shadow":
                return trigger.digest
        for model in self.models:
            if slot == ("model@shadow" if model.shadow else "model"):
                return model.digest
        return None


class SignedCheckIn(Wire):
    """`manifest` is the `CheckIn`'s JSON text as signed; `signature` base64url, Ed25519."""

    manifest: str = Field(max_length=MAX_CHECK_IN_BYTES)
    signature: str = Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=200)


class CheckInAnswer(Wire):
    """`time` answers the manifest's nonce; None when the service has no director's key.

    `assignment_counter` is the director's newest word for this vehicle: when it is above the
    vehicle's own there is something to fetch. `poll_s` is how soon to come back, before jitter.
    """

    sequence: int
    assignment_counter: int = 0
    poll_s: float | None = Field(None, ge=1, le=86_400)
    time: SignedTime | None = None
