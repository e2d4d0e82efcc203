"""The agent: one drive, its cloud, and what both say of themselves.

The composition root chooses the adapters (`drive_side` and `cloud_side` hold those of each half),
runs the drive in a thread of its own and the rest on the event loop.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import sys
from dataclasses import asdict
from functools import partial

import structlog

from contracts.clock import NS_PER_S, Clock, SystemClock
from contracts.errors import InputError, TransientError
from edge_agent.cloud_side import CloudSide
from edge_agent.config import AgentConfig
from edge_agent.drive_side import DriveSide
from edge_agent.health.metrics import Readings
from edge_agent.health.metrics_server import MetricsServer
from edge_agent.health.status import (
    AgentReport,
    Clip,
    InactiveTrigger,
    SourceGaps,
    Timing,
    power_status,
    running_lineup,
    trigger_counts,
)
from edge_agent.ports import SensorSource, SessionOpener
from edge_agent.power.step import PowerSource
from edge_agent.power.task import open_power_task
from edge_agent.runtime import DriveRuntime
from edge_agent.setup import link_monitor, power_source, state_lock, vehicle_identity
from edge_agent.sources.address import without_password
from edge_agent.sources.registry import open_source
from edge_agent.supervisor.notify import Notifier
from edge_agent.supervisor.supervisor import Restarts, Task, supervise
from edge_agent.supervisor.watchdog import Watchdog
from edge_agent.upload import WireMeter
from edge_agent.upload.links_gate import GatedLinks
from edge_agent.upload.links_networkmanager import NetworkManagerLink

STATUS_FILE = "status.json"
FLUSH_EVERY_S = 10
"""How often counts are written when nothing else writes them along."""
SWITCH_S = 0.0005
"""A thread that waits for the interpreter asks the one that holds it to let go after so long."""

log = structlog.get_logger(__name__)


class Agent:
    """One run over one source. Build it, `await run(...)`, read its report.

    Args:
        clock: the machine's; a recording brings its own.
        opener: opens the built-in model's network, in place of the usual one: where others in
            this process run the same model (`edge_agent.perception.sessions.SharedSessions`).
        power: ignition and supply, in place of the configured ones.
        notifier: the service manager, by default the environment's.
    """

    def __init__(
        self,
        config: AgentConfig,
        source: SensorSource,
        source_name: str,
        clock: Clock | None = None,
        *,
        opener: SessionOpener | None = None,
        power: PowerSource | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._config = config
        self._state = config.state.expanduser()
        self._state.mkdir(parents=True, exist_ok=True)
        self._source_name = source_name
        self._identity = vehicle_identity(self._state, config.vehicle_id)
        self._clock = clock or SystemClock()
        self._notifier = notifier or Notifier.from_environment(os.environ)
        self._meter = WireMeter()
        self._network = link_monitor(config, self._clock)
        self._links = GatedLinks(self._network, self._meter.total_bytes)
        self._cloud: CloudSide | None = None
        self._restarts = Restarts(self._clock)
        self._rounds = 0
        self._watchdog: Watchdog | None = None
        self._left = asyncio.Event()
        self._power_source = power or power_source(config.power, self._clock)
        self._drive = DriveSide(
            config, self._state, self._identity.vehicle_id, source, self._clock,
            self._is_connected, self._meter.total_bytes, self._restarts, opener,
        )  # fmt: skip
        self._power = (
            open_power_task(
                config.power, self._power_source, self._clock, self._drive, self._links,
                self._is_all_sent, self._wake, self._leave,
            )
            if self._power_source is not None
            else None
        )  # fmt: skip

    @property
    def runtime(self) -> DriveRuntime:
        """What runs in the drive; the updater offers it releases."""
        return self._drive.runtime

    def _is_connected(self) -> bool:
        in_contact = self._cloud is not None and self._cloud.is_in_contact
        return in_contact and self._links.link().kind != "none"

    async def run(self, *, stay: bool) -> AgentReport:
        """Drive to the end of the source, upload what there is, report.

        Raises `TransientError`, after an end in order, when the daemon could not go on.
        """
        loop = asyncio.get_running_loop()
        stop_cloud, stopped = asyncio.Event(), self._left

        def stop() -> None:
            self._drive.stop()
            stopped.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        self._restarts.on_end = partial(loop.call_soon_threadsafe, stop)
        if self._restarts.ended:
            stop()
        cloud = self._cloud = self._connect()
        if cloud is not None:
            self._drive.wake = partial(loop.call_soon_threadsafe, cloud.uploader.wake)
            # What was taken up before runs from the first sample on, without any network.
            await cloud.updater.start()
        own = supervise(self._own_tasks(), self._clock, self._restarts)
        theirs = cloud.tasks(stop_cloud, stopped) if cloud is not None else []
        running = supervise(theirs, self._clock, self._restarts, stop_cloud)
        self._drive.begin()
        self._notifier.ready(f"{self._identity.vehicle_id} over {self._source_name}")
        try:
            await asyncio.to_thread(self._drive.run)
            await asyncio.to_thread(self._drive.packer.finish)
            self._drive.flush()
            if stay:
                await stopped.wait()
            stop_cloud.set()
            self._notifier.stopping(self._restarts.ended or "sends what may go, then ends")
            await asyncio.gather(*running)
            if cloud is not None and not stopped.is_set():
                await cloud.drain()
        finally:
            for task in (*own, *running):
                task.cancel()
            await asyncio.gather(*own, *running, return_exceptions=True)
            if cloud is not None:
                await cloud.close()
        report = self.report(finished=True)
        self._write_status(report)
        self._drive.close(in_order=not self._restarts.ended)
        if self._power_source is not None:
            self._power_source.close()
        if self._restarts.ended:
            raise TransientError(self._restarts.ended)
        return report

    def _own_tasks(self) -> list[Task]:
        """The rows of the supervisor's table that need no cloud."""
        tasks = [Task("health", self._health)]
        if isinstance(self._network, NetworkManagerLink):
            self._network.on_change = self._wake
            tasks.append(Task("link", self._network.run))
        if self._power is not None:
            tasks.append(Task("power", self._power.run))
        if self._config.metrics.port is not None:
            tasks.append(Task("metrics", self._metrics_server(self._config.metrics.port).run))
        if self._notifier.watchdog_ns is not None:
            self._watchdog = Watchdog(
                self._notifier, self._notifier.watchdog_ns, self._config.watchdog.silent_source,
                self._drive.beat, lambda: self._rounds, self._clock,
            )  # fmt: skip
            tasks.append(Task("watchdog", self._watchdog.run))
        return tasks

    def _metrics_server(self, port: int) -> MetricsServer:
        readings = Readings(
            self._config, self._drive, self._links, self._restarts, self._power,
            lambda: self._cloud, self._identity.vehicle_id,
        )  # fmt: skip
        self.metrics = MetricsServer(self._config.metrics.host, port, readings.rows)
        return self.metrics

    def _leave(self, why: str) -> None:
        """A parked vehicle is done."""
        self._notifier.status(f"ends after key-off: {why}")
        self._drive.stop()
        self._left.set()

    def _is_all_sent(self) -> bool:
        if self._cloud is None or not self._drive.packer.is_idle:
            return self._drive.packer.is_idle
        uploader = self._cloud.uploader
        # What shuts the link may pass before the deadline, as heat does.
        return not (uploader.has_waiting() if self._links.shut else uploader.may_send_more())

    def _wake(self) -> None:
        self._drive.wake()

    def _connect(self) -> CloudSide | None:
        if self._config.cloud is None:
            return None
        return CloudSide(
            self._config, self._config.cloud, self._state, self._identity, self._drive,
            self._links, self._clock, self._meter,
        )  # fmt: skip

    async def _health(self) -> None:
        for second in itertools.count(1):
            self._rounds += 1
            self._write_status(self.report(finished=False))
            if second % FLUSH_EVERY_S == 0:
                await asyncio.to_thread(self._drive.flush)
                self._tell_manager()
            await self._clock.sleep_ns(NS_PER_S)

    def _tell_manager(self) -> None:
        """The line of `systemctl status`, unless the watchdog has one."""
        if self._notifier.is_heard and not (self._watchdog and self._watchdog.problem):
            side, phase = self._drive, self._power.state.phase if self._power else "driving"
            waits = f"{len(side.spool.queue())} clips wait, link {self._links.link().kind}"
            why = f", not recording: {side.not_recording}" if side.not_recording else ""
            self._notifier.status(f"{phase} for {side.driven_s:.0f} s, {waits}{why}")

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
        side, cloud, power = self._drive, self._cloud, self._power
        queue = side.spool.queue()
        timing = side.drive.timer.report()
        now = side.runtime.report()
        model = side.drive.model
        rejections = sorted(side.drive.door.rejections.items())
        return AgentReport(
            vehicle_id=self._identity.vehicle_id,
            source=self._source_name,
            drive_id=side.description.drive_id,
            model=model.digest if model is not None else None,
            finished=finished,
            drive_s=round(side.driven_s, 3),
            samples=dict(sorted(side.drive.counts.items())),
            rejected={f"{channel}: {reason}": n for (channel, reason), n in rejections},
            left_out=side.source.left_out,
            blind_frames=dict(sorted(side.drive.blind.items())),
            not_recording=side.not_recording,
            not_recorded=dict(sorted(side.not_recorded.items())),
            source_gaps=SourceGaps(
                count=side.gaps.count, total_s=round(side.gaps.total_ns / NS_PER_S, 3)
            ),
            images=dict(sorted(side.redaction.counts.items())) if side.redaction else {},
            restarts=dict(sorted(self._restarts.counts.items())),
            power=power_status(power.state, power.reading) if power is not None else None,
            ended=self._restarts.ended,
            timing=Timing(**asdict(timing)) if timing is not None else None,
            triggers=trigger_counts(side.fires),
            inactive=tuple(
                InactiveTrigger(trigger_id=t.trigger_id, reason=t.reason)
                for t in now.triggers
                if t.state == "inactive"
            ),
            lineup=running_lineup(now),
            counters=now.counters,
            ota=cloud.updater.status() if cloud is not None else None,
            clips=tuple(
                Clip(**asdict(clip), state=entry.state if entry is not None else "evicted")
                for clip in side.newest_clips()
                for entry in (side.spool.entry(clip.clip_id),)
            ),
            lost_clips=side.packer.counts["lost"],
            signal_log_lost_ticks=side.signal_log.lost_ticks,
            queued_clips=len(queue),
            queued_bytes=sum(entry.size_bytes for entry in queue),
            waiting_events=side.ledger.outbox.count(),
            sent_wire_bytes=self._meter.total_bytes(),
            link=self._links.link().kind,
            upload_note=cloud.note if cloud is not None else "",
            failed_to_send=finished and cloud is not None and cloud.failed_to_send,
        )


def settle_interpreter() -> None:
    """Have the drive's frames wait for nothing that the interpreter does beside them.

    What was made so far stays: no round of the garbage collector looks through it again, which
    would stop all threads for a tenth of a second. And a thread that computes gives the interpreter
    to one that waits for it within half a millisecond, not five: a frame lets go of it dozens of
    times, and beside a clip that was being made its waits came to as much as its work.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)


def run_agent(config: AgentConfig, *, stay: bool = False) -> AgentReport:
    """Run over the configured source; `stay` goes on uploading until stopped.

    Raises `LongtailError`.
    """
    if config.source is None:
        raise InputError("no source: give --source, such as sim: or comma2k19:PATH")
    with state_lock(config.state.expanduser()):
        agent = Agent(config, open_source(config.source), without_password(config.source))
        settle_interpreter()
        return asyncio.run(agent.run(stay=stay))
