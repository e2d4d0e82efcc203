"""What the agent says about itself: the report of a run and the status of a running daemon."""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from contracts import SOFTWARE_VERSION
from contracts.check_in import Counters, RunningModel, RunningTrigger, ShadowModel, ShadowTrigger
from contracts.clip import Wire
from edge_agent.ota.ports import RuntimeReport
from edge_agent.ota.status import OtaStatus
from edge_agent.power.step import PowerReading, PowerState


class TriggerCount(Wire):
    """Fires of one trigger in this run, and what became of them."""

    fired: int = 0
    kept: int = 0
    suppressed: dict[str, int] = Field(default_factory=dict)


class InactiveTrigger(Wire):
    """A spec that cannot run on this vehicle."""

    trigger_id: str
    reason: str


class Clip(Wire):
    """A clip of this run. `state` is the spool's word: queued, uploaded, unwanted."""

    clip_id: str
    event: str
    trigger_ids: tuple[str, ...]
    size_bytes: int
    partial: bool
    state: str = "queued"


class Timing(Wire):
    """Frames judged: milliseconds from sample to triggers, and the model's share."""

    frames: int
    p50_ms: float
    p99_ms: float
    model_p50_ms: float
    model_share: float


class RunningLineup(Wire):
    """What runs now, and what was tried beside it. `faults` are releases that failed."""

    triggers: tuple[RunningTrigger, ...] = ()
    models: tuple[RunningModel, ...] = ()
    waiting_for: str = ""
    faults: tuple[str, ...] = ()
    shadow_triggers: tuple[ShadowTrigger, ...] = ()
    shadow_model: ShadowModel | None = None


def running_lineup(report: RuntimeReport) -> RunningLineup:
    """The runtime's word as the status tells it."""
    return RunningLineup(
        triggers=report.triggers,
        models=report.models,
        waiting_for=report.waiting_for,
        faults=tuple(f"{f.slot.text} {f.digest[:12]}: {f.reason}" for f in report.faults),
        shadow_triggers=report.shadow_triggers,
        shadow_model=report.shadow_model,
    )


class SourceGaps(Wire):
    """Silences of the whole source of more than 2 s."""

    count: int = 0
    total_s: float = 0.0


class PowerStatus(Wire):
    """The power phase (`driving`, `parked`, `ended`) and what is known of the supply.

    `shut` tells why nothing may be sent, `ended` why a parked vehicle is done.
    """

    phase: str
    shut: str = ""
    ended: str = ""
    ignition: bool | None = None
    supply_v: float | None = None
    temperature_c: float | None = None
    problem: str = ""


def power_status(state: PowerState, reading: PowerReading) -> PowerStatus:
    """Power as the status tells it."""
    return PowerStatus(
        phase=state.phase, shut=state.shut, ended=state.ended, ignition=reading.ignition,
        supply_v=reading.supply_v, temperature_c=reading.temperature_c, problem=reading.problem,
    )  # fmt: skip


class AgentReport(Wire):
    """What one run did; also the content of `status.json` while it runs.

    `blind_frames` counts, by reason, instants on which no model could be asked; `not_recorded`,
    by reason, samples that were left out whole, and `not_recording` tells why they are now.
    `images` counts what redaction did to images of clips. `ended` tells what ended the daemon
    when it could not go on. `clips` are the newest, `counters` count them all.
    """

    software_version: str = SOFTWARE_VERSION
    vehicle_id: str
    source: str
    drive_id: str
    model: str | None = None
    finished: bool = False
    drive_s: float = 0.0
    samples: dict[str, int] = Field(default_factory=dict)
    rejected: dict[str, int] = Field(default_factory=dict)
    left_out: dict[str, int] = Field(
        default_factory=dict, description="what the source could not use, by reason"
    )
    blind_frames: dict[str, int] = Field(default_factory=dict)
    not_recording: str = ""
    not_recorded: dict[str, int] = Field(default_factory=dict)
    source_gaps: SourceGaps = SourceGaps()
    images: dict[str, int] = Field(default_factory=dict)
    restarts: dict[str, int] = Field(default_factory=dict)
    power: PowerStatus | None = None
    ended: str = ""
    timing: Timing | None = None
    triggers: dict[str, TriggerCount] = Field(default_factory=dict)
    inactive: tuple[InactiveTrigger, ...] = ()
    lineup: RunningLineup = RunningLineup()
    counters: Counters = Counters()
    ota: OtaStatus | None = None
    clips: tuple[Clip, ...] = ()
    lost_clips: int = 0
    signal_log_lost_ticks: int = 0
    queued_clips: int = 0
    queued_bytes: int = 0
    waiting_events: int = 0
    sent_wire_bytes: int = 0
    link: str = "none"
    upload_note: str = ""
    failed_to_send: bool = False


def trigger_counts(fires: Counter[tuple[str, str]]) -> dict[str, TriggerCount]:
    """From (trigger, outcome) counts, outcome `kept` or a reason of suppression."""
    grouped: dict[str, dict[str, int]] = {}
    for (trigger_id, outcome), count in sorted(fires.items()):
        grouped.setdefault(trigger_id, {})[outcome] = count
    return {
        trigger_id: TriggerCount(
            fired=sum(outcomes.values()),
            kept=outcomes.pop("kept", 0),
            suppressed=outcomes,
        )
        for trigger_id, outcomes in grouped.items()
    }
