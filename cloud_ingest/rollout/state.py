"""A rollout as values: its plan, where it stands, what was done and by whom.

All of it is frozen; `machine.step` returns a new state. Wall time is integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cloud_ingest.rollout.cohort import EVERY_VEHICLE, Selector, stage_limit
from cloud_ingest.rollout.evidence import Evidence, no_evidence
from cloud_ingest.rollout.guardrails import Guardrail, Reading, check_tolerated_ratio
from cloud_ingest.rollout.sample_ratio import RatioWatch
from contracts.clock import NS_PER_DAY, NS_PER_S
from contracts.errors import InputError

HOUR_NS = 3600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Stage:
    """A share of the contacted vehicles, and the rate ratio that must be ruled out to go on.

    `tolerated_ratio` None asks for no such finding: right for the last stage, which has no
    control to compare with.
    """

    fraction: float
    tolerated_ratio: float | None

    def __post_init__(self) -> None:
        stage_limit(self.fraction, 1, 1)
        if self.tolerated_ratio is not None:
            check_tolerated_ratio(self.tolerated_ratio)


STAGES = (Stage(0.01, 3.0), Stage(0.05, 2.0), Stage(0.25, 1.5), Stage(1.0, None))


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What is rolled out, to whom, and when to stop.

    Args:
        salt: makes the order of vehicles this rollout's own.
        quorum: share of a stage's vehicles that must have succeeded or failed before the next.
        soak_driving_ns, soak_ns: connected driving and wall time that a vehicle must show the
            digest for.
        silence_driving_ns: connected driving without a signed manifest that makes an applied
            vehicle a failure.
        max_failure_ratio, min_executed: halt above this share of failures among at least so
            many vehicles that applied or failed, once a stage is out; while it goes out, when they
            are more than chance brings (`failures`).
        alpha: probability of a false "worse" over all guardrails and looks, and of a false halt
            by failures while a stage goes out.
        ratio_alpha, ratio_window_ns: of the sample-ratio check.
        auto_rollback: whether a halt takes the release back from who applied it.
    """

    rollout_id: str
    salt: str
    target_digest: str
    guardrails: tuple[Guardrail, ...]
    selector: Selector = EVERY_VEHICLE
    stages: tuple[Stage, ...] = STAGES
    min_canary: int = 5
    quorum: float = 0.8
    soak_driving_ns: int = 2 * HOUR_NS
    soak_ns: int = NS_PER_DAY
    silence_driving_ns: int = 4 * HOUR_NS
    max_failure_ratio: float = 0.05
    min_executed: int = 5
    alpha: float = 0.05
    ratio_alpha: float = 0.01
    ratio_window_ns: int = 7 * NS_PER_DAY
    auto_rollback: bool = True

    def __post_init__(self) -> None:
        fractions = [stage.fraction for stage in self.stages]
        if not fractions or fractions[-1] != 1.0 or fractions != sorted(set(fractions)):
            raise InputError(f"stages rise and end at 1.0, unlike {fractions}", "stages")
        if len({guardrail.name for guardrail in self.guardrails}) != len(self.guardrails):
            raise InputError("a guardrail is named twice", "guardrails")
        for name in ("quorum", "alpha", "ratio_alpha"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise InputError("it is a share in (0, 1]", name)
        if not 0.0 <= self.max_failure_ratio < 1.0:
            raise InputError("it is a share in [0, 1)", "max_failure_ratio")
        for name in ("min_canary", "min_executed", "silence_driving_ns", "ratio_window_ns"):
            if getattr(self, name) < 1:
                raise InputError("it is at least 1", name)
        if self.soak_driving_ns < 0 or self.soak_ns < 0:
            raise InputError("a soak is not negative", "soak_ns")


class Phase(StrEnum):
    PLANNED = "planned"
    RUNNING = "running"  # the stage's vehicles are taking the release
    SOAKING = "soaking"  # a quorum of them did; waiting for soak and evidence
    PAUSED = "paused"  # no new offers; what was applied is still watched
    ROLLING_BACK = "rolling_back"
    HALTED = "halted"
    ABORTED = "aborted"
    DONE = "done"


class Cause(StrEnum):
    """Why a rollout stopped by itself."""

    FAILURES = "failures"
    GUARDRAIL = "guardrail"
    MISMATCH = "sample ratio mismatch"


class Outcome(StrEnum):
    OFFERED = "offered"
    APPLIED = "applied"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Recall(StrEnum):
    """What was ordered to take the release back."""

    NONE = "none"
    WITHDRAWN = "withdrawn"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class VehicleRecord:
    """One admitted vehicle. `previous_digest` is what it goes back to; None for nothing."""

    vehicle_id: str
    previous_digest: str | None
    attempt: int
    offered_ns: int
    outcome: Outcome = Outcome.OFFERED
    applied_ns: int | None = None
    failure: str = ""
    recall: Recall = Recall.NONE


class Verb(StrEnum):
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ADVANCE = "advance"
    RETRY_FAILURES = "retry-failures"


@dataclass(frozen=True, slots=True)
class Command:
    """A person's order. `command_id` makes it idempotent: the same id is obeyed once."""

    command_id: str
    verb: Verb
    actor: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("command_id", "actor", "reason"):
            if not getattr(self, name).strip():
                raise InputError("who orders what, and why, is recorded: it is not empty", name)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One line of the log, which only grows. `actor` is a person or "machine".

    `refused` says why a command was not obeyed; empty when it was.
    """

    number: int
    at_utc_ns: int
    actor: str
    action: str
    reason: str
    from_phase: Phase
    to_phase: Phase
    stage: int
    command_id: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """Make `digest` the vehicle's target."""

    vehicle_id: str
    digest: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take the offer back: nothing shows that the vehicle applied it."""

    vehicle_id: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """Re-release `digest` to the vehicle under a higher counter; None removes the target."""

    vehicle_id: str
    digest: str | None


Decision = Offer | Withdraw | RollBack


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Where a rollout stands. `stage` indexes the plan's stages.

    `read_until_ns` is the watermark of the evidence; `exposure_before` the treated exposure when
    the stage began; `watches` how many windows of the sample-ratio check began;
    `reading_stopped` that the arms cannot be compared, so that only a person advances it;
    `ending` what a roll-back ends in.
    """

    plan: RolloutPlan
    evidence: Evidence
    phase: Phase = Phase.PLANNED
    stage: int = 0
    records: Mapping[str, VehicleRecord] = field(default_factory=dict)
    read_until_ns: int = 0
    exposure_before: tuple[float, ...] = ()
    watch: RatioWatch | None = None
    watches: int = 0
    reading_stopped: bool = False
    cause: Cause | None = None
    ending: Phase = Phase.HALTED
    audit: tuple[AuditRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class StepResult:
    """What to store and what to do, together or not at all.

    `waiting_for` tells a person what keeps the rollout from going on; `never_contacted` are
    matching vehicles outside of every denominator.
    """

    state: RolloutState
    decisions: tuple[Decision, ...]
    reading: Reading
    waiting_for: str
    never_contacted: tuple[str, ...]


def new_rollout(plan: RolloutPlan) -> RolloutState:
    size = len(plan.guardrails)
    return RolloutState(plan=plan, evidence=no_evidence(size), exposure_before=(0.0,) * size)
