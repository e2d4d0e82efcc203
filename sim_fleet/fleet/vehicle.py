"""One start of a simulated vehicle, in a process of its own: the real agent on virtual time.

The drive runs in the agent's own thread, the agent's network on the virtual loop, its link
through the relay. All that happens is written to the journal at once. A power cut is a SIGKILL
that the process sends to itself, in the very middle of whatever its threads are doing.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from math import radians
from pathlib import Path
from typing import Any, NoReturn

import structlog

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from edge_agent.perception.bev import OnnxBevModel
from edge_agent.perception.runtime import load_model
from edge_agent.perception.sessions import SharedSessions
from edge_agent.ports import BevModel
from edge_agent.setup import state_lock
from sim_fleet.classes import Kind
from sim_fleet.drivers.perceivers import BlindSpotPerceiver
from sim_fleet.drivers.ports import Perceiver
from sim_fleet.drivers.student import RunningPerceiver, StudentPerceiver
from sim_fleet.fleet.harm import ClipWriting, Saboteur
from sim_fleet.fleet.job import BootJob, OrderSettings
from sim_fleet.fleet.journal import ByteCounts, Journal
from sim_fleet.fleet.relay import Relay
from sim_fleet.fleet.schedule import EPOCH_UTC_NS, scenario_of
from sim_fleet.fleet.trip_source import Silence, TripOrder, TripSource, WakeSource
from sim_fleet.fleet.virtual_loop import LoopClock, VirtualLoop
from sim_fleet.seeds import generator
from sim_fleet.sensors.mounts import Drift
from sim_fleet.sensors.rig import sensor_rig
from sim_fleet.source import START_NS, DriveOptions

LONGEST_DRAIN_S = 600.0
_PR_SET_PDEATHSIG = 1
_JOURNALLED = {
    "trigger fired": "fire", "clip packed": "packed", "clip_uploaded": "uploaded",
    "clip_not_uploaded": "kept", "clip lost": "lost", "event record not kept": "untold",
    "event_record_refused": "refused", "clip not settled": "unsettled",
}  # fmt: skip
_RING = {"light": "32MB", "s": "256MB", "m": "512MB"}


class Vehicle:
    """Puts one start together and runs it."""

    def __init__(self, job: BootJob) -> None:
        self._job = job
        self.loop = VirtualLoop(START_NS + round(job.skip_s * NS_PER_S))
        self._begin_s = job.trip.start_s - START_NS / NS_PER_S
        self._journal = Journal(job.vehicle.journal)
        self._sessions = SharedSessions()
        utc_ns = EPOCH_UTC_NS + round(job.trip.start_s * NS_PER_S) + job.wall_error_ns
        self._clock = LoopClock(self.loop, utc_ns - START_NS)
        self._saboteur = Saboteur(
            job.trip.index, job.faults, self.cut_power, self._server_pid, self.write
        )
        self._agent: Agent | None = None
        self._source = self._make_source(utc_ns)
        self._relay = Relay(
            self.loop, job.server, job.vehicle.trace, self.now_s,
            ByteCounts(job.vehicle.counts(job.boot_id)),
            generator(job.vehicle.seed, "packets", job.boot_id),
            self._saboteur.harm, self._saboteur.answered,
        )  # fmt: skip

    def now_s(self) -> float:
        """The fleet's time."""
        return self._begin_s + self.loop.now_ns / NS_PER_S

    def write(self, what: str, **more: Any) -> None:
        self._journal.write(what, self.now_s(), boot=self._job.boot_id, **more)

    def _server_pid(self) -> int | None:
        path = self._job.server_pid
        return int(path.read_text()) if path is not None else None

    def cut_power(self, why: str) -> NoReturn:
        """End at once, as a vehicle without power does."""
        meter = self._source.odometer
        self.write(
            "power_cut", fault=why, drive_s=round(self._job.skip_s + meter.driven_s, 3),
            mono_ns=self.loop.now_ns,
        )  # fmt: skip
        self._write_driven()
        os.kill(os.getpid(), signal.SIGKILL)
        raise SystemExit  # never reached

    def _write_driven(self) -> None:
        meter = self._source.odometer
        self.write(
            "driven", drive_s=round(meter.driven_s, 3), km=round(meter.driven_m / 1e3, 4),
            disengagements=meter.disengagements, silenced=meter.silenced,
        )  # fmt: skip

    def _make_source(self, utc_ns: int) -> TripSource | WakeSource:
        job, trip = self._job, self._job.trip
        faults = {fault.spec.kind: fault for fault in job.faults}
        order = TripOrder(
            job.boot_id, utc_ns, job.wall_error_ns == 0, job.skip_s,
            tuple(
                Silence(f.spec.channels, f.at_s, f.at_s + f.spec.lasting / NS_PER_S)
                for f in job.faults if f.spec.kind == "sensor_dropout"
            ),
            next((f.at_s for f in job.faults if f.is_cut_during("drive")), None),
        )  # fmt: skip
        if trip.drive_s == 0:
            return WakeSource(order, self.loop.reach, self.loop.let_go, trip.awake_s)
        drift = {}
        if "extrinsics_drift" in faults:
            yaw_rad = radians(faults["extrinsics_drift"].spec.yaw_deg)
            rig = sensor_rig(job.vehicle.sensors)
            channels = [*(c.channel for c in rig.cameras), *(each.channel for each in rig.lidars)]
            drift = {channel: Drift(yaw_rad=yaw_rad) for channel in channels}
        blind = frozenset(Kind[name] for name in job.vehicle.blind_to)
        options = DriveOptions(
            scenario_of(trip), trip.seed, job.vehicle.sensors, trip.drive_s,
            job.vehicle.vehicle_type, drift,
            perceiver=BlindSpotPerceiver(blind) if blind else None,
            perceiver_of=self._student if job.vehicle.model is not None else None,
        )  # fmt: skip
        cut = next((f.name for f in job.faults if f.is_cut_during("drive")), "")
        return TripSource(
            options, order, self.loop.reach, self.loop.let_go, lambda: self.cut_power(cut),
            job.vehicle.truth,
        )  # fmt: skip

    def _student(self) -> Perceiver:
        """The planner sees by the agent's own model: the one that it runs, by orders or built in.

        The built-in one runs once a frame for both.
        """
        if self._job.vehicle.orders is not None:
            return RunningPerceiver(self._running_model)
        if self._job.vehicle.model is None:
            raise InputError("this vehicle has no model", self._job.vehicle.vehicle_id)
        return student_of(self._job.vehicle.model, self._sessions)

    def _running_model(self) -> BevModel | None:
        release = None if self._agent is None else self._agent.runtime.running.model
        model = None if release is None else release.model
        return model if isinstance(model, BevModel) else None

    def config(self, port: int) -> AgentConfig:
        """The agent's configuration on this start."""
        job, vehicle = self._job, self._job.vehicle
        drain_s = max(10.0, min(LONGEST_DRAIN_S, job.trip.parked_s - 30.0))
        return AgentConfig.model_validate({
            "vehicle_id": vehicle.vehicle_id,
            "state": vehicle.state,
            "cloud": f"http://127.0.0.1:{port}",
            "specs": vehicle.specs,
            "model": vehicle.model,
            "ring": _RING[vehicle.sensors],
            "drain_timeout": f"{drain_s:.1f}s",
            "link": {"file": vehicle.folder / "link"},
            "labels": {"fleet": "simulated"},
            "spool": {"quota": f"{job.spool_quota_bytes}B", "floor_free": "0B"},
            "budget": {"clips_per_day": vehicle.clips_per_day,
                       "bytes_per_day": f"{vehicle.bytes_per_day}B"},
            "upload": {"cellular_bytes_per_day": f"{vehicle.cellular_bytes_per_day}B"},
            "ota": _ota(vehicle.orders),
        })  # fmt: skip

    async def run(self) -> None:
        """Drive, park, send, and go to sleep."""
        self._tell_start()
        port = await self._relay.start(self._job.relay_port)
        self._show_link()
        keeper = asyncio.create_task(self._keep_links())
        try:
            with state_lock(self._job.vehicle.state):
                agent = self._agent = Agent(
                    self.config(port), self._source, self._job.boot_id, self._clock,
                    opener=self._sessions,
                )  # fmt: skip
                report = await agent.run(stay=False)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._relay.close()
        self._tell_end(report, port)

    def _tell_start(self) -> None:
        self.write("start", trip=self._job.trip.index, scenario=self._job.trip.scenario)
        for fault in self._job.faults:
            if fault.spec.kind == "disk_full":
                self.write("fault", fault=fault.name, note="room for clips has shrunk to "
                           f"{self._job.spool_quota_bytes} bytes")  # fmt: skip
            elif fault.spec.kind == "extrinsics_drift":
                note = f"sensors are turned by {fault.spec.yaw_deg:g} degrees"
                self.write("fault", fault=fault.name, note=note)
            elif fault.spec.kind == "sensor_dropout":
                self.write("fault", fault=fault.name, note=f"{', '.join(fault.spec.channels)} "
                           f"silent for {fault.spec.lasting / NS_PER_S:g} s")  # fmt: skip
            elif fault.spec.kind == "clock_jump":
                at_s = START_NS / NS_PER_S + max(fault.at_s, self._job.skip_s)
                self.loop.call_at(at_s, self._jump, fault.name, fault.spec.by,
                                   fault.spec.backwards)  # fmt: skip

    def _jump(self, name: str, by_ns: int, backwards: bool) -> None:
        delta_ns = -by_ns if backwards else by_ns
        self._clock.jump_utc_ns(delta_ns)
        self.write("fault", fault=name, note=f"wall time jumped by {delta_ns / 3.6e12:+g} h")

    def _tell_end(self, report: AgentReport, port: int) -> None:
        self._write_driven()
        self.write(
            "end", relay_port=port, stalls=self.loop.stalls, queued=report.queued_clips,
            waiting_events=report.waiting_events, note=report.upload_note,
            rejected=sum(report.rejected.values()), cpu_s=round(time.process_time(), 3),
            model=report.model,
        )  # fmt: skip

    def _show_link(self) -> None:
        path = self._job.vehicle.folder / "link"
        fresh = path.with_suffix(".new")
        fresh.write_text(self._job.vehicle.trace.at(self.now_s()).text() + "\n")
        fresh.replace(path)

    async def _keep_links(self) -> None:
        """Follow the trace: a link of another kind is another connection."""
        trace = self._job.vehicle.trace
        while (change_s := trace.next_change_s(self.now_s())) is not None:
            before = trace.at(self.now_s()).text()
            await asyncio.sleep(max(0.0, change_s - self.now_s()) + 1e-6)
            if trace.at(self.now_s()).text() != before:
                self._show_link()
                self._relay.cut()


