"""Faults as data: scripts that say what breaks how often, and when each one strikes.

A script is YAML; those that come with the package are named after their file:

    apiVersion: longtail/sim-faults/v1
    faults:
      - {kind: power_cut, during: drive, times: 2}

| kind             | what happens                                                                |
|------------------|-----------------------------------------------------------------------------|
| power_cut        | SIGKILL of the vehicle's process: while it drives, packs or uploads         |
| disk_full        | the spool has room for `room` on one trip                                   |
| clock_jump       | wall time jumps by `by` on a trip and is still wrong at the next start      |
| corrupted_part   | one bit of a part changes on its way                                        |
| server_restart   | SIGKILL of the receiver in the middle of a part; it comes back on its store |
| sensor_dropout   | channels matching `channels` are silent for `lasting`                       |
| extrinsics_drift | the sensors of one trip sit `yaw_deg` from where calibration has them       |

Where a fault strikes is drawn from the seed. One that needs a transfer waits for the vehicle's
next one. Reading and placing are pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from contracts.errors import InputError
from contracts.quantities import Bytes, DurationNs
from contracts.signals import nearest_name
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from contracts.trigger_spec import Strict
from sim_fleet.fleet.schedule import Plain, VehiclePlan
from sim_fleet.seeds import generator

FOLDER = Path(__file__).parent / "fault_scripts"
SHORTEST_TRIP_S = 20.0

FaultKind = Literal[
    "power_cut", "disk_full", "clock_jump", "corrupted_part", "server_restart", "sensor_dropout",
    "extrinsics_drift",
]  # fmt: skip
NEEDS_UPLOAD = frozenset({"corrupted_part", "server_restart"})


class FaultSpec(Strict):
    """One line of a script. `times` is how often it strikes in the whole run."""

    kind: FaultKind
    times: int = Field(1, ge=1, le=1000)
    during: Literal["drive", "pack", "upload"] = "drive"
    room: Bytes = 64 * 1024
    by: DurationNs = 3600 * 10**9
    backwards: bool = False
    channels: tuple[str, ...] = ("/signals/ego.*",)
    lasting: DurationNs = 8 * 10**9
    yaw_deg: float = Field(1.5, gt=0, le=20)


class FaultScript(Strict):
    """A fault file."""

    version: Literal["longtail/sim-faults/v1"] = Field(alias="apiVersion")
    faults: tuple[FaultSpec, ...]


class PlannedFault(Plain):
    """A fault with its place: `at_s` into the drive of a vehicle's trip.

    `share` says how far into a part's body, or into the steps of a clip's writing, it strikes.
    """

    name: str
    spec: FaultSpec
    vehicle_id: str
    trip: int
    at_s: float
    share: float

    @property
    def waits_for_upload(self) -> bool:
        return self.spec.kind in NEEDS_UPLOAD or self.is_cut_during("upload")

    @property
    def waits(self) -> bool:
        """Whether it stays armed until it has something to strike in."""
        return self.waits_for_upload or self.is_cut_during("pack")

    def is_cut_during(self, phase: str) -> bool:
        return self.spec.kind == "power_cut" and self.spec.during == phase


def script_names() -> tuple[str, ...]:
    """The scripts that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_faults(wanted: str) -> tuple[FaultSpec, ...]:
    """The faults of `all`, `none`, a YAML file, or names with commas between.

    Raises `InputError` for an unknown name, or the file's place that is wrong.
    """
    if wanted == "none":
        return ()
    if wanted.endswith((".yaml", ".yml")):
        return _read(Path(wanted))
    names = script_names() if wanted == "all" else tuple(wanted.split(","))
    found: list[FaultSpec] = []
    for name in names:
        if name not in script_names():
            known = ", ".join(("all", "none", *script_names()))
            raise InputError(
                f"no fault script {name!r}{nearest_name(name, script_names())}; known: {known}",
                "--faults",
            )
        found += _read(FOLDER / f"{name}.yaml")
    return tuple(found)


def _read(path: Path) -> tuple[FaultSpec, ...]:
    located = parse_yaml(read_text(path), str(path))
    found = validate_located(FaultScript, located).faults
    if not found:
        raise InputError("a fault script has one fault at least", located.place(("faults",)))
    return found


def place_faults(
    specs: Sequence[FaultSpec], vehicles: Sequence[VehiclePlan], seed: int
) -> tuple[PlannedFault, ...]:
    """When and where each fault strikes; a trip has one, while there are enough of them.

    Raises `InputError` when no trip is long enough.
    """
    trips = [(vehicle, trip) for vehicle in vehicles for trip in vehicle.trips
             if trip.drive_s >= SHORTEST_TRIP_S]  # fmt: skip
    if specs and not trips:
        raise InputError(
            f"a fault needs a trip of {SHORTEST_TRIP_S:g} s, and none is as long: simulate more "
            "--hours, or more --drive-minutes-per-day", "--faults",
        )  # fmt: skip
    rng = generator(seed, "faults")
    free = list(range(len(trips)))
    placed: list[PlannedFault] = []
    for spec in specs:
        for _ in range(spec.times):
            free = free or list(range(len(trips)))
            early = [i for i in free if not _too_late(spec, *trips[i])] or free
            drawn = early[int(rng.integers(len(early)))]
            free.remove(drawn)
            vehicle, trip = trips[drawn]
            placed.append(
                PlannedFault(
                    name=f"{spec.kind}-{len(placed) + 1}", spec=spec,
                    vehicle_id=vehicle.vehicle_id, trip=trip.index,
                    at_s=round(float(rng.uniform(0.25, 0.75)) * trip.drive_s, 1),
                    share=round(float(rng.uniform(0.05, 0.95)), 3),
                )
            )  # fmt: skip
    return tuple(placed)


def _too_late(spec: FaultSpec, vehicle: VehiclePlan, trip: object) -> bool:
    """What waits for a transfer is better not put on a vehicle's last trip."""
    driven = [each for each in vehicle.trips if each.drive_s > 0]
    return spec.kind in NEEDS_UPLOAD and len(driven) > 1 and trip is driven[-1]
