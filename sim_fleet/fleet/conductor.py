"""Runs a fleet: vehicles as processes against one real receiver, then looks at what is true.

Each start of a vehicle is a process forked from one that has everything loaded; a few run at a
time, each on its own virtual time. A vehicle whose power was cut starts again on the same files:
in the same trip when it was driving, else at its next. When all are home, every ledger, spool and
row of the cloud is read, and the invariants are checked on that.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import InputError, TransientError
from contracts.trigger_spec import load_specs
from edge_agent.cli import published_specs
from edge_agent.perception.sessions import SharedSessions
from edge_agent.spool.folder import list_spool
from sim_fleet.fleet.facts import FleetFacts, Limits
from sim_fleet.fleet.faults import FaultSpec, PlannedFault, place_faults
from sim_fleet.fleet.gather import ledger_day, read_cloud, read_vehicle
from sim_fleet.fleet.invariants import check_all
from sim_fleet.fleet.job import BootJob, OrderSettings, TruthSettings, VehicleSettings
from sim_fleet.fleet.journal import read_journal
from sim_fleet.fleet.links import link_trace
from sim_fleet.fleet.report import FleetReport, invariant_reports
from sim_fleet.fleet.schedule import Trip, VehiclePlan, plan_vehicle
from sim_fleet.fleet.server import ReceiverProcess, address_of
from sim_fleet.fleet.summary import fault_reports, moments_of, vehicle_report
from sim_fleet.fleet.tour import plan_tour, with_wakes
from sim_fleet.fleet.vehicle import run_vehicle, student_of
from sim_fleet.trials.recipe import TrialsSpec

REBOOT_S = 20.0
START_TIMEOUT_S = 3600.0
DEFAULT_DRIVE_MINUTES = 4.0
MARK = ".longtail-fleet"


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What to run. `out` keeps all there is to look at afterwards; what an earlier
    run left there goes first.

    `drive_minutes_per_day` is how much of a day's driving is simulated; `url` an existing
    receiver, which then is not restarted; `spool_quota_bytes` each vehicle's room for clips.
    With a `tour` the vehicles drive those drives, once, within one day; its sensor set is theirs.
    `truth` is a folder for labels of all that is driven, an instant every `truth_every_s`.

    On a `day` after the first the vehicles of the day before go on, with all that they hold; it is
    a tour. With `trust`, a receiver's anchors, vehicles take orders over the air while they stand
    at a wifi; what they then run, their planners drive by. A new model is kept for good after
    `soak_driving_s` of driving.
    """

    out: Path
    vehicles: int = 4
    hours: float = 24.0
    seed: int = 0
    sensors: str = "light"
    drive_minutes_per_day: float = DEFAULT_DRIVE_MINUTES
    faults: tuple[FaultSpec, ...] = ()
    model: Path | None = None
    specs: tuple[Path, ...] = ()
    workers: int = 2
    url: str | None = None
    cellular_bytes_per_day: int = 8 * 10**6
    clips_per_day: int = 300
    bytes_per_day: int = 4 * 10**9
    spool_quota_bytes: int = 256 * 10**6
    tour: TrialsSpec | None = None
    truth: Path | None = None
    truth_every_s: float = 0.1
    day: int = 0
    trust: Path | None = None
    soak_driving_s: float = 1800.0
    told: Callable[[str], None] = field(default=lambda _: None)

    @property
    def carried(self) -> str:
        """The sensor set of all vehicles: a tour says its own."""
        return self.sensors if self.tour is None else self.tour.sensors

    @property
    def lasting_h(self) -> float:
        """Fleet time that is simulated: a tour takes a day."""
        return self.hours if self.tour is None else 24.0


def inapplicable(spec: FaultSpec, options: FleetOptions) -> str | None:
    """Why a fault cannot strike in this run; None when it can."""
    if spec.kind == "extrinsics_drift" and options.carried == "light":
        return "vehicles with light sensors carry no camera or lidar that could drift"
    if spec.kind == "server_restart" and options.url is not None:
        return "the receiver is not this run's own"
    return None


def plan_fleet(options: FleetOptions) -> tuple[VehiclePlan, ...]:
    """All vehicles' plans. Raises `InputError` for options that make no fleet."""
    if not 1 <= options.vehicles <= 999:
        raise InputError("a fleet has 1 to 999 vehicles", "--vehicles")
    if options.tour is not None:
        plans = plan_tour(options.tour, options.vehicles, options.seed, options.day)
    else:
        plans = tuple(
            plan_vehicle(options.seed, number, options.hours, options.drive_minutes_per_day)
            for number in range(options.vehicles)
        )
    return plans if options.trust is None else tuple(with_wakes(plan) for plan in plans)


