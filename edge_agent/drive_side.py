"""The drive's half of the agent: source, triggers, budget, capture, packing, spool.

Composes them and runs one drive in its own thread. A recorded source runs on the recording's own
time (windows, budgets, cooldowns), as fast as it can or at a given pace. What runs in the drive
is `runtime`'s: built-in specs and model, until it is offered more.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from contracts.clock import NS_PER_S, Clock, VirtualClock
from contracts.errors import LongtailError
from contracts.samples import Sample
from contracts.signal_log import LoggedFire, SignalLogHeader
from edge_agent.clips.describe import describe_clip
from edge_agent.clips.event_records import EventTeller
from edge_agent.clips.pack import DriveFacts, collect
from edge_agent.clips.packer import PackedClip, Packer
from edge_agent.config import AgentConfig
from edge_agent.disk import RealDisk
from edge_agent.drive.ring import Ring
from edge_agent.drive.signal_log import log_header, open_signal_log
from edge_agent.drive.warmup import warm_up
from edge_agent.ledger import open_ledger
from edge_agent.perception.reopening import reopening
from edge_agent.ports import SensorSource, SessionOpener
from edge_agent.redaction.opening import open_image_redaction, open_zones
from edge_agent.runtime import DriveEvents, DriveRuntime, DriveTally, RunningSet
from edge_agent.runtime.built_in import built_in
from edge_agent.runtime.lineup import BuiltIn
from edge_agent.runtime.pace import Pace
from edge_agent.selection.allowances import Allowances
from edge_agent.selection.budget import BudgetBook, Keep, VehicleLimits, budget_key
from edge_agent.selection.capture import CaptureBook, ClipJob
from edge_agent.selection.clip_gate import ClipGate
from edge_agent.selection.recovered import settle_recovered
from edge_agent.selection.thresholds import ThresholdBook
from edge_agent.setup import vehicle_labels
from edge_agent.spool import Spool
from edge_agent.supervisor.drive_source import DriveSource
from edge_agent.supervisor.intake import SupervisedDrive
from edge_agent.supervisor.supervisor import Restarts
from kernels.clip.encoding import EncodedMessage
from kernels.triggers.cause import cause_of
from kernels.triggers.engine import Fire

CLIPS_TOLD = 200
"""The newest clips of a run, that its report names: it is written each second, for weeks."""

log = structlog.get_logger(__name__)


class DriveSide:
    """One drive over one source.

    Args:
        vehicle_id, source, clock: whose drive, over what, on which machine's time.
        is_connected: whether the cloud can be reached now; counted as connected driving.
        sent_bytes: wire bytes of uploads so far.
        restarts: counts what fails, and ends the daemon when it fails too often.
        opener: opens the built-in model's network, in place of the usual one.

    Attributes:
        source: what it is over, under supervision.
        fires, kinds: fires by trigger and outcome, and each trigger's kind.
        wake: called when there is something new to upload; set it before `run`.
    """

    def __init__(
        self,
        config: AgentConfig,
        state: Path,
        vehicle_id: str,
        source: SensorSource,
        clock: Clock,
        is_connected: Callable[[], bool],
        sent_bytes: Callable[[], int],
        restarts: Restarts,
        opener: SessionOpener | None = None,
    ) -> None:
        self._config = config
        self._state = state
        self._vehicle_id = vehicle_id
        self.source = DriveSource(source, clock, restarts)
        self.description = self.source.description
        self._restarts = restarts
        self._clock = clock
        built = self._warm_model(opener)
        self.ring = Ring(config.ring)
        begin_ns = self.source.open()
        self._drive_clock = VirtualClock(begin_ns, begin_ns + self.description.utc_minus_mono_ns)
        self._start_ns: int | None = None
        self._pace = Pace(config.pace, clock, self.source.stopped.wait) if config.pace else None
        self.fires: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()  # of fires: the drive's thread and the pack thread do
        self.kinds: dict[str, str] = {}
        self._clips: deque[PackedClip] = deque(maxlen=CLIPS_TOLD)
        self.wake: Callable[[], object] = lambda: None
        self._open_parts(built, is_connected, sent_bytes)

    def _warm_model(self, opener: SessionOpener | None) -> BuiltIn:
        """The model and every kernel, loaded: from no cache it takes as long as a source that
        plays by the clock would not wait.
        """
        config, facts_of = self._config, self.description
        reopened = partial(
            reopening, clock=self._clock, on_reopened=lambda: self._restarts.lost("model"),
            threads=config.model_threads,
        )  # fmt: skip
        self.open_released = reopened(None)
        built = built_in(config, reopened(opener))
        warm_up(
            built.model.model if built.model is not None else None,
            camera=bool(facts_of.camera_channels), lidar=bool(facts_of.lidar_channels),
        )  # fmt: skip
        return built

    def _open_parts(
        self, built: BuiltIn, is_connected: Callable[[], bool], sent_bytes: Callable[[], int]
    ) -> None:
        config, facts_of = self._config, self.description
        guard = open_zones(config.redaction)
        self.redaction = open_image_redaction(config.redaction, facts_of.utc_minus_mono_ns)
        self.ledger = open_ledger(
            self._state / "ledger.sqlite", self._drive_clock, facts_of.boot_id
        )
        self.spool = Spool(
            self._state / "spool", config.spool.quota, config.spool.floor_free,
            self._clock, RealDisk(), self.ledger, describe_clip,
        )  # fmt: skip
        self.limits = VehicleLimits(
            config.budget.clips_per_day, config.budget.bytes_per_day,
            config.budget.safety_reserve_ratio, config.budget.random_reserve_ratio,
            config.budget.clips_per_drive, config.budget.bytes_per_drive,
        )  # fmt: skip
        allowances = Allowances(self._state / "allowances.json", facts_of.drive_id)
        self._book = BudgetBook(self.ledger, self.limits, self.spool.has_room, allowances)
        self._thresholds = ThresholdBook(self._state / "thresholds.json")
        settle_recovered(self.spool, self._book)
        self._tally = DriveTally(is_connected, sent_bytes)
        self.signal_log = open_signal_log(
            self._state / "signals", config.signal_log.quota, config.spool.floor_free, RealDisk()
        )
        self.runtime = DriveRuntime(
            self._vehicle_id, facts_of, built, vehicle_labels(config), self.ring,
            DriveEvents(
                self._on_fire, self._on_job, self._on_shadow_fire, self.signal_log.tick,
                self._on_swap,
            ),
            self.ledger.totals, self._tally, thresholds=self._thresholds,
        )  # fmt: skip
        self.drive = self.runtime.drive
        self.drive.door.rejections.update(self.source.rejections)
        self.source.rejections = self.drive.door.rejections
        self.signal_log.begin(self._log_header(self.runtime.running))
        for entry in self.runtime.running.entries:
            if not entry.runs:
                log.warning("trigger inactive", trigger=entry.slot.name, reason=entry.reason)
        facts = DriveFacts(
            facts_of.drive_id, facts_of.utc_minus_mono_ns, self.source.drive_clock(),
            built.model.model.digest if built.model is not None else None, facts_of.labels,
        )  # fmt: skip
        self._events = EventTeller(self.ledger, facts_of.utc_minus_mono_ns)
        self._gate = ClipGate(
            self._book, self.ledger.budget_day, self._state / "scenes.json",
            self._state / "fleet-scenes.json", self._on_known,
        )  # fmt: skip
        redact = self.redaction or (lambda messages: messages)
        self.packer = Packer(
            self.spool, self._book, self._events, facts, self._on_packed, self._judged, redact
        )
        self._supervised = SupervisedDrive(
            self.runtime, self.ring, facts_of.utc_minus_mono_ns, guard, self._restarts,
            self.signal_log.close,
        )  # fmt: skip
        self.beat = self._supervised.beat
        self.gaps = self._supervised.gaps
        self.not_recorded = self._supervised.not_recorded

    def _log_header(self, running: RunningSet) -> SignalLogHeader:
        return log_header(
            self._vehicle_id, self.description,
            [entry.logged() for entry in running.entries], self.drive.model,
            running.score_names, self.limits, self.runtime.thresholds(),
        )  # fmt: skip

    @property
    def driven_s(self) -> float:
        """Seconds of drive time so far."""
        start_ns = self._start_ns
        return max(0, self.drive.now_ns - start_ns) / NS_PER_S if start_ns is not None else 0.0

    @property
    def not_recording(self) -> str:
        """Why nothing is recorded now (parked, a no-record zone, sensors that have not spoken yet),
        empty when it is.
        """
        return self._supervised.not_recording or self.source.silent

    def newest_clips(self) -> tuple[PackedClip, ...]:
        """Clips packed in this run, oldest first; of many the newest `CLIPS_TOLD`."""
        return tuple(self._clips)

    # From the event loop ---------------------------------------------------------------------

    def begin(self) -> None:
        """Count the start, and be ready to pack."""
        try:
            self.ledger.totals.start()
        except LongtailError as error:
            log.error("start not counted", reason=str(error))
        self.packer.start()

    def stop(self) -> None:
        """End the drive before its next sample. Any thread."""
        self.source.stop()

    def park(self) -> None:
        """Close open windows, and record nothing until `resume`. May block."""
        self._supervised.park()

    def resume(self) -> None:
        """Record again."""
        self._supervised.resume()

    def flush(self) -> None:
        """Write what the ledger holds back."""
        try:
            self.ledger.flush()
        except LongtailError as error:
            log.error("counts not kept", reason=str(error))
        try:
            self._thresholds.save()
        except LongtailError as error:
            log.error("thresholds not kept", reason=str(error))

    def close(self, *, in_order: bool = True) -> None:
        """End the ledger and the spool; a run that had to end counts as one that did not end, and
        its drive may still hold the ring.
        """
        if in_order:
            self.ring.release()
        try:
            self._thresholds.save()
        except LongtailError as error:
            log.error("thresholds not kept", reason=str(error))
        try:
            if in_order:
                self.ledger.totals.end()
            else:
                self.ledger.flush()
            self.ledger.close()
        except LongtailError as error:
            log.error("ledger not closed in order", reason=str(error))

    # The drive's thread ----------------------------------------------------------------------

    def run(self) -> None:
        """Drive to the end of the source. Blocks."""
        for sample in self.source.samples():
            if self._start_ns is None:
                self._start_ns = sample.mono_ns
            if not self._feed(sample):
                break
        self._supervised.finish()

    def _feed(self, sample: Sample) -> bool:
        """False when the drive was stopped, or must end."""
        if self._pace is not None:
            self.beat.now("pausing")
            self._pace.hold(sample.mono_ns)
        if self.source.stopped.is_set():
            return False
        self._drive_clock.set_mono_ns(sample.mono_ns)
        return self._supervised.take(sample)

    def _on_fire(self, fire: Fire, capture: CaptureBook) -> bool:
        outcome = self._admit(fire)
        self._tally.fired(outcome)
        self._tell(fire, fire.loaded.spec.id, outcome)
        if outcome == "kept":
            self._events.tell(capture.event_of(fire), cause_of(fire), "captured")
            self.wake()
        return outcome == "kept"

    def _on_shadow_fire(self, fire: Fire) -> bool:
        outcome = self._admit(fire, shadow=True)
        self._tell(fire, budget_key(fire.loaded, shadow=True), outcome)
        return outcome == "shadow"

    def _admit(self, fire: Fire, *, shadow: bool = False) -> str:
        """`kept`, or why not. Without a ledger nothing may be spent, but the drive goes on."""
        try:
            verdict = self._book.admit(fire.loaded, fire.fired_mono_ns, shadow=shadow)
        except LongtailError as error:
            log.error("ledger does not answer", reason=str(error))
            return "ledger"
        return "kept" if isinstance(verdict, Keep) else verdict.reason

    def _tell(self, fire: Fire, name: str, outcome: str) -> None:
        with self._counting:
            self.fires[(name, outcome)] += 1
        self.kinds[name] = fire.loaded.spec.kind
        self.signal_log.fire(LoggedFire(cause=cause_of(fire), outcome=outcome))
        log.info(
            "trigger fired", trigger=name, score=round(fire.score, 3), outcome=outcome,
            at_s=round((fire.fired_mono_ns - (self._start_ns or 0)) / NS_PER_S, 3),
        )  # fmt: skip

    def _on_swap(self, running: RunningSet) -> None:
        """From here on something else runs: log and clips say so."""
        self.signal_log.change(self._log_header(running))
        model = self.drive.model
        digest = model.digest if model is not None else None
        self.packer.facts = replace(self.packer.facts, model_digest=digest)
        log.info(
            "lineup changed", triggers=len(running.active), shadow=len(running.in_shadow),
            model=digest and digest[:12],
        )  # fmt: skip

    def _on_job(self, job: ClipJob) -> None:
        """Raises nothing: a clip that fails is told as lost, and the others due with it go on."""
        try:
            messages = collect(job, self.ring)
        except Exception as error:
            log.exception("clip could not be collected", key=job.event.text())
            self.packer.lose(job, f"{type(error).__name__}: {error}")
            return
        self.packer.facts = replace(self.packer.facts, clock=self.source.drive_clock())
        self.packer.submit(job, messages)

    # The pack thread -------------------------------------------------------------------------

    def _judged(
        self, job: ClipJob, messages: Sequence[EncodedMessage], model_digest: str | None
    ) -> ClipJob | None:
        try:
            return self._gate.judge(job, messages, model_digest)
        except Exception:
            # The gate saves room and bytes: without its word, too much is kept and not too little.
            log.exception("clip could not be judged", key=job.event.text())
            return job

    def _on_known(self, job: ClipJob) -> None:
        """A clip is not packed, since its scene is known."""
        for cause in job.causes:
            with self._counting:
                self.fires[(cause.trigger_id, "kept")] -= 1
                self.fires[(cause.trigger_id, "duplicate")] += 1
            self._events.tell(job.event, cause, "suppressed", "duplicate")

    def _on_packed(self, packed: PackedClip) -> None:
        self._clips.append(packed)
        self._tally.packed(packed.size_bytes)
        self._gate.packed(packed.event)
        self.wake()
