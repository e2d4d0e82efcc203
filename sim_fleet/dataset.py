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
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.geometry import TAXONOMY, BevGrid
from contracts.labels import FrameLabels, labels_bytes
from contracts.samples import LidarSample, MountSample, Sample
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from sim_fleet.drive import PLAN_EVERY, Tick
from sim_fleet.export import write_drive
from sim_fleet.labels import ego_points, labels_of
from sim_fleet.scenarios.library import built_in
from sim_fleet.scenarios.spec import Strict, TrafficSpec, WeatherSpec, merged
from sim_fleet.seeds import generator
from sim_fleet.sensors.surroundings import Surveyor
from sim_fleet.source import START_NS, DriveOptions, SimFleetSource

VEHICLE_ID = "sim-dataset"
GROUND_GRID = BevGrid(x_min_m=-32.0, y_min_m=-51.2, cell_m=0.8, rows=128, columns=128)
"""Where the ground is labelled: the output grid of both sizes of the student."""
_SETTLED_S = 1.0
_LAST_S = 0.3
"""Seconds without labels at both ends: a model looks back, a teacher ahead too."""


class DrivesSpec(Strict):
    """Some drives of one scenario. `seeds` are the first and how many; a label every `every_s`.

    `rare_frames` keeps no more labelled instants than that, and only ones that show a rare class
    that can be judged: the handful of examples that a first data set has of them.
    """

    scenario: str
    seeds: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1, le=10_000)]]
    seconds: float = Field(20.0, ge=2.0, le=600.0)
    every_s: float = Field(1.0, ge=0.1, le=60.0, multiple_of=0.1)
    traffic: TrafficSpec | None = None
    weather: WeatherSpec | None = None
    tod: Literal["day", "dusk", "night", "glare"] | None = None
    vehicle_type: Literal["car", "van", "truck"] = "car"
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
    spec: DatasetSpec, out: Path, progress: Progress = lambda done, of, name: None
) -> list[Path]:
    """Write every drive that is not there yet; returns the folders of all.

    Raises `InputError` for an unknown scenario, or when two drives would be the same.
    """
    drives = list(_options(spec))
    names = [f"{options.scenario.id}-{options.seed}" for _, options in drives]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"drives with the same scenario and seed: {', '.join(twice)}", spec.name)
    out.mkdir(parents=True, exist_ok=True)
    folders = []
    for number, (name, (drives_spec, options)) in enumerate(zip(names, drives, strict=True), 1):
        folder = out / name
        if not folder.exists():
            _write(folder, drives_spec, options)
        folders.append(folder)
        progress(number, len(drives), name)
    return folders


def _options(spec: DatasetSpec) -> Iterator[tuple[DrivesSpec, DriveOptions]]:
    for drives in spec.drives:
        scenario = built_in().scenario(drives.scenario)
        over = {
            name: value
            for name in ("traffic", "weather", "tod")
            if (value := getattr(drives, name)) is not None
        }
        if over:
            own = scenario.model_construct(_fields_set=set(over), **over)
            scenario = merged(scenario, own)
        first, count = drives.seeds
        for seed in range(first, first + count):
            yield drives, DriveOptions(
                scenario, seed, spec.sensors, drives.seconds, drives.vehicle_type,
                pictures_every=round(drives.every_s * 10),
            )  # fmt: skip


def _write(folder: Path, spec: DrivesSpec, options: DriveOptions) -> None:
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "labels").mkdir(parents=True)
    labeller = _Labeller(spec)
    source = SimFleetSource(options, labeller.see)
    labeller.watch(source)
    write_drive(
        partial / "clip.mcap", source.describe(), labeller.watched(source.samples()), VEHICLE_ID
    )
    for labels in labeller.chosen(options.seed):
        path = partial / "labels" / f"{labels.record.mono_ns}.npz"
        path.write_bytes(labels_bytes(labels))
    partial.rename(folder)


class _Labeller:
    """Labels the wanted instants of one drive as it goes by."""

    def __init__(self, spec: DrivesSpec) -> None:
        self._spec = spec
        self._every_ticks = round(spec.every_s * 10) * PLAN_EVERY
        self._drive_id = ""
        self._tags: dict[str, str] = {}
        self._surveyor: Surveyor | None = None
        self._found: list[FrameLabels] = []
        self._sweep: LidarSample | None = None
        self._mount: MountSample | None = None

    def watch(self, source: SimFleetSource) -> None:
        """The source whose drive is labelled."""
        described, world = source.describe(), source.staged.world
        self._drive_id, self._tags = described.drive_id, dict(described.labels)
        self._surveyor = Surveyor(world.roads, world.conditions)

    def watched(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        """The samples as they are, the newest sweep kept."""
        for sample in samples:
            if isinstance(sample, LidarSample):
                self._sweep = sample
            elif isinstance(sample, MountSample):
                self._mount = sample
            yield sample

    def see(self, tick: Tick) -> None:
        """Called after the samples of each instant."""
        late = tick.t_s > self._spec.seconds - _LAST_S
        if tick.index % self._every_ticks or tick.t_s < _SETTLED_S or late:
            return
        if tick.truth is None or self._sweep is None or self._mount is None or not self._surveyor:
            # Every labelled instant is a planner's one, and every set here has a lidar.
            raise InputError(f"nothing to label the instant at {tick.t_s:.2f} s by", self._drive_id)
        self._found.append(
            labels_of(
                tick.truth, ego_points(self._sweep, self._mount),
                self._surveyor.ground(tick.ego.x_m, tick.ego.y_m), GROUND_GRID,
                drive_id=self._drive_id, mono_ns=START_NS + round(tick.t_s * NS_PER_S),
                tags=self._tags,
            )
        )  # fmt: skip

    def chosen(self, seed: int) -> Sequence[FrameLabels]:
        """All of them, or the few that show a rare class."""
        if self._spec.rare_frames is None:
            return self._found
        rare = [labels for labels in self._found if shows_rare(labels)]
        rng = generator(seed, "rare-frames")
        kept = rng.permutation(len(rare))[: self._spec.rare_frames]
        return [rare[i] for i in np.sort(kept)]


def shows_rare(labels: FrameLabels) -> bool:
    """Whether a rare class is in the frame that somebody could judge."""
    rare = set(TAXONOMY.rare_names)
    return any(
        labelled.box.class_name in rare and not labelled.ignored for labelled in labels.record.boxes
    )
