"""A candidate in shadow on the simulated fleet: the active model drives, the candidate looks on.

Both see the very samples of each instant. Objects are compared as a vehicle's agent compares them
(`edge_agent.runtime.agreement`). The planner is asked twice, from what each model saw; where its
answers differ by `ACCEL_MPS2` or `OFFSET_M`, or by a change of lane, that is a disagreement. The
human, who sees the truth, decides it by what they would do at that very moment: for the one whose
plan differs from theirs by less, when the other's does not; where both do or neither, nobody has
decided.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from contracts.errors import LongtailError
from contracts.shadow_evidence import ShadowEvidence
from edge_agent.ports import BevModel
from edge_agent.runtime.agreement import Agreement
from sim_fleet.drive import Tick
from sim_fleet.drivers.policy import RulePlanner
from sim_fleet.drivers.ports import Moment, Perceived, Plan, Planner
from sim_fleet.drivers.student import StudentPerceiver
from sim_fleet.drives import SingleDrive
from sim_fleet.source import DriveOptions, SimFleetSource
from sim_fleet.trials.processes import each_drive
from sim_fleet.trials.recipe import TrialsSpec
from sim_fleet.trials.run import Driver, Told, driver_of, model_of

ACCEL_MPS2 = 1.5
OFFSET_M = 0.4
"""Beyond these, two plans are two different things to do."""

Counts = Counter[str]
"""Of `ShadowEvidence`'s names, for one drive."""


def run_shadow(
    spec: TrialsSpec, active: Path, candidate: Path, *, workers: int = 2,
    told: Told = lambda done, of, name: None,
) -> ShadowEvidence:  # fmt: skip
    """Drive a recipe by the active model, the candidate beside it; each drive is a vehicle.

    Raises `InputError` for a file that is no bird's-eye model with a manifest.
    """
    first, second = driver_of(active), driver_of(candidate)
    drives = [drive for _, drive in spec.single()]
    total: Counts = Counter()
    work = {i: (drive, first, second) for i, drive in enumerate(drives)}
    for done, (i, counts) in enumerate(each_drive(shadow_once, work, workers), 1):
        total.update(counts)
        told(done, len(drives), drives[i].name)
    return ShadowEvidence(
        candidate=second.model, active=first.model, vehicles=len(drives), **total_of(total)
    )


def total_of(counts: Counts) -> dict[str, int]:
    """The counts by the names of `ShadowEvidence`, zeros too."""
    return {name: counts[name] for name in _NAMES}


_NAMES = ("frames", "crashes", "agreed", "class_differs", "only_active", "only_candidate",
          "disagreements", "confirmed", "refuted")  # fmt: skip


def shadow_once(drive: SingleDrive, active: Driver, candidate: Driver) -> Counts:
    """One drive, counted. Heavy: renders and runs both models."""
    both = InShadow(model_of(active), model_of(candidate))
    options = DriveOptions(
        drive.scenario, drive.seed, drive.sensors, drive.seconds, drive.vehicle_type,
        perceiver=both,
    )  # fmt: skip
    counts: Counts = Counter()
    source = SimFleetSource(options, lambda tick: both.decide(tick, planner, counts))
    planner = RulePlanner(wanted_mps=source.staged.wanted_mps)
    for _ in source.samples():
        pass
    found = both.agreement
    counts.update(agreed=found.agreed, class_differs=found.class_differs,
                  only_active=found.only_active, only_candidate=found.only_candidate)  # fmt: skip
    return counts


class InShadow:
    """A perceiver that tells what the active model sees, and keeps what the candidate saw.

    Whatever the candidate raises is a crash, and never reaches the drive.
    """

    wants_samples = True

    def __init__(self, active: BevModel, candidate: BevModel) -> None:
        self._active = StudentPerceiver(active)
        self._candidate = StudentPerceiver(candidate)
        self._other: Perceived | None = None
        self.agreement = Agreement()

    def perceive(self, moment: Moment) -> Perceived:
        seen = self._active.perceive(moment)
        self._other = None
        try:
            other = self._candidate.perceive(moment)
        except LongtailError:
            return seen
        first, second = self._active.last, self._candidate.last
        if first is not None and second is not None:
            self._other = other
            self.agreement.add(first.detections, second.detections)
        return seen

    def decide(self, tick: Tick, planner: Planner, counts: Counts) -> None:
        """Count this instant, once the human has thought (`SimFleetSource`'s `on_tick`)."""
        if tick.plan is None or tick.own is None or tick.route is None:
            return
        if self._active.last is None:
            return
        counts["frames"] += 1
        if self._other is None:
            counts["crashes"] += 1
            return
        asked = planner.plan(tick.ego, tick.route, self._other)
        if alike(tick.plan, asked):
            return
        counts["disagreements"] += 1
        with_active, with_candidate = alike(tick.plan, tick.own), alike(asked, tick.own)
        if with_active != with_candidate:
            counts["confirmed" if with_candidate else "refuted"] += 1


def alike(one: Plan, other: Plan) -> bool:
    """Whether two plans ask for the same, as far as anybody in the car would notice."""
    return (
        abs(one.accel_mps2 - other.accel_mps2) < ACCEL_MPS2
        and abs(one.offset_m - other.offset_m) < OFFSET_M
        and one.change == other.change
    )