def _ota(orders: OrderSettings | None) -> dict[str, Any]:
    if orders is None:
        return {}
    # A simulated fleet's cloud is in laptop mode, whose keys are marked as made for trying out.
    return {"trust": orders.trust, "allow_demo_keys": True,
            "soak_driving_model": f"{orders.soak_driving_s:.1f}s"}  # fmt: skip


def student_of(model: Path, sessions: SharedSessions) -> StudentPerceiver:
    """A perceiver over a bird's-eye model. Raises `InputError` for a model of another kind."""
    opened = load_model(model, opener=sessions)
    if not isinstance(opened, OnnxBevModel):
        raise InputError("a planner drives from a bird's-eye model, and this is none", str(model))
    return StudentPerceiver(opened)


def run_vehicle(job_text: str) -> None:
    """Entry point of the process. Its exit code is 0 after a whole start."""
    # A conductor that is killed takes its vehicles along, through the server that forked them.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    job = BootJob.model_validate_json(job_text)
    job.vehicle.counts(job.boot_id).parent.mkdir(parents=True, exist_ok=True)
    log = (job.vehicle.folder / "agent.log").open("a", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    vehicle = Vehicle(job)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, _journalled(vehicle),
                    structlog.processors.JSONRenderer(default=str)],
        logger_factory=structlog.PrintLoggerFactory(log), cache_logger_on_first_use=False,
    )  # fmt: skip
    cut = next((fault for fault in job.faults if fault.is_cut_during("pack")), None)
    if cut is not None:
        writing = ClipWriting(job.vehicle.state, cut, vehicle.cut_power)
        sys.addaudithook(writing.see)
    with asyncio.Runner(loop_factory=lambda: vehicle.loop) as runner:
        runner.run(vehicle.run())


def _journalled(vehicle: Vehicle) -> Any:
    """A processor that writes what the agent says of fires and clips into the journal too."""

    def see(logger: Any, method: str, event: Any) -> Any:
        what = _JOURNALLED.get(str(event.get("event")))
        if what is not None:
            vehicle.write(what, **{k: v for k, v in event.items() if k not in ("event", "at_s")})
        return event

    return see
