"""Labels instants of a drive as it goes by: the oracle's truth, with what the lidar met."""

from __future__ import annotations

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.geometry import BevGrid
from contracts.labels import FrameLabels
from contracts.samples import LidarSample, MountSample, Sample
from edge_agent.ports import SourceDescription
from sim_fleet.drive import PLAN_EVERY, Tick
from sim_fleet.labels import ego_points, labels_of
from sim_fleet.sensors.surroundings import Surveyor
from sim_fleet.source import START_NS
from sim_fleet.world.world import World

GROUND_GRID = BevGrid(x_min_m=-32.0, y_min_m=-51.2, cell_m=0.8, rows=128, columns=128)
"""Where the ground is labelled: the output grid of both sizes of the student."""


class TruthLabeller:
    """Shown every sample and then every instant of one drive, in order.

    Args:
        described: the drive as its source tells it: its id, and the tags of its labels.
        world: any instant of it; roads and weather stay.
        every_s: how far labelled instants are apart, a whole number of tenths.
    """

    def __init__(self, described: SourceDescription, world: World, every_s: float) -> None:
        self._drive_id, self._tags = described.drive_id, dict(described.labels)
        self._surveyor = Surveyor(world.roads, world.conditions)
        self._every_ticks = round(every_s * 10) * PLAN_EVERY
        self._sweep: LidarSample | None = None
        self._mount: MountSample | None = None

    def watch(self, sample: Sample) -> None:
        """Keep the newest sweep and where the lidar sits."""
        if isinstance(sample, LidarSample):
            self._sweep = sample
        elif isinstance(sample, MountSample):
            self._mount = sample

    def see(self, tick: Tick) -> FrameLabels | None:
        """Labels of this instant, when it is one that is labelled. Called after its samples.

        Raises `InputError` for a drive without a lidar: nobody can tell what shows.
        """
        if tick.index % self._every_ticks:
            return None
        if tick.truth is None or self._sweep is None or self._mount is None:
            raise InputError(f"nothing to label the instant at {tick.t_s:.2f} s by", self._drive_id)
        return labels_of(
            tick.truth, ego_points(self._sweep, self._mount),
            self._surveyor.ground(tick.ego.x_m, tick.ego.y_m), GROUND_GRID,
            drive_id=self._drive_id, mono_ns=START_NS + round(tick.t_s * NS_PER_S),
            tags=self._tags,
        )  # fmt: skip
