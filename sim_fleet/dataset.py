"""Labelled drives on disk, by a recipe: what a model is first trained on, and measured on.

    OUT/<drive>/clip.mcap           the sensors, as a clip that any reader opens
    OUT/<drive>/labels/<mono_ns>.npz   labels of some of its instants (`contracts.labels`)

The same recipe gives the same bytes. A drive is first written under a name of its own and then
renamed, so one that is there is whole; `write_dataset` leaves it and goes on with the next.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import TAXONOMY
from contracts.labels import FrameLabels, labels_bytes
from contracts.samples import Sample
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from sim_fleet.drive import Tick
from sim_fleet.drives import SomeDrives, drive_name
from sim_fleet.export import write_drive
from sim_fleet.labelling import TruthLabeller
from sim_fleet.scenarios.spec import Strict
from sim_fleet.seeds import generator
from sim_fleet.source import DriveOptions, SimFleetSource

VEHICLE_ID = "sim-dataset"
_SETTLED_S = 1.0
_LAST_S = 0.3
"""Seconds without labels at both ends: a model looks back, a teacher ahead too."""


class DrivesSpec(SomeDrives):
    """Drives to label: an instant every `every_s`.

    `rare_frames` keeps no more labelled instants than that, and only ones that show a rare class
    that can be judged: the handful of examples that a first data set has of them.
    """

    every_s: float = Field(1.0, ge=0.1, le=60.0, multiple_of=0.1)
    rare_frames: int | None = Field(None, ge=1)


class DatasetSpec(Strict):
    """A recipe of drives, with the sensor set that all carry."""

    version: Literal["longtail/dataset/v1"] = Field(alias="apiVersion")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")
    sensors: Literal["s", "m"] = "s"
    drives: tuple[DrivesSpec, ...] = Field(min_length=1)


def read_dataset_spec(path: Path) -> DatasetSpec:
    """A recipe from its YAML file. Raises `InputError` with line and column."""
    return validate_located(DatasetSpec, parse_yaml(read_text(path), str(path)))


Progress = Callable[[int, int, str], None]
"""Called after each drive with its number from 1, how many there are, and its name."""


def write_dataset(
    spec: DatasetSpec, out: Path, progress: Progress = lambda done, of, name: None,
    every: int = 1,
) -> list[Path]:  # fmt: skip
    """Write every drive that is not there yet; returns the folders of all.

    Args:
        every: of the drives in the order of their names, every so many are meant.

    Raises `InputError` for an unknown scenario, or when two drives would be the same.
    """
    drives = list(_options(spec))
    names = [drive_name(options.scenario, options.seed) for _, options in drives]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"drives with the same scenario and seed: {', '.join(twice)}", spec.name)
    out.mkdir(parents=True, exist_ok=True)
    meant = set(sorted(names)[::every])
    folders: list[Path] = []
    for name, (drives_spec, options) in zip(names, drives, strict=True):
        if name in meant:
            folders.append(out / name)
            if not folders[-1].exists():
                _write(folders[-1], drives_spec, options)
            progress(len(folders), len(meant), name)
    return folders


def _options(spec: DatasetSpec) -> Iterator[tuple[DrivesSpec, DriveOptions]]:
    for drives in spec.drives:
        scenario = drives.staged()
        for seed in drives.all_seeds():
            yield drives, DriveOptions(
                scenario, seed, spec.sensors, drives.seconds, drives.vehicle_type,
                pictures_every=round(drives.every_s * 10),
            )  # fmt: skip


def _write(folder: Path, spec: DrivesSpec, options: DriveOptions) -> None:
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "labels").mkdir(parents=True)
    found: list[FrameLabels] = []

    def see(tick: Tick) -> None:
        if _SETTLED_S <= tick.t_s <= spec.seconds - _LAST_S and (labels := labeller.see(tick)):
            found.append(labels)

    source = SimFleetSource(options, see)
    described = source.describe()
    labeller = TruthLabeller(described, source.staged.world, spec.every_s)

    def watched(samples: Iterator[Sample]) -> Iterator[Sample]:
        for sample in samples:
            labeller.watch(sample)
            yield sample

    write_drive(partial / "clip.mcap", described, watched(source.samples()), VEHICLE_ID)
    for labels in _chosen(found, spec.rare_frames, options.seed):
        path = partial / "labels" / f"{labels.record.mono_ns}.npz"
        path.write_bytes(labels_bytes(labels))
    partial.rename(folder)


def _chosen(
    found: Sequence[FrameLabels], rare_frames: int | None, seed: int
) -> Sequence[FrameLabels]:
    """All of them, or the few that show a rare class."""
    if rare_frames is None:
        return found
    rare = [labels for labels in found if shows_rare(labels)]
    kept = generator(seed, "rare-frames").permutation(len(rare))[:rare_frames]
    return [rare[i] for i in np.sort(kept)]


def shows_rare(labels: FrameLabels) -> bool:
    """Whether a rare class is in the frame that somebody could judge."""
    rare = set(TAXONOMY.rare_names)
    return any(
        labelled.box.class_name in rare and not labelled.ignored for labelled in labels.record.boxes
    )
