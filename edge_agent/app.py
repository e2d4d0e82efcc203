"""The composition root of the agent: chooses adapters, runs one drive, brings clips home.

The only module that knows which adapter stands behind which port. A recorded source runs on
the recording's own time (windows, budgets, cooldowns), as fast as it can or at a given pace;
uploads run on the machine's.

What runs in the drive is `Agent.runtime`'s: built-in specs and model, until it is offered more.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, replace

import structlog

from contracts.clock import NS_PER_S, SystemClock, VirtualClock
from contracts.errors import InputError, LongtailError, TransientError
from contracts.samples import Sample
from contracts.signal_log import LoggedFire, SignalLogHeader
from edge_agent.budget import BudgetBook, Keep, VehicleLimits, budget_key
from edge_agent.capture import CaptureBook, ClipJob
from edge_agent.config import AgentConfig
from edge_agent.describe import describe_clip
from edge_agent.disk import RealDisk, replace_file
from edge_agent.event_records import EventTeller
from edge_agent.ledger import Ledger
from edge_agent.pack import DriveFacts, collect
from edge_agent.packer import PackedClip, Packer
from edge_agent.ports import SensorSource
from edge_agent.ring import Ring
from edge_agent.runtime import DriveEvents, DriveRuntime, DriveTally, RunningSet
from edge_agent.runtime.built_in import built_in
from edge_agent.runtime.pace import Pace
from edge_agent.setup import link_monitor, state_lock, vehicle_identity
from edge_agent.signal_log import log_header, open_signal_log
from edge_agent.sources.registry import open_source
from edge_agent.spool import Spool
from edge_agent.status import (
    AgentReport,
    Clip,
    InactiveTrigger,
    Timing,
    running_lineup,
    trigger_counts,
)
from edge_agent.supervisor import Task, supervise
from edge_agent.upload import (
    CellularLimits,
    Receiver,
    Transport,
    TransportLimits,
    Uploader,
    WireMeter,
)
from edge_agent.warmup import warm_up
from kernels.clip.reader import read_manifest
from kernels.triggers.cause import cause_of
from kernels.triggers.engine import Fire

STATUS_FILE = "status.json"
ENROL_RETRY_NS = 15 * NS_PER_S
FLUSH_EVERY_S = 10
"""How often counts are written when nothing else writes them along."""
POLICY_WAITS = frozenset({"queue_empty", "no_link", "cellular_forbidden", "cellular_budget"})
"""Reasons to keep a clip that are as intended, and no failure of a run."""

log = structlog.get_logger(__name__)


class Agent:
    """One run over one source. Build it, `await run(...)`, read its report.

    Attributes:
        runtime: what runs in the drive; an updater offers it releases.
        cloud_reachable: whether the cloud answered last; an updater's check-ins tell it too.
    """

    def __init__(self, config: AgentConfig, source: SensorSource, source_name: str) -> None:
        self._config = config
        self._state = config.state.expanduser()
        self._state.mkdir(parents=True, exist_ok=True)
        self._source = source
        self._source_name = source_name
        self._description = source.describe()
        self._identity = vehicle_identity(self._state, config.vehicle_id)
        self._samples = source.samples()
        self._first: Sample | None = next(self._samples, None)
        first_ns = self._first.mono_ns if self._first is not None else 0
        offset_ns = self._description.utc_minus_mono_ns
        self._drive_clock = VirtualClock(first_ns, first_ns + offset_ns)
        self._clock = SystemClock()
        self._start_ns = first_ns
        self._stop_drive = threading.Event()
        self._fires: Counter[tuple[str, str]] = Counter()
        self._clips: dict[str, PackedClip] = {}
        self._upload_note = ""
        self._failed_to_send = config.cloud is not None
        self._links = link_monitor(config)
        self.cloud_reachable = False
        self._pace = Pace(config.pace, self._clock, self._stop_drive.wait) if config.pace else None
        self._open_parts()

    def _open_parts(self) -> None:
        config, facts_of = self._config, self._description
        built = built_in(config)
        model = built.model.model if built.model is not None else None
        warm_up(model, camera=bool(facts_of.camera_channels), lidar=bool(facts_of.lidar_channels))
        self._ledger = Ledger(self._state / "ledger.sqlite", self._drive_clock, facts_of.boot_id)
        self._spool = Spool(
            self._state / "spool", config.spool.quota, config.spool.floor_free,
            self._clock, RealDisk(), self._ledger, describe_clip,
        )  # fmt: skip
        self._limits = VehicleLimits(
            config.budget.clips_per_day, config.budget.bytes_per_day,
            config.budget.safety_reserve_ratio, config.budget.random_reserve_ratio,
        )  # fmt: skip
        self._book = BudgetBook(self._ledger, self._limits, self._spool.has_room)
        self._settle_recovered()
        self._ring = Ring(config.ring)
        self._meter = WireMeter()
        self._tally = DriveTally(self._is_connected, self._meter.total_bytes)
        self._signal_log = open_signal_log(
            self._state / "signals", config.signal_log.quota, config.spool.floor_free, RealDisk()
        )
        self.runtime = DriveRuntime(
            self._identity.vehicle_id, facts_of, built, config.labels, self._ring,
            DriveEvents(
                self._on_fire, self._on_job, self._on_shadow_fire, self._signal_log.tick,
                self._on_swap,
            ),
            self._ledger.totals, self._tally,
        )  # fmt: skip
        self._drive = self.runtime.drive
        self._signal_log.begin(self._log_header(self.runtime.running))
        for entry in self.runtime.running.entries:
            if not entry.runs:
                log.warning("trigger inactive", trigger=entry.slot.name, reason=entry.reason)
        facts = DriveFacts(
            facts_of.drive_id, facts_of.utc_minus_mono_ns, facts_of.clock,
            model.digest if model is not None else None, facts_of.labels,
        )  # fmt: skip
        self._events = EventTeller(self._ledger, facts_of.utc_minus_mono_ns)
        self._packer = Packer(self._spool, self._book, self._events, facts, self._on_packed)
        self._uploader: Uploader | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _settle_recovered(self) -> None:
        """Charge clips that a crash kept from being settled; those settled before are known."""
        for entry in self._spool.queue():
            if entry.note == "recovered":
                manifest = read_manifest(self._spool.path(entry.clip_id))
                self._book.settle(
                    manifest.event, manifest.causes, manifest.stream == "random", entry.size_bytes
                )

    def _log_header(self, running: RunningSet) -> SignalLogHeader:
        return log_header(
            self._identity.vehicle_id, self._description,
            [entry.logged() for entry in running.entries], self._drive.model, self._limits,
        )  # fmt: skip

    def _is_connected(self) -> bool:
        return self.cloud_reachable and self._links.link().kind != "none"

    # The drive thread ------------------------------------------------------------------------

    def _run_drive(self) -> None:
        if self._first is None:
            return
        try:
            if self._pace is not None:
                self._pace.hold(self._first.mono_ns)
            self._feed(self._first)
            for sample in self._samples:
                if self._pace is not None:
                    self._pace.hold(sample.mono_ns)
                if self._stop_drive.is_set():
                    break
                self._feed(sample)
        except LongtailError as error:
            # A recording that breaks off: what came before it counts, and the break is told.
            self._drive.door.rejections[("source", error.message)] += 1
            log.error("source ended early", reason=str(error))
        self.runtime.finish(self._signal_log.close)

    def _feed(self, sample: Sample) -> None:
        self._drive_clock.set_mono_ns(sample.mono_ns)
        self.runtime.feed(sample)

    def _on_fire(self, fire: Fire, capture: CaptureBook) -> bool:
        outcome = self._admit(fire)
        self._tally.fired(outcome)
        self._tell(fire, fire.loaded.spec.id, outcome)
        if outcome == "kept":
            self._events.tell(capture.event_of(fire), cause_of(fire), "captured")
            self._wake_uploader()
        return outcome == "kept"

    def _on_shadow_fire(self, fire: Fire) -> bool:
        outcome = self._admit(fire, shadow=True)
        self._tell(fire, budget_key(fire.loaded, shadow=True), outcome)
        return outcome == "shadow"

    def _tell(self, fire: Fire, name: str, outcome: str) -> None:
        self._fires[(name, outcome)] += 1
        self._signal_log.fire(LoggedFire(cause=cause_of(fire), outcome=outcome))
        log.info(
            "trigger fired", trigger=name, score=round(fire.score, 3), outcome=outcome,
            at_s=round((fire.fired_mono_ns - self._start_ns) / NS_PER_S, 3),
        )  # fmt: skip

    def _on_swap(self, running: RunningSet) -> None:
        """From here on something else runs: log and clips say so."""
        self._signal_log.change(self._log_header(running))
        model = self._drive.model
        digest = model.digest if model is not None else None
        self._packer.facts = replace(self._packer.facts, model_digest=digest)
        log.info(
            "lineup changed", triggers=len(running.active), shadow=len(running.in_shadow),
            model=digest and digest[:12],
        )  # fmt: skip

    def _admit(self, fire: Fire, *, shadow: bool = False) -> str:
        """`kept`, or why not. Without a ledger nothing may be spent, but the drive goes on."""
        try:
            verdict = self._book.admit(fire.loaded, fire.fired_mono_ns, shadow=shadow)
        except LongtailError as error:
            log.error("ledger does not answer", reason=str(error))
            return "ledger"
        return "kept" if isinstance(verdict, Keep) else verdict.reason

    def _on_job(self, job: ClipJob) -> None:
        self._packer.submit(job, collect(job, self._ring))

    def _on_packed(self, packed: PackedClip) -> None:
        self._clips[packed.clip_id] = packed
        self._tally.packed(packed.size_bytes)
        self._wake_uploader()

    def _wake_uploader(self) -> None:
        if self._uploader is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._uploader.wake)

    # The asyncio side ------------------------------------------------------------------------

    async def run(self, *, stay: bool) -> AgentReport:
        """Drive to the end of the source, upload what there is, report."""
        self._loop = asyncio.get_running_loop()
        stop_upload, stopped = asyncio.Event(), asyncio.Event()

        def stop() -> None:
            self._stop_drive.set()
            stopped.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stop)
        receiver = self._connect()
        tasks = [Task("health", self._health)]
        if receiver is not None and self._uploader is not None:
            uploader = self._uploader
            tasks.append(Task("upload", lambda: self._upload(receiver, uploader, stop_upload)))
        running = await supervise(tasks, self._clock)
        self._start_counting()
        self._packer.start()
        try:
            await asyncio.to_thread(self._run_drive)
            await asyncio.to_thread(self._packer.finish)
            self._flush_ledger()
            if stay:
                await stopped.wait()
            stop_upload.set()
            await asyncio.gather(*running[1:])
            if self._uploader is not None and receiver is not None and not stopped.is_set():
                await self._drain(receiver, self._uploader)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if self._uploader is not None:
                await self._uploader.close()
        report = self.report(finished=True)
        self._write_status(report)
        self._close()
        return report

    def _close(self) -> None:
        try:
            self._ledger.totals.end()
            self._ledger.close()
        except LongtailError as error:
            log.error("ledger not closed in order", reason=str(error))
        self._spool.close()

    def _flush_ledger(self) -> None:
        try:
            self._ledger.flush()
        except LongtailError as error:
            log.error("counts not kept", reason=str(error))

    def _start_counting(self) -> None:
        try:
            self._ledger.totals.start()
        except LongtailError as error:
            log.error("start not counted", reason=str(error))

    def _connect(self) -> Receiver | None:
        if self._config.cloud is None:
            return None
        rng = random.Random()  # jitter, so that a fleet does not come back as one
        transport = Transport(
            self._config.cloud, self._clock, self._meter,
            TransportLimits(bytes_per_s=self._config.upload.bytes_per_second),
            other_origins=self._config.upload.other_origins,
        )  # fmt: skip
        receiver = Receiver(transport, self._identity, self._clock, rng)
        limits = CellularLimits(
            self._config.upload.cellular_bytes_per_day,
            self._config.upload.cellular_bytes_per_month,
        )
        self._uploader = Uploader(
            self._spool, self._ledger, transport, receiver, self._links, self._clock, limits, rng
        )
        return receiver

    async def _upload(self, receiver: Receiver, uploader: Uploader, stop: asyncio.Event) -> None:
        while not stop.is_set() and not await self._enrol(receiver):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), ENROL_RETRY_NS / NS_PER_S)
        await uploader.run(stop)

    async def _enrol(self, receiver: Receiver) -> bool:
        """True once the cloud knows this vehicle. Raises `RefusedError` when it never will."""
        mark = self._state / "enrolled"
        wanted = f"{self._config.cloud} {self._identity.vehicle_id}\n"
        if mark.exists() and mark.read_text() == wanted:
            self.cloud_reachable = True
            return True
        try:
            await receiver.enrol(self._config.enrolment_token)
        except TransientError as error:
            self._upload_note = str(error)
            self.cloud_reachable = False
            log.warning("cloud cannot be reached", reason=str(error))
            return False
        self.cloud_reachable = True
        replace_file(RealDisk(), mark, wanted.encode())
        self._upload_note = ""
        return True

    async def _drain(self, receiver: Receiver, uploader: Uploader) -> None:
        try:
            if not await self._enrol(receiver):
                return
        except LongtailError as error:
            self._upload_note = str(error)
            log.error("vehicle is not enrolled", reason=str(error))
            return
        deadline_ns = self._clock.mono_ns() + self._config.drain_timeout
        drained = await uploader.drain(deadline_ns)
        reasons = sorted({reason for _, reason in drained.kept})
        failures = [reason for reason in reasons if reason not in POLICY_WAITS]
        self._failed_to_send = bool(failures)
        self._upload_note = "; ".join(failures or reasons)

    async def _health(self) -> None:
        for second in itertools.count(1):
            self._write_status(self.report(finished=False))
            if second % FLUSH_EVERY_S == 0:
                await asyncio.to_thread(self._flush_ledger)
            await self._clock.sleep_ns(NS_PER_S)

    def _write_status(self, report: AgentReport) -> None:
        content = report.model_dump_json(exclude_none=True, indent=1).encode()
        temporary = self._state / f".{STATUS_FILE}"
        try:
            # No fsync: a status that a crash takes with it is of no use anyway.
            temporary.write_bytes(content)
            temporary.replace(self._state / STATUS_FILE)
        except OSError as error:
            log.warning("status not written", reason=str(error))

    def report(self, *, finished: bool) -> AgentReport:
        """What this run has done so far."""
        queue = self._spool.queue()
        states = {row.entry.clip_id: row.entry.state for row in self._spool.ls() if row.entry}
        timing = self._drive.timer.report()
        now = self.runtime.report()
        model = self._drive.model
        return AgentReport(
            vehicle_id=self._identity.vehicle_id,
            source=self._source_name,
            drive_id=self._description.drive_id,
            model=model.digest if model is not None else None,
            finished=finished,
            drive_s=round(max(0, self._drive.now_ns - self._start_ns) / NS_PER_S, 3),
            samples=dict(sorted(self._drive.counts.items())),
            rejected={f"{c}: {r}": n for (c, r), n in sorted(self._drive.door.rejections.items())},
            timing=Timing(**asdict(timing)) if timing is not None else None,
            triggers=trigger_counts(self._fires),
            inactive=tuple(
                InactiveTrigger(trigger_id=t.trigger_id, reason=t.reason)
                for t in now.triggers
                if t.state == "inactive"
            ),
            lineup=running_lineup(now),
            counters=now.counters,
            clips=tuple(
                Clip(**asdict(clip), state=states.get(clip.clip_id, "evicted"))
                for clip in list(self._clips.values())
            ),
            lost_clips=self._packer.counts["lost"],
            signal_log_lost_ticks=self._signal_log.lost_ticks,
            queued_clips=len(queue),
            queued_bytes=sum(entry.size_bytes for entry in queue),
            waiting_events=len(self._ledger.outbox.waiting()),
            sent_wire_bytes=self._meter.total_bytes(),
            link=self._links.link().kind,
            upload_note=self._upload_note,
            failed_to_send=finished and self._failed_to_send,
        )


def run_agent(config: AgentConfig, *, stay: bool = False) -> AgentReport:
    """Run over the configured source; `stay` goes on uploading until stopped.

    Raises `LongtailError`.
    """
    if config.source is None:
        raise InputError("no source: give --source, such as sim: or comma2k19:PATH")
    with state_lock(config.state.expanduser()):
        agent = Agent(config, open_source(config.source), config.source)
        return asyncio.run(agent.run(stay=stay))
