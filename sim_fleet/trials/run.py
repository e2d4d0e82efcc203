"""Runs trials: each drive once, a few at a time, what is there already left alone.

    FOLDER/<key>.json    counts of one drive

A key is the digest of all that a drive follows from: its options, the model with its manifest, and
`VERSION`. So a second call computes nothing, and a call that was cut short goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from contracts.canonical import canonical_digest, canonical_json
from contracts.errors import CorruptError, InputError
from edge_agent.perception.bev import OnnxBevModel
from edge_agent.perception.manifests import verified_model
from edge_agent.perception.runtime import load_model
from sim_fleet.drivers.perceivers import TruthPerceiver
from sim_fleet.drivers.ports import Perceiver
from sim_fleet.drivers.student import StudentPerceiver
from sim_fleet.drives import SingleDrive
from sim_fleet.source import DriveOptions, SimFleetSource
from sim_fleet.trials.counting import Counting, Overheard
from sim_fleet.trials.processes import each_drive
from sim_fleet.trials.recipe import TrialsSpec
from sim_fleet.trials.report import TRUTH, DriveCounts, DriveTrial, TrialsReport

VERSION = 3
"""Raised by whoever changes how world, sensors or drivers behave, or what is counted."""

Told = Callable[[int, int, str], None]
"""Called after each drive with how many are done, how many there are, and its name."""


@dataclass(frozen=True, slots=True)
class Driver:
    """Who the planner hears: the model at `path`, or the truth where that is None."""

    path: Path | None
    model: str
    manifest_digest: str | None


def driver_of(model: Path | Literal["truth"]) -> Driver:
    """Raises `InputError` for a file that is no bird's-eye model with a manifest."""
    if model == "truth":
        return Driver(None, TRUTH, None)
    manifest = verified_model(model).manifest
    if manifest.bev is None:
        raise InputError("a model of images: the planner needs a bird's-eye one", str(model))
    return Driver(model, manifest.sha256, canonical_digest(manifest))


def run_trials(
    spec: TrialsSpec, model: Path | Literal["truth"], *, workers: int = 2,
    folder: Path | None = None, told: Told = lambda done, of, name: None,
) -> TrialsReport:  # fmt: skip
    """Drive all of a recipe by what a model sees, or by the truth: no model can do better.

    Args:
        workers: processes at a time; 1 drives in this one.
        folder: where each drive's counts are kept, and found again.

    Raises `InputError` for a model that no planner can drive by, `CorruptError` for a file in
    `folder` that is not what was written there.
    """
    driver = driver_of(model)
    slices, drives = zip(*spec.single(), strict=True)
    keys = [_key(drive, driver) for drive in drives]
    found: dict[int, DriveCounts] = {}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        found = {i: kept for i, key in enumerate(keys) if (kept := _kept(folder, key)) is not None}
    for done, i in enumerate(found, 1):
        told(done, len(drives), drives[i].name)
    missing = {i: (drive, driver) for i, drive in enumerate(drives) if i not in found}
    for i, counts in each_drive(drive_once, missing, workers):
        if folder is not None:
            _keep(folder, keys[i], counts)
        found[i] = counts
        told(len(found), len(drives), drives[i].name)
    return TrialsReport(
        recipe=spec.name, recipe_digest=canonical_digest(spec), model=driver.model,
        manifest_digest=driver.manifest_digest,
        drives=tuple(
            DriveTrial(name=drive.name, slice=slices[i], counts=found[i])
            for i, drive in enumerate(drives)
        ),
    )  # fmt: skip


def drive_once(drive: SingleDrive, driver: Driver) -> DriveCounts:
    """One drive, counted. Heavy: sensors are rendered where a model looks at them."""
    overheard = Overheard(_perceiver(driver))
    counting = Counting(overheard)
    options = DriveOptions(
        drive.scenario, drive.seed, drive.sensors if overheard.wants_samples else "light",
        drive.seconds, drive.vehicle_type, perceiver=overheard,
    )  # fmt: skip
    for _ in SimFleetSource(options, counting.see).samples():
        pass
    return counting.counts()


def _perceiver(driver: Driver) -> Perceiver:
    return TruthPerceiver() if driver.path is None else StudentPerceiver(model_of(driver))


def model_of(driver: Driver) -> OnnxBevModel:
    """The driver's model, opened. Raises `InputError` for the truth, or a file that has changed."""
    opened = None if driver.path is None else load_model(driver.path)
    if not isinstance(opened, OnnxBevModel) or opened.digest != driver.model:
        raise InputError("the file is not the model that it was", str(driver.path))
    return opened


def _key(drive: SingleDrive, driver: Driver) -> str:
    driven = drive.model_dump(mode="json", by_alias=True)
    return canonical_digest({
        "version": VERSION, "drive": driven, "model": driver.model,
        "manifest": driver.manifest_digest,
    })  # fmt: skip


def _kept(folder: Path, key: str) -> DriveCounts | None:
    path = folder / f"{key}.json"
    if not path.exists():
        return None
    try:
        return DriveCounts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptError(
            f"no counts of a drive: {error.errors()[0]['msg']}", str(path)
        ) from error


def _keep(folder: Path, key: str, counts: DriveCounts) -> None:
    fresh = folder / f".{key}.json"
    fresh.write_bytes(canonical_json(counts))
    fresh.rename(folder / f"{key}.json")
