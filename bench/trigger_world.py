"""Simulated drives through the agent's own drive, with the truth beside them.

`OracleModel` stands in for a perception model: it sees what the simulator says is there, with
noise, and makes the mistakes that it is told to make, so that what a trigger should have found is
known. Signals, lidar, radar and pictures are the simulator's; triggers and signals that follow from
others are the agent's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.geometry import TAXONOMY
from contracts.samples import (
    Cuboid,
    Detection,
    Float32s,
    ImageSample,
    PerceptionFrame,
    Sample,
    SignalSample,
)
from contracts.trigger_spec import LoadedSpec
from edge_agent.drive.drive import Drive
from edge_agent.drive.ring import Ring
from edge_agent.ports import SourceDescription
from edge_agent.runtime.shadow_model import disagreement
from edge_agent.signals.suitable import inactive_reason, signals_of
from kernels.triggers.engine import Fire, TriggerEngine
from kernels.triggers.likeness import references_of, score_names
from sim_fleet.classes import KIND_NAMES, Kind
from sim_fleet.drive import Tick
from sim_fleet.seeds import generator
from sim_fleet.sensors.rig import sensor_rig
from sim_fleet.source import START_NS, DriveOptions, SimFleetSource
from sim_fleet.world.oracle import OracleFrame

CAMERA = "/camera/front"
SEEN_M = 50.0
LEAST_VISIBILITY = 0.15
NO_DIGEST = "0" * 64
TOP_MPS = 60.0
NAMES = TAXONOMY.names
RING_BYTES = 1_000_000

Interval = tuple[float, float]
Change = Callable[[float, list[Detection], np.random.Generator], list[Detection]]
"""Makes a mistake: drive time, what would be told, a source of chance; what is told instead."""


def class_of(kind: int) -> str:
    """What the model would call an actor."""
    return "debris" if kind == Kind.CONE else KIND_NAMES[kind]


@dataclass
class OracleModel:
    """An `ImageModel` of the front camera that knows the truth of the instant.

    Attributes:
        hidden: classes that it never learned.
        change: the mistakes that it makes.
        embed: the embedding of a frame at a drive time.
    """

    seed: int = 0
    hidden: frozenset[str] = frozenset()
    change: Change = lambda _t, found, _rng: found
    embed: Callable[[float, np.random.Generator], Float32s] | None = None
    digest: str = NO_DIGEST
    class_names: tuple[str, ...] = NAMES
    truth: OracleFrame | None = None
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._rng = generator(self.seed, "oracle model")

    def detect(self, image: ImageSample, pixels: NDArray[np.uint8]) -> PerceptionFrame:
        t_s = (image.mono_ns - START_NS) / NS_PER_S
        found = self.change(t_s, self.seen(), self._rng)
        doubt = [1.0 - d.probability for d in found]
        margin = min((2 * d.probability - 1.0 for d in found), default=1.0)
        return PerceptionFrame(
            image.channel, image.mono_ns, self.digest, tuple(found),
            float(np.mean(doubt)) if doubt else 0.0, float(np.clip(margin, 0.0, 1.0)),
            None if self.embed is None else self.embed(t_s, self._rng),
        )  # fmt: skip

    def seen(self) -> list[Detection]:
        """What is visible about the vehicle, as a good model tells it."""
        truth = self.truth
        if truth is None:
            return []
        away = np.hypot(truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1])
        shown = np.nan_to_num(truth.visibility, nan=0.0)
        found = []
        for row in np.flatnonzero((away < SEEN_M) & (shown > LEAST_VISIBILITY)).tolist():
            name = class_of(int(truth.kind[row]))
            if name not in self.hidden:
                found.append(self._detection(truth, row, name))
        return found

    def _detection(self, truth: OracleFrame, row: int, name: str) -> Detection:
        jitter = self._rng.normal(0.0, 0.12, 3)
        probability = float(np.clip(self._rng.normal(0.86, 0.05), 0.6, 0.99))
        x, y, z = (truth.centre_ego_m[row] + jitter * (1.0, 1.0, 0.3)).tolist()
        length, width, height = truth.size_m[row].tolist()
        vx, vy = truth.velocity_ego_mps[row].tolist()
        spread = np.full(len(NAMES), (1 - probability) / (len(NAMES) - 1), np.float32)
        spread[NAMES.index(name)] = probability
        box = Cuboid((x, y, z), (length, width, height), float(truth.yaw_ego_rad[row]), (vx, vy))
        return Detection(None, name, probability, spread, box)


@dataclass
class DrivenDrive:
    """What came of a drive. `fires_s` by trigger, in drive time; `ticks` the simulator's."""

    fires_s: dict[str, list[float]]
    fires: list[Fire]
    ticks: list[Tick]
    seconds: float

    def intervals(self, holds: Callable[[Tick], bool], least_s: float = 0.0) -> list[Interval]:
        """Stretches of ticks for which something held, no shorter than so much."""
        return stretches(
            [tick.t_s for tick in self.ticks], [holds(tick) for tick in self.ticks], least_s
        )

    def observed(
        self, holds: Callable[[OracleFrame], bool], least_s: float = 0.0
    ) -> list[Interval]:
        """The same of the instants at which the truth was taken."""
        seen = [tick for tick in self.ticks if tick.truth is not None]
        held = [tick.truth is not None and holds(tick.truth) for tick in seen]
        return stretches([tick.t_s for tick in seen], held, least_s)


