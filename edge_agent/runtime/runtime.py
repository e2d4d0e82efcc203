"""The runtime: makes a lineup run inside a live drive, and tells what truly runs.

Guarantees: a drive sees a change only between two samples, never inside a tick; specs change at
once, a model waits for the safe state (`edge_agent.runtime.safe_state`); a release that cannot
be activated, or fails while it runs, becomes a `SlotFault`, and what ran before goes on. Taking
a release back is the updater's, which offers another lineup.

`offer` and `report` are safe from any thread. Specs are compiled and models tried in the thread
that offers; the drive's thread only exchanges them. `feed` and `finish` are the drive's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, RLock
from time import perf_counter_ns

import structlog

from contracts.check_in import Latency
from contracts.ota import Slot
from contracts.samples import Sample
from edge_agent.drive.drive import Drive, FrameSeen
from edge_agent.drive.ring import Ring
from edge_agent.drive.timing import FrameTiming
from edge_agent.ledger import Totals
from edge_agent.ota.ports import Lineup, ModelRelease, RuntimeReport
from edge_agent.ports import SourceDescription
from edge_agent.runtime.faults import FAILURES_IN_A_ROW, FaultBook, Key, Streak
from edge_agent.runtime.lineup import BuiltIn, RunningSet
from edge_agent.runtime.safe_state import ParkedAndDisengaged, SafeState
from edge_agent.runtime.shadow_model import EVERY_NTH_FRAME, ShadowModelRunner
from edge_agent.runtime.shadow_triggers import ShadowTriggers
from edge_agent.runtime.staging import Staged, Stager, same_kind
from edge_agent.runtime.tally import DriveTally, counters_of
from edge_agent.selection.capture import CaptureBook, ClipJob
from edge_agent.selection.thresholds import ThresholdBook
from edge_agent.signals.suitable import signals_of
from kernels.triggers.adapt import Threshold
from kernels.triggers.engine import Fire, TickInputs

REMEMBER_TICKS = 1500
"""Half a minute: so much of a threshold's way is lost with the power."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DriveEvents:
    """What the drive tells the rest of the agent, in the drive's thread.

    `on_fire` answers whether a fire is kept, `on_shadow_fire` whether one in shadow lies
    outside of its cooldown. `on_swap` sees what runs from here on; before a drive and after it,
    it is called in the thread that offers.
    """

    on_fire: Callable[[Fire, CaptureBook], bool]
    on_job: Callable[[ClipJob], None]
    on_shadow_fire: Callable[[Fire], bool] = lambda _: True
    on_tick: Callable[[TickInputs], None] = lambda _: None
    on_swap: Callable[[RunningSet], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class _Mail:
    """What waits for the drive: one set at once, another when a model may change."""

    at_once: Staged | None
    when_safe: Staged | None
    waiting_for: str = ""


class DriveRuntime:
    """One drive with what runs in it; implements `edge_agent.ota.ports.Runtime`.

    Args:
        built_in: what runs without any release.
        labels: the vehicle's, for `target.select`.
        totals: where counts are durable; the runtime and `tally` add theirs.
        safe_state: when a model may change during the drive.
        shadow_every: a candidate model sees every n-th frame of each camera.
        thresholds: remembers where adaptive specs stand, over this drive.
    """

    def __init__(
        self,
        vehicle_id: str,
        description: SourceDescription,
        built_in: BuiltIn,
        labels: dict[str, str],
        ring: Ring,
        events: DriveEvents,
        totals: Totals,
        tally: DriveTally,
        safe_state: SafeState | None = None,
        shadow_every: int = EVERY_NTH_FRAME,
        thresholds: ThresholdBook | None = None,
    ) -> None:
        self._events = events
        self._totals = totals
        self._tally = tally
        self._safe = safe_state or ParkedAndDisengaged(signals_of(description, ()))
        self._shadow_every = shadow_every
        self._thresholds = thresholds or ThresholdBook()
        self._stager = Stager(vehicle_id, description, built_in, labels, self._thresholds.known)
        staged = self._stager.stage(Lineup(), built_in.model)
        self._running = staged.running
        model = built_in.model.model if built_in.model is not None else None
        self.drive = Drive(
            vehicle_id, description, (), model, ring, events.on_fire, events.on_job,
            self._tick, self._frame, self._engine_failed,
        )  # fmt: skip
        self.drive.swap(staged.engine, model, staged.running.references, staged.running.in_shadow)
        self._shadow = ShadowTriggers(
            vehicle_id, description.boot_id, ring, staged.shadow_engine, events.on_shadow_fire
        )
        self._shadow_failed = False
        self._shadow_model: ShadowModelRunner | None = None
        totals.watch(tally.amounts)
        totals.watch(self._shadow.amounts)
        self._offers = Lock()
        self._lock = RLock()
        self._mail: _Mail | None = None
        self._driving = False
        self._faults = FaultBook()
        self._newest: frozenset[Key] = frozenset()
        self._ticks = 0
        self._model_failures = 0
        self._engine_failures = Streak()
        self.swaps = 0
        self.longest_swap_ns = 0

    @property
    def running(self) -> RunningSet:
        """What runs now."""
        return self._running

    # The drive's thread ----------------------------------------------------------------------

    def feed(self, sample: Sample) -> None:
        """Take the next sample, after what has been offered since the last one."""
        if not self._driving:
            with self._lock:
                self._driving = True
        if self._mail is not None:
            with self._lock:
                self._deliver(sample.mono_ns)
        self.drive.feed(sample)

    def finish(self, close: Callable[[], None] = lambda: None) -> None:
        """The drive is over: open windows close, and what waited for it runs.

        `close` is called in between, when the last tick is done and nothing else may run yet.
        """
        self.drive.finish()
        self._shadow.finish()
        self._remember()
        close()
        with self._lock:
            self._driving = False
            self._deliver(None)

    def _deliver(self, now_ns: int | None) -> None:
        """Swap what may be swapped now; `now_ns` is None while nothing is driven."""
        mail, self._mail = self._mail, None
        if mail is None:
            return
        if mail.at_once is not None:
            self._swap(mail.at_once)
        if mail.when_safe is None:
            return
        why = "" if now_ns is None else self._safe.waiting_for(now_ns)
        if why:
            self._mail = _Mail(None, mail.when_safe, why)
        else:
            self._swap(mail.when_safe)

    def _swap(self, staged: Staged) -> None:
        """Exchange all at once, or nothing and say why."""
        start_ns = perf_counter_ns()
        before, after = self._running, staged.running
        model = after.model.model if after.model is not None else None
        try:
            staged.shadow_engine.take_over(self._shadow.engine)
            self._remember()
            self.drive.swap(staged.engine, model, after.references, after.in_shadow)
        except Exception as error:
            log.exception("a lineup could not be activated")
            new = after.releases() - before.releases()
            self._faults.add(new or after.releases(), "activate", error)
            return
        self._running = after
        self._newest = after.releases() - before.releases()
        self._shadow.swap(staged.shadow_engine)
        self._shadow_failed = False
        self._engine_failures.reset()
        if after.models[:1] != before.models[:1]:
            self._model_failures = 0
        self._shadow_model = self._runner(after)
        self._events.on_swap(after)
        self.swaps += 1
        self.longest_swap_ns = max(self.longest_swap_ns, perf_counter_ns() - start_ns)

    def _runner(self, running: RunningSet) -> ShadowModelRunner | None:
        """The candidate's runner; it goes on counting while neither model changes."""
        candidate, active, old = running.shadow_model, running.model, self._shadow_model
        if candidate is None or active is None or not same_kind(candidate, active):
            return None
        same = old is not None and old.active_digest == active.digest
        if old is not None and same and old.candidate.digest == candidate.digest:
            return old
        return ShadowModelRunner(candidate, active.digest, self._shadow_every)

    def thresholds(self) -> dict[str, Threshold]:
        """Where the thresholds of all that runs or counts stand now."""
        return {**self._shadow.engine.thresholds(), **self.drive.engine.thresholds()}

    def _remember(self) -> None:
        self._thresholds.update(self.thresholds())

    def _tick(self, inputs: TickInputs) -> None:
        self._ticks += 1
        if self._ticks % REMEMBER_TICKS == 0:
            self._remember()
        self._events.on_tick(inputs)
        step_ns = self._tally.tick(inputs.now_ns, inputs.values)
        self._safe.see(inputs.now_ns, inputs.values)
        if self._shadow_failed:
            return
        try:
            self._shadow.tick(inputs, step_ns)
        except Exception as error:
            # What only counts must never stop what works.
            log.exception("specs in shadow stopped")
            self._shadow_failed = True
            self._faults.add(self._running.spec_releases(in_shadow=True), "soak", error)

    def _frame(self, seen: FrameSeen) -> None:
        if seen.error is not None:
            self._model_failures += 1
            model = self._running.model
            at_fault = self._model_failures == FAILURES_IN_A_ROW
            if at_fault and model is not None and self._running.model_origin == "ota":
                self._faults.add([(Slot("model"), model.digest)], "soak", seen.error)
            return
        self._model_failures = 0
        self._tally.frame(seen.total_ns)
        runner = self._shadow_model
        if runner is None or runner.fault:
            return
        apart = runner.see(seen)
        self.drive.tell([sample for sample in apart if sample.name in self.drive.wanted])
        if runner.fault:
            key = (Slot("model", shadow=True), runner.candidate.digest)
            self._faults.add([key], "soak", runner.fault)

    def _engine_failed(self, error: Exception) -> bool:
        """Count a failed evaluation; False when no release can be the reason."""
        suspects = self._running.spec_releases(in_shadow=False)
        if not suspects:
            return False
        in_a_row = self._engine_failures.failed(self._ticks)
        if in_a_row == 1:
            log.exception("triggers could not be evaluated")
        if in_a_row == FAILURES_IN_A_ROW:
            self._faults.add(suspects & self._newest or suspects, "soak", error)
        return True

    # Any thread ------------------------------------------------------------------------------

    def offer(self, lineup: Lineup) -> None:
        """Make this run as soon as it may, in place of any lineup offered before.

        A fault is kept while its release goes on being offered, and forgotten with it.
        """
        with self._offers:
            known, running = self._faults.offer(_keys_of(lineup)), self._running
            lineup, faults = self._stager.usable(lineup, running, known)
            while not self._put(lineup, running):
                running = self._running
            for fault in faults:
                key = (fault.slot, fault.digest)
                if key not in known:
                    self._faults.add([key], fault.stage, fault.reason)

    def _put(self, lineup: Lineup, running: RunningSet) -> bool:
        """Compile against what runs and leave it for the drive. False: that changed meanwhile."""
        wanted = self._stager.wanted_model(lineup)
        same_model = _digest(wanted) == _digest(running.model)
        at_once: Staged | None = self._stager.stage(lineup, wanted if same_model else running.model)
        when_safe = None if same_model else self._stager.stage(lineup, wanted)
        if at_once is not None and at_once.running.is_as(running):
            at_once = None
        with self._lock:
            if self._running is not running:
                return False
            mail = _Mail(at_once, when_safe, "the next sample")
            self._mail = mail if at_once is not None or when_safe is not None else None
            if not self._driving:
                self._deliver(None)
        return True

    def report(self) -> RuntimeReport:
        with self._lock:
            running, mail = self._running, self._mail
            runner = self._shadow_model
        totals = self._totals.all()
        return RuntimeReport(
            triggers=tuple(entry.told() for entry in running.entries),
            models=running.models,
            faults=self._faults.all(),
            driving_ns=self._tally.driving_ns,
            waiting_for=mail.waiting_for if mail is not None and mail.when_safe else "",
            shadow_triggers=self._shadow.told(totals),
            shadow_model=runner.report() if runner is not None else None,
            latency=_latency(self.drive.timer.report()),
            counters=counters_of(totals),
        )  # fmt: skip


def _latency(timing: FrameTiming | None) -> Latency:
    if timing is None:
        return Latency()
    return Latency(
        frames=timing.frames, p50_ms=timing.p50_ms, p99_ms=timing.p99_ms,
        model_p50_ms=timing.model_p50_ms,
    )  # fmt: skip


def _digest(release: ModelRelease | None) -> str | None:
    return release.digest if release is not None else None


def _keys_of(lineup: Lineup) -> frozenset[Key]:
    keys: set[Key] = {(release.slot, release.loaded.digest) for release in lineup.specs}
    for release in (lineup.model, lineup.shadow_model):
        if release is not None:
            keys.add((release.slot, release.digest))
    return frozenset(keys)
