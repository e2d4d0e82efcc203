"""The composition root of the agent: chooses adapters, runs one drive, brings clips home.

The only module that knows which adapter stands behind which port. A recorded source runs on
the recording's own time (windows, budgets, cooldowns); uploads run on the machine's.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import asdict

import structlog

from contracts.clock import NS_PER_S, SystemClock, VirtualClock
from contracts.errors import InputError, LongtailError, TransientError
from contracts.samples import Sample
from contracts.signal_log import LoggedFire
from edge_agent.budget import BudgetBook, Keep, VehicleLimits
from edge_agent.capture import CaptureBook, ClipJob
from edge_agent.config import AgentConfig
from edge_agent.describe import describe_clip
from edge_agent.disk import RealDisk, replace_file
from edge_agent.drive import Drive
from edge_agent.event_records import EventTeller
from edge_agent.ledger import Ledger
from edge_agent.pack import DriveFacts, collect
from edge_agent.packer import PackedClip, Packer
from edge_agent.ports import SensorSource
from edge_agent.ring import Ring
from edge_agent.setup import (
    configured_model,
    link_monitor,
    load_all_specs,
    selected,
    specs_of_rules,
    state_lock,
    vehicle_identity,
)
from edge_agent.signal_log import log_header, open_signal_log
from edge_agent.sources.registry import open_source
from edge_agent.spool import Spool
from edge_agent.status import (
    AgentReport,
    Clip,
    InactiveTrigger,
    Timing,
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
POLICY_WAITS = frozenset({"queue_empty", "no_link", "cellular_forbidden", "cellular_budget"})
"""Reasons to keep a clip that are as intended, and no failure of a run."""

log = structlog.get_logger(__name__)


class Agent:
    """One run over one source. Build it, `await run(...)`, read its report."""

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
        self._open_parts()

    def _open_parts(self) -> None:
        config, facts_of = self._config, self._description
        given = [*load_all_specs(config.specs), *specs_of_rules(config.rules)]
        specs = selected(given, config.labels)
        model = configured_model(config)
        warm_up(model, camera=bool(facts_of.camera_channels), lidar=bool(facts_of.lidar_channels))
        self._ledger = Ledger(self._state / "ledger.sqlite", self._drive_clock, facts_of.boot_id)
        self._spool = Spool(
            self._state / "spool", config.spool.quota, config.spool.floor_free,
            self._clock, RealDisk(), self._ledger, describe_clip,
        )  # fmt: skip
        limits = VehicleLimits(
            config.budget.clips_per_day, config.budget.bytes_per_day,
            config.budget.safety_reserve_ratio, config.budget.random_reserve_ratio,
        )  # fmt: skip
        self._book = BudgetBook(self._ledger, limits, self._spool.has_room)
        self._settle_recovered()
        self._ring = Ring(config.ring)
        self._model = model
        self._signal_log = open_signal_log(
            self._state / "signals", config.signal_log.quota, config.spool.floor_free, RealDisk()
        )
        self._drive = Drive(
            self._identity.vehicle_id, facts_of, specs, model, self._ring, self._on_fire,
            self._on_job, self._signal_log.tick,
        )  # fmt: skip
        self._signal_log.begin(
            log_header(self._identity.vehicle_id, facts_of, self._drive, model, limits)
        )
        for inactive in self._drive.inactive:
            log.warning("trigger inactive", trigger=inactive.loaded.spec.id, reason=inactive.reason)
        facts = DriveFacts(
            facts_of.drive_id, facts_of.utc_minus_mono_ns, facts_of.clock,
            model.digest if model is not None else None, facts_of.labels,
        )  # fmt: skip
        self._events = EventTeller(self._ledger, facts_of.utc_minus_mono_ns)
        self._packer = Packer(self._spool, self._book, self._events, facts, self._on_packed)
        self._meter = WireMeter()
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

    # The drive thread ------------------------------------------------------------------------

    def _run_drive(self) -> None:
        if self._first is None:
            return
        try:
            self._feed(self._first)
            for sample in self._samples:
                if self._stop_drive.is_set():
                    break
                self._feed(sample)
        except LongtailError as error:
            # A recording that breaks off: what came before it counts, and the break is told.
            self._drive.door.rejections[("source", error.message)] += 1
            log.error("source ended early", reason=str(error))
        self._drive.finish()
        self._signal_log.close()

    def _feed(self, sample: Sample) -> None:
        self._drive_clock.set_mono_ns(sample.mono_ns)
        self._drive.feed(sample)

    def _on_fire(self, fire: Fire, capture: CaptureBook) -> bool:
        trigger_id = fire.loaded.spec.id
        outcome = self._admit(fire)
        self._fires[(trigger_id, outcome)] += 1
        self._signal_log.fire(LoggedFire(cause=cause_of(fire), outcome=outcome))
        log.info(
            "trigger fired", trigger=trigger_id, score=round(fire.score, 3), outcome=outcome,
            at_s=round((fire.fired_mono_ns - self._start_ns) / NS_PER_S, 3),
        )  # fmt: skip
        if outcome == "kept":
            self._events.tell(capture.event_of(fire), cause_of(fire), "captured")
            self._wake_uploader()
        return outcome == "kept"

    def _admit(self, fire: Fire) -> str:
        """`kept`, or why not. Without a ledger nothing may be spent, but the drive goes on."""
        try:
            verdict = self._book.admit(fire.loaded, fire.fired_mono_ns)
        except LongtailError as error:
            log.error("ledger does not answer", reason=str(error))
            return "ledger"
        return "kept" if isinstance(verdict, Keep) else verdict.reason

    def _on_job(self, job: ClipJob) -> None:
        self._packer.submit(job, collect(job, self._ring))

    def _on_packed(self, packed: PackedClip) -> None:
        self._clips[packed.clip_id] = packed
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
            self._ledger.close()
        except LongtailError as error:
            log.error("ledger not closed in order", reason=str(error))
        self._spool.close()

    def _flush_ledger(self) -> None:
        try:
            self._ledger.flush()
        except LongtailError as error:
            log.error("suppression counts not kept", reason=str(error))

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
            return True
        try:
            await receiver.enrol(self._config.enrolment_token)
        except TransientError as error:
            self._upload_note = str(error)
            log.warning("cloud cannot be reached", reason=str(error))
            return False
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
        while True:
            self._write_status(self.report(finished=False))
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
        return AgentReport(
            vehicle_id=self._identity.vehicle_id,
            source=self._source_name,
            drive_id=self._description.drive_id,
            model=self._model.digest if self._model is not None else None,
            finished=finished,
            drive_s=round(max(0, self._drive.now_ns - self._start_ns) / NS_PER_S, 3),
            samples=dict(sorted(self._drive.counts.items())),
            rejected={f"{c}: {r}": n for (c, r), n in sorted(self._drive.door.rejections.items())},
            timing=Timing(**asdict(timing)) if timing is not None else None,
            triggers=trigger_counts(self._fires),
            inactive=tuple(
                InactiveTrigger(trigger_id=i.loaded.spec.id, reason=i.reason)
                for i in self._drive.inactive
            ),
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