def run_fleet(options: FleetOptions) -> FleetReport:
    """Run it all and check it. Whether the invariants hold is in the report.

    Raises `InputError` for faults that cannot strike, `TransientError` when a process fails in a
    way that no fault explains.
    """
    for spec in options.faults:
        reason = inapplicable(spec, options)
        if reason is not None:
            raise InputError(f"fault {spec.kind}: {reason}", "--faults")
    if options.model is not None:
        if options.carried == "light":
            raise InputError("a model needs sensors s or m", "--model")
        student_of(options.model, SharedSessions())  # refused here rather than in a vehicle
    _check_days(options)
    if options.truth is not None and options.carried == "light":
        raise InputError("truth is labelled by what a lidar meets: sensors s or m", "--truth")
    begin_s = time.monotonic()
    plans = plan_fleet(options)
    minutes = options.drive_minutes_per_day
    if options.tour is not None:
        minutes = round(sum(plan.drive_s for plan in plans) / 60.0 / len(plans), 3)
    faults = place_faults(options.faults, plans, options.seed)
    if options.day == 0:
        _empty(options.out)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sim_fleet.fleet.warm"])
    own = None if options.url else ReceiverProcess(options.out)
    with own or nullcontext():
        url = own.url if own is not None else options.url or ""
        crews = [
            _Crew(options, plan, [f for f in faults if f.vehicle_id == plan.vehicle_id],
                  url, own.pid_file if own is not None else None, context)
            for plan in plans
        ]  # fmt: skip
        with ThreadPoolExecutor(options.workers, thread_name_prefix="vehicle") as pool:
            # Longest first, so that nobody is left alone at the end.
            order = sorted(crews, key=lambda crew: -crew.plan.drive_s)
            list(pool.map(_Crew.run, order))
        facts = _facts(options, crews, url)
        restarts = own.restarts if own is not None else 0
    journals = {crew.plan.vehicle_id: crew.journal() for crew in crews}
    return FleetReport(
        seed=options.seed, hours=options.lasting_h, sensors=options.carried,
        drive_minutes_per_day=minutes,
        cpu_s=sum(r.get("cpu_s", 0.0) for rows in journals.values() for r in rows),
        wall_s=round(time.monotonic() - begin_s, 2), server_restarts=restarts,
        stalls=sum(r.get("stalls", 0) for rows in journals.values() for r in rows),
        vehicles=tuple(
            vehicle_report(crew.plan, vehicle, facts, journals[crew.plan.vehicle_id],
                           crew.vehicle)
            for crew, vehicle in zip(crews, facts.vehicles, strict=True)
        ),
        faults=fault_reports(faults, journals),
        invariants=invariant_reports(check_all(facts)),
        moments=moments_of(journals),
    )  # fmt: skip


def _check_days(options: FleetOptions) -> None:
    if options.trust is not None and options.url is None:
        raise InputError("whose orders? name the receiver: --url", "--trust")
    if options.day == 0:
        return
    if options.tour is None or options.faults:
        raise InputError("a later day is a tour, without faults", "--day")
    if not (options.out / MARK).exists():
        raise InputError("no fleet of the day before is here", str(options.out))