def stretches(
    times_s: Sequence[float], holds: Sequence[bool], least_s: float = 0.0
) -> list[Interval]:
    found: list[Interval] = []
    start: float | None = None
    for t_s, held in zip(times_s, holds, strict=True):
        if held and start is None:
            start = t_s
        elif not held and start is not None:
            found.append((start, t_s))
            start = None
    if start is not None:
        found.append((start, times_s[-1]))
    return [each for each in found if each[1] - each[0] >= least_s]


@dataclass(frozen=True)
class Watcher:
    """What looks at a drive.

    Attributes:
        model: sees each picture of the front camera; None looks at none.
        candidate: a model in shadow beside `model`, looking at each frame.
        more: signals beside the simulator's, for each tick.
        turned: motion along the road is turned round, so that it speeds up where the vehicle
            brakes.
    """

    model: OracleModel | None = None
    candidate: OracleModel | None = None
    more: Callable[[Tick], list[SignalSample]] = lambda _: []
    turned: bool = False


def driven(
    options: DriveOptions, specs: Sequence[LoadedSpec], model: OracleModel | None = None
) -> DrivenDrive:
    """Drive a scenario through the agent's drive."""
    return driven_for(options, specs, [Watcher(model)])[0]


def driven_for(
    options: DriveOptions, specs: Sequence[LoadedSpec], watchers: Sequence[Watcher]
) -> list[DrivenDrive]:
    """The same drive for each watcher, as if it were the only one; the sensors are simulated once.

    Of the cameras only the front one exists.
    """
    ticks: list[Tick] = []
    rig = sensor_rig(options.sensor_set, options.drift, options.vehicle_type)
    looks = any(each.model is not None for each in watchers)
    front = tuple(camera for camera in rig.cameras if looks and camera.channel == CAMERA)
    source = SimFleetSource(options, ticks.append, replace(rig, cameras=front))
    runs = [_Run(source.describe(), specs, each) for each in watchers]
    for tick, samples in instants(source, ticks):
        for run in runs:
            run.take(tick, samples)
    return [run.finished(specs, ticks, options.duration_s) for run in runs]


class _Run:
    """The agent's drive for one watcher."""

    def __init__(
        self, told: SourceDescription, specs: Sequence[LoadedSpec], watcher: Watcher
    ) -> None:
        self._watcher = watcher
        self._fires: list[Fire] = []
        self._frames = 0
        model = watcher.model
        cameras = told.camera_channels if model is not None else ()
        described = replace(
            told, signals=told.signals | {"driver.bookmark"}, camera_channels=cameras
        )
        self._drive = Drive(
            "bench", described, (), model, Ring(RING_BYTES), self._on_fire, lambda _: None
        )
        self._start(described, specs)

    def _start(self, described: SourceDescription, specs: Sequence[LoadedSpec]) -> None:
        """Compile the specs that can work here, as the runtime does, and swap them in."""
        model, candidate = self._watcher.model, self._watcher.candidate
        names = model.class_names if model is not None else ()
        signals = signals_of(described, names, candidate=candidate is not None)
        digest = model.digest if model is not None else None
        able = [s for s in specs if not inactive_reason(s.spec, signals, names, digest)]
        seed, references = f"bench/{described.boot_id}", references_of(able)
        engine = TriggerEngine(able, seed, score_names(names, references))
        self._drive.swap(engine, model, references)

    def _on_fire(self, fire: Fire, _: object) -> bool:
        self._fires.append(fire)
        return False

    def take(self, tick: Tick, samples: Sequence[Sample]) -> None:
        model, candidate = self._watcher.model, self._watcher.candidate
        for each in (model, candidate):
            if each is not None and tick.truth is not None:
                each.truth = tick.truth
        for sample in (*samples, *self._watcher.more(tick)):
            if model is None and isinstance(sample, ImageSample):
                continue
            self._drive.feed(_turned(sample) if self._watcher.turned else sample)
            if candidate is not None and model is not None and isinstance(sample, ImageSample):
                self._compare(model, candidate, sample.mono_ns)

    def _compare(self, model: OracleModel, candidate: OracleModel, now_ns: int) -> None:
        self._frames += 1
        t_s = (now_ns - START_NS) / NS_PER_S
        active = model.change(t_s, model.seen(), np.random.default_rng(0))
        other = candidate.change(t_s, candidate.seen(), np.random.default_rng(1))
        self._drive.tell([
            SignalSample("shadow.disagreement", now_ns, disagreement(active, other)),
            SignalSample("shadow.frames", now_ns, float(self._frames)),
        ])  # fmt: skip

    def finished(
        self, specs: Sequence[LoadedSpec], ticks: list[Tick], seconds: float
    ) -> DrivenDrive:
        self._drive.finish()
        by_trigger: dict[str, list[float]] = {loaded.spec.id: [] for loaded in specs}
        for fire in self._fires:
            by_trigger[fire.loaded.spec.id].append((fire.fired_mono_ns - START_NS) / NS_PER_S)
        return DrivenDrive(by_trigger, self._fires, ticks, seconds)


def _turned(sample: Sample) -> Sample:
    """Speed counted down from `TOP_MPS`, and acceleration with the other sign."""
    if not isinstance(sample, SignalSample):
        return sample
    if sample.name == "ego.speed_mps":
        return replace(sample, value=TOP_MPS - sample.value)
    return replace(sample, value=-sample.value) if sample.name == "ego.accel_mps2" else sample


def instants(source: SimFleetSource, ticks: list[Tick]) -> Iterator[tuple[Tick, list[Sample]]]:
    """The samples of each instant with its tick, which the source tells after the last of them."""
    held: list[Sample] = []
    done = 0
    for sample in source.samples():
        if len(ticks) > done:
            yield ticks[-1], held
            done, held = len(ticks), []
        held.append(sample)
    if held:
        yield ticks[-1], held
