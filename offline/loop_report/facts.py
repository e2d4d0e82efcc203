"""What is known of one turn of the loop. Whatever was not measured is None or empty, and the page
says so: nothing is filled in.

Whoever runs a turn fills this; the page (`offline.loop_report.write`) reads nothing else.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.gate_report import GateReport
from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex
from offline.gates.evidence import ShadowEvidence
from offline.health.records import HealthReport
from offline.sim_to_real.records import SimToReal

Text = Annotated[str, Field(min_length=1, max_length=300)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

StageState = Literal["done", "reused", "failed", "waiting"]
FUNNEL = ("fired", "kept", "uploaded", "acquired", "labelled", "in_dataset", "trained_on")


class StageFacts(Frozen):
    """One stage. `key` is the digest that it ran under; `reason` why it failed or waits.

    `start_utc_ns` is None where it was not run in this turn (reused, waiting).
    """

    name: Text
    state: StageState
    key: Sha256Hex | None = None
    start_utc_ns: int | None = None
    wall_s: Seconds | None = None
    cpu_s: Seconds | None = None
    reason: str = ""
    figures: dict[str, int | Finite | str] = Field(default_factory=dict)


class FleetFacts(Frozen):
    """What the fleet did since the turn before. `kept_bytes` is what clips came to, `budget_bytes`
    what they may have come to at most on these vehicle-days.
    """

    vehicles: Count
    vehicle_days: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    fires: Count | None = None
    clips: Count | None = None
    uploads: Count | None = None
    kept_bytes: Count | None = None
    budget_bytes: Count | None = None


class FunnelFacts(Frozen):
    """How many clips got how far: `fired` (asked for by triggers and the random stream), `kept` on
    the vehicle, `uploaded`, `acquired` for labelling, `labelled`, `in_dataset`, and `trained_on`:
    with at least one frame drawn in training.
    """

    fired: Count | None = None
    kept: Count | None = None
    uploaded: Count | None = None
    acquired: Count | None = None
    labelled: Count | None = None
    in_dataset: Count | None = None
    trained_on: Count | None = None

    @property
    def survival(self) -> float | None:
        """Share of uploaded clips that training saw."""
        if not self.uploaded or self.trained_on is None:
            return None
        return self.trained_on / self.uploaded


class StreamFacts(Frozen):
    """A stream of the acquisition: clips, and what they cost in `AcquisitionFacts.unit`."""

    stream: Text
    clips: Count
    expected_cost: Seconds
    actual_cost: Seconds | None = None


class AcquisitionFacts(Frozen):
    """What was chosen for labelling."""

    unit: Text
    budget: Finite | None = None
    pool: Count | None = None
    streams: tuple[StreamFacts, ...] = Field(min_length=1)


class ReviewFacts(Frozen):
    """Labels and people. Shares are of auto-labelled boxes; `kappa` is Fleiss', `icc` ICC(2, 1) by
    measure; `error_bound` bounds the share of wrong boxes among those accepted without people.
    """

    boxes: Count | None = None
    auto_accepted: Share | None = None
    consensus: Share | None = None
    expert: Share | None = None
    waiting: Share | None = None
    kappa: Finite | None = None
    icc: dict[str, Finite] = Field(default_factory=dict)
    residual_error: Share | None = None
    error_bound: Share | None = None
    expected_s: Seconds | None = None
    labeller_s: Seconds | None = None
    simulated_people: bool = False


class DatasetFacts(Frozen):
    """What was trained on. `before`, `after`, `reference`: shares by tag and value, as the mix
    report of a retraining has them; `replay_share` of what an epoch draws.
    """

    digest: Sha256Hex | None = None
    frames: Count | None = None
    by_source: dict[str, Count] = Field(default_factory=dict)
    by_split: dict[str, Count] = Field(default_factory=dict)
    before: dict[str, dict[str, Share]] = Field(default_factory=dict)
    after: dict[str, dict[str, Share]] = Field(default_factory=dict)
    reference: dict[str, dict[str, Share]] = Field(default_factory=dict)
    replay_share: Share | None = None


class TrainingFacts(Frozen):
    """`losses`: one mean a part and epoch; `seconds` of wall time."""

    losses: tuple[dict[str, Finite], ...] = ()
    seconds: Seconds | None = None
    device: str = ""
    parent: Sha256Hex | None = None
    model: Sha256Hex | None = None


class Change(Frozen):
    """One figure before and after. `low` and `high` are a 95 % interval of what `interval` says:
    of the figure after, of the difference after - before, or of the ratio after / before.

    `headline` puts it into the title line.
    """

    metric: Text
    slice: Text = "all"
    before: Finite
    after: Finite
    low: Finite | None = None
    high: Finite | None = None
    interval: Literal["after", "difference", "ratio"] = "after"
    better: Literal["lower", "higher"]
    headline: bool = False

    @model_validator(mode="after")
    def _interval_is_whole(self) -> Change:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high: both or neither")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")
        return self

    @property
    def relative(self) -> float | None:
        """By which share of `before` it changed; None from nothing."""
        return (self.after - self.before) / abs(self.before) if self.before else None

    @property
    def after_bounds(self) -> tuple[float, float] | None:
        """The interval as one of the figure after."""
        if self.low is None or self.high is None:
            return None
        if self.interval == "difference":
            return self.before + self.low, self.before + self.high
        if self.interval == "ratio":
            ends = sorted((self.before * self.low, self.before * self.high))
            return ends[0], ends[1]
        return self.low, self.high

    @property
    def verdict(self) -> Literal["better", "worse", "unsure"]:
        """`unsure` where the interval holds no change, or there is none."""
        bounds = self.after_bounds
        if bounds is None or bounds[0] <= self.before <= bounds[1]:
            return "unsure"
        return "better" if (self.after < self.before) == (self.better == "lower") else "worse"


class RolloutStage(Frozen):
    """One stage of the rollout; without an end it is where the model is now."""

    name: Text
    state: Literal["done", "running", "aborted", "rolled_back", "waiting"]
    vehicles: Count | None = None
    start_utc_ns: int | None = None
    end_utc_ns: int | None = None
    reason: str = ""


class SpecChange(Frozen):
    """A trigger spec that the loop changed by what it learned."""

    trigger_id: Text
    version: Count
    told: Text
    state: str = ""


class LineageRow(Frozen):
    """A line of a walk: `depth` below where it began; `missing` is named and not at hand."""

    way: Literal["origins", "uses"]
    depth: Count
    kind: Text
    name: Text
    told: str = ""
    missing: bool = False


class Duration(Frozen):
    """How long something took, over `count` cases."""

    median_s: Seconds
    least_s: Seconds | None = None
    most_s: Seconds | None = None
    count: Annotated[int, Field(ge=1)] = 1
    clock: Literal["wall", "virtual"] = "wall"


class TimeFacts(Frozen):
    """From a clip's end on the vehicle to the begin of the model's rollout, and on to the model on
    the canary's first vehicle; from raw log to curated data: labelled and in a dataset version.
    """

    clip_to_rollout: Duration | None = None
    clip_to_canary: Duration | None = None
    log_to_curated: Duration | None = None


class LoopFacts(Frozen):
    """One turn of the loop.

    `tails` are figures of the gates' frames, `trials` of the same scenes driven by both models
    (critical misses, false alarms, disengagements). `notes` are said beside the title: what this
    turn leaves out.
    """

    schema_version: Literal[1] = 1
    name: Text
    seed: Count | None = None
    turn: Count | None = None
    notes: tuple[str, ...] = ()
    stages: tuple[StageFacts, ...] = ()
    fleet: FleetFacts | None = None
    funnel: FunnelFacts | None = None
    acquisition: AcquisitionFacts | None = None
    review: ReviewFacts | None = None
    dataset: DatasetFacts | None = None
    training: TrainingFacts | None = None
    gates: GateReport | None = None
    tails: tuple[Change, ...] = ()
    shadow: ShadowEvidence | None = None
    rollout: tuple[RolloutStage, ...] = ()
    specs: tuple[SpecChange, ...] = ()
    trials: tuple[Change, ...] = ()
    health: HealthReport | None = None
    sim_to_real: SimToReal | None = None
    lineage: tuple[LineageRow, ...] = ()
    times: TimeFacts | None = None