def _empty(out: Path) -> None:
    """An empty folder of ours. Raises `InputError` for one that holds something else."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise InputError("the folder is not empty, and not one of an earlier run", str(out))
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text("Made by `longtail sim run`, and emptied by its next run.\n")


def _facts(options: FleetOptions, crews: Sequence[_Crew], url: str) -> FleetFacts:
    names = [crew.plan.vehicle_id for crew in crews]
    folder = options.out / "checked"
    folder.mkdir(exist_ok=True)
    clips, events = read_cloud(url, folder, None if options.url is None else names)
    folder.rmdir()
    specs = [loaded for path in _specs(options) for loaded in load_specs(path)]
    return FleetFacts(
        tuple(read_vehicle(crew.vehicle, crew.days) for crew in crews), clips, events,
        Limits(options.cellular_bytes_per_day, options.clips_per_day, options.bytes_per_day,
               {loaded.spec.id: loaded.spec.budget.clips_per_day for loaded in specs}),
    )  # fmt: skip


def _specs(options: FleetOptions) -> tuple[Path, ...]:
    return options.specs or (published_specs(),)


class _Crew:
    """Sees one vehicle through all its trips."""

    def __init__(
        self, options: FleetOptions, plan: VehiclePlan, faults: Sequence[PlannedFault], url: str,
        pid_file: Path | None, context: Any,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.boots: set[str] = set()
        self._options = options
        self._faults = list(faults)
        self._address = address_of(url)
        self._pid_file = pid_file
        self._context = context
        self._relay_port = 0
        self._struck: set[str] = set()
        self._wall_error_ns = 0
        self.vehicle = VehicleSettings(
            vehicle_id=plan.vehicle_id, vehicle_type=plan.vehicle_type, blind_to=plan.blind_to,
            folder=(options.out / "vehicles" / plan.vehicle_id).resolve(), seed=options.seed,
            sensors=options.carried, model=options.model and options.model.resolve(),
            specs=_specs(options),
            trace=link_trace(options.seed, plan.vehicle_id, plan.trips),
            cellular_bytes_per_day=options.cellular_bytes_per_day,
            clips_per_day=options.clips_per_day, bytes_per_day=options.bytes_per_day,
            truth=options.truth and TruthSettings(
                folder=options.truth.resolve(), every_s=options.truth_every_s
            ),
            orders=options.trust and OrderSettings(
                trust=options.trust.resolve(), soak_driving_s=options.soak_driving_s
            ),
        )  # fmt: skip
        self._days_file = self.vehicle.folder / "days.json"
        self.days: dict[str, int] = {}

    def run(self) -> None:
        """All trips in order."""
        self.vehicle.folder.mkdir(parents=True, exist_ok=True)
        if self._days_file.exists():
            self.days = json.loads(self._days_file.read_text())
        for trip in self.plan.trips:
            skip_s: float | None = 0.0
            number = 1
            while skip_s is not None:
                skip_s = self._start(trip, f"{self.plan.vehicle_id}-t{trip.index}-{number}", skip_s)
                number += 1
        self._days_file.write_text(json.dumps(self.days))
        self._options.told(f"{self.plan.vehicle_id} is home")

    def journal(self) -> list[dict[str, Any]]:
        """What was written on this run's starts."""
        return [r for r in read_journal(self.vehicle.journal) if r.get("boot") in self.boots]

    def _start(self, trip: Trip, boot_id: str, skip_s: float) -> float | None:
        """One start; where in the trip the vehicle starts again, None when the trip is over."""
        self.boots.add(boot_id)
        faults = [fault for fault in self._faults if fault.name not in self._struck and (
            fault.trip == trip.index or (fault.waits and fault.trip < trip.index))]  # fmt: skip
        job = BootJob(
            vehicle=self.vehicle, trip=trip, boot_id=boot_id, skip_s=skip_s,
            wall_error_ns=self._wall_error_ns, faults=tuple(faults), server=self._address,
            server_pid=self._pid_file, relay_port=self._relay_port,
            spool_quota_bytes=self._quota(faults),
        )  # fmt: skip
        process = self._context.Process(target=run_vehicle, args=(job.model_dump_json(),))
        process.start()
        process.join(START_TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
            raise TransientError(f"{boot_id} did not end", str(self.vehicle.folder))
        return self._after(trip, boot_id, process.exitcode, faults)

    def _after(
        self, trip: Trip, boot_id: str, exit_code: int, faults: Sequence[PlannedFault]
    ) -> float | None:
        records = [r for r in read_journal(self.vehicle.journal) if r.get("boot") == boot_id]
        if (self.vehicle.state / "ledger.sqlite").exists():
            self.days[boot_id] = ledger_day(self.vehicle.state)
        self._struck |= {str(r["fault"]) for r in records if r["what"] in ("fault", "power_cut")}
        self._struck |= {fault.name for fault in faults if not fault.waits}
        self._wall_error_ns = sum(
            -fault.spec.by if fault.spec.backwards else fault.spec.by
            for fault in faults if fault.spec.kind == "clock_jump" and fault.trip == trip.index
        )  # fmt: skip
        cut = next((r for r in records if r["what"] == "power_cut"), None)
        if exit_code == 0:
            self._relay_port = next(r["relay_port"] for r in records if r["what"] == "end")
            return None
        if exit_code != -signal.SIGKILL or cut is None:
            raise TransientError(
                f"{boot_id} ended with {exit_code}; its log tells why",
                str(self.vehicle.folder / "agent.log"),
            )
        resumes = next(f for f in faults if f.name == cut["fault"]).is_cut_during("drive")
        skip_s = round(float(cut["drive_s"]) + REBOOT_S, 1)
        return skip_s if resumes and skip_s + 5.0 < trip.drive_s else None

    def _quota(self, faults: Sequence[PlannedFault]) -> int:
        """Room for clips: on a full disk what waits now, and a little more."""
        full = [fault for fault in faults if fault.spec.kind == "disk_full"]
        if not full:
            return self._options.spool_quota_bytes
        rows = list_spool(self.vehicle.state / "spool")
        held = sum(row.size_bytes for row in rows
                   if row.entry is None or row.entry.state == "queued")  # fmt: skip
        return held + min(fault.spec.room for fault in full)
