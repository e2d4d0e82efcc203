"""A simulated drive as the agent's `SensorSource`.

`SimFleetSource(scenario, seed, sensor_set, duration_s)` is made by the one who runs the fleet
and handed to `edge_agent.app.Agent`; nothing in the agent knows of it. The same arguments give
the same bytes of every sample. Each sensor draws from its own stream, so leaving one out
changes nothing of the others.

A perceiver that wants samples gets all that its sensors gave since it was last asked (poses,
sweeps, pictures, radar, and first of all calibrations and mounts) before it plans.

Signals and pose at 50 Hz; lidar, cameras, radar and plan at 10 Hz; GNSS at 1 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import simplejpeg

from contracts.clock import NS_PER_DAY, NS_PER_S, ClockQuality
from contracts.samples import ImageSample, PlanSample, RadarSample, Sample
from edge_agent.ports import SourceDescription
from sim_fleet.drive import PLAN_EVERY, SimDrive, Tick
from sim_fleet.drivers.human import Human
from sim_fleet.drivers.perceivers import TruthPerceiver
from sim_fleet.drivers.policy import RulePlanner
from sim_fleet.drivers.ports import Moment, Perceiver, Planner
from sim_fleet.scenarios.build import Staged, stage
from sim_fleet.scenarios.spec import ScenarioSpec
from sim_fleet.seeds import generator
from sim_fleet.sensors.camera import CameraSpec, render
from sim_fleet.sensors.inertial import SIGNALS, Inertial, lead_signals
from sim_fleet.sensors.lidar import sweep
from sim_fleet.sensors.mounts import Drift
from sim_fleet.sensors.radar import tracks_of
from sim_fleet.sensors.rig import Rig, sensor_rig
from sim_fleet.sensors.surroundings import Surroundings
from sim_fleet.world.oracle import OracleFrame
from sim_fleet.world.world import RATE_HZ, STEP_S

START_NS = 100 * NS_PER_S
JPEG_QUALITY = 85
_FIRST_UTC_NS = 1_748_779_200 * NS_PER_S  # 2025-06-01T12:00:00Z
_HOUR_OF = {"day": 0, "glare": 6, "dusk": 8, "night": 11}
"""Hours after the first noon at which drives of each time of day begin."""


@dataclass(frozen=True, slots=True)
class DriveOptions:
    """What to drive. `drift` is by channel; `vehicle_type` says how high the sensors sit;
    `planner_of` and `perceiver` stand in for the rules and the truth; `perceiver_of` makes one
    for each run, as one that remembers needs it. Cameras take a picture at
    every `pictures_every`-th of the ten instants a second: a data set that labels one instant a
    second needs no more.
    """

    scenario: ScenarioSpec
    seed: int = 0
    sensor_set: str = "light"
    duration_s: float = 20.0
    vehicle_type: str = "car"
    drift: dict[str, Drift] = field(default_factory=dict)
    planner_of: Callable[[Staged], Planner] | None = None
    perceiver: Perceiver | None = None
    perceiver_of: Callable[[], Perceiver] | None = None
    pictures_every: int = 1


class SimFleetSource:
    """`SensorSource` over one simulated drive.

    Args:
        on_tick: sees each instant with its truth.
        rig: sensors of the caller's own, in place of the set that the options name.
    """

    def __init__(
        self, options: DriveOptions, on_tick: Callable[[Tick], None] = lambda _: None,
        rig: Rig | None = None,
    ) -> None:  # fmt: skip
        self._options = options
        self._on_tick = on_tick
        self._rig = rig or sensor_rig(options.sensor_set, options.drift, options.vehicle_type)
        self._staged = stage(options.scenario, options.seed)

    @property
    def rig(self) -> Rig:
        return self._rig

    @property
    def staged(self) -> Staged:
        return self._staged

    def describe(self) -> SourceDescription:
        options, world = self._options, self._staged.world
        name = f"{options.scenario.id}-{options.seed}"
        hours = _HOUR_OF[world.conditions.tod]
        utc_ns = _FIRST_UTC_NS + options.seed % 3000 * NS_PER_DAY + hours * 3600 * NS_PER_S
        return SourceDescription(
            drive_id=f"fleet-{name}"[:128],
            boot_id=f"fleet-{name}-{options.duration_s:g}s-{self._rig.name}"[:128],
            utc_minus_mono_ns=utc_ns - START_NS,
            clock=ClockQuality(synchronised=True, offset_ns=0, source="simulated"),
            signals=SIGNALS,
            camera_channels=tuple(camera.channel for camera in self._rig.cameras),
            lidar_channels=tuple(lidar.channel for lidar in self._rig.lidars),
            has_pose=True, has_plan=True, has_radar=True,
            labels={
                "weather": world.conditions.weather, "tod": world.conditions.tod,
                "road_type": world.roads.road_type, "region": world.roads.region,
                "season": world.conditions.season, "vehicle_type": options.vehicle_type,
                "scenario": options.scenario.id,
            },
        )  # fmt: skip

    def drive(self) -> SimDrive:
        """A new run of the same drive."""
        options, staged = self._options, self._staged
        make = options.planner_of or (lambda given: RulePlanner(wanted_mps=given.wanted_mps))
        perceiver = options.perceiver_of() if options.perceiver_of else options.perceiver
        reaction = float(generator(options.seed, "human").uniform(0.2, 0.45))
        return SimDrive(
            staged.world, staged.ego, make(staged), perceiver or TruthPerceiver(),
            human=Human(reaction), autonomy=staged.autonomy, wanted_mps=staged.wanted_mps,
        )  # fmt: skip

    def samples(self) -> Iterator[Sample]:
        run = _Recording(self._options, self._rig, self.describe().utc_minus_mono_ns,
                         self._staged.world.roads.region)  # fmt: skip
        drive = self.drive()
        yield from run.latched(drive)
        for _ in range(round(self._options.duration_s * RATE_HZ)):
            yield from run.instant(drive, self._on_tick)


class _Recording:
    """The sensors of one run, with their streams of noise."""

    def __init__(self, options: DriveOptions, rig: Rig, utc_minus_mono_ns: int, region: str
                 ) -> None:  # fmt: skip
        self._rig = rig
        self._offset_ns = utc_minus_mono_ns
        self._pictures_ticks = PLAN_EVERY * options.pictures_every
        self._inertial = Inertial(options.seed, region)
        channels = [*(c.channel for c in rig.cameras), *(each.channel for each in rig.lidars)]
        self._rngs = {name: generator(options.seed, name) for name in channels}
        self._radar_rng = generator(options.seed, rig.radar.channel)
        self._untold: list[Sample] = []

    def latched(self, drive: SimDrive) -> list[Sample]:
        """Calibrations and mounts, as the vehicle believes them to be."""
        found: list[Sample] = [camera.calibration(START_NS) for camera in self._rig.cameras]
        found += [lidar.mount_sample(START_NS) for lidar in self._rig.lidars]
        self._tell(drive, found)
        return found

    def _tell(self, drive: SimDrive, samples: Sequence[Sample]) -> None:
        """Keep samples for the perceiver's next moment, if it wants any."""
        if drive.wants_samples:
            self._untold += samples

    def instant(self, drive: SimDrive, on_tick: Callable[[Tick], None]) -> Iterator[Sample]:
        """All samples of the drive's next tick, then the tick itself."""
        before = drive.tick(None, None)
        mono_ns = START_NS + round(before.index * STEP_S * NS_PER_S)
        truth: OracleFrame | None = None
        sensed: list[Sample] = []
        beams: list[Sample] = []
        plan = None
        pose = self._inertial.pose(before, mono_ns)
        self._tell(drive, [pose])
        if drive.plans_now:
            truth = drive.observe()
            sensed = list(self._sense(drive, before, mono_ns))
            tracks = tracks_of(self._rig.radar, truth, self._radar_rng)
            beams = [*lead_signals(tracks, mono_ns),
                     RadarSample(self._rig.radar.channel, mono_ns, tracks)]  # fmt: skip
            self._tell(drive, [*sensed, *beams])
            told, self._untold = self._untold, []
            plan = drive.think(Moment(truth, told))
        # What the signals say of the wheel is known only now that human and planner have thought.
        tick = drive.tick(truth, plan)
        yield from self._inertial.signals(tick, mono_ns)
        yield pose
        if before.index % RATE_HZ == 0:
            yield from self._inertial.fix(tick, mono_ns, mono_ns + self._offset_ns)
        yield from sensed
        yield from beams
        if plan is not None:
            yield PlanSample(mono_ns, plan.t_s, plan.xy_m)
        on_tick(tick)
        drive.advance()

    def _sense(self, drive: SimDrive, tick: Tick, mono_ns: int) -> Iterator[Sample]:
        """Pictures and sweeps of this instant."""
        if not self._rig.cameras and not self._rig.lidars:
            return
        around = drive.surveyor.survey(tick.world.actors, tick.motion)
        for lidar in self._rig.lidars:
            yield sweep(
                lidar, around.scene, around.ground, tick.motion, tick.world.conditions,
                self._rngs[lidar.channel], mono_ns, self._rig.drift_of(lidar.channel),
            ).sample  # fmt: skip
        if tick.index % self._pictures_ticks == 0:
            for camera in self._rig.cameras:
                yield self._image(camera, around, mono_ns)

    def _image(self, camera: CameraSpec, around: Surroundings, mono_ns: int) -> ImageSample:
        picture = render(
            camera, around, self._rngs[camera.channel], self._rig.drift_of(camera.channel)
        )
        content = simplejpeg.encode_jpeg(
            np.ascontiguousarray(picture.pixels), JPEG_QUALITY, "RGB", "420"
        )
        return ImageSample(
            camera.channel, mono_ns, "jpeg", content, camera.width, camera.height, camera.frame_id
        )
