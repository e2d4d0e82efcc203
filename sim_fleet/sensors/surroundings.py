"""What all sensors of one vehicle see at one instant: the scene, the ground, the light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float32s
from sim_fleet.sensors.ground import (
    LIGHT_CELL_M,
    SNAP_M,
    GroundWindow,
    cast_shade,
    draw_window,
    shade_direction,
    shine_beams,
)
from sim_fleet.sensors.mounts import EgoMotion
from sim_fleet.shapes.assemble import (
    AMBER_ON,
    BX,
    BY,
    GREEN_ON,
    RADIUS,
    RED_ON,
    Scene,
    assemble,
    join,
    subset,
)
from sim_fleet.world.actors import EGO, Actors, X, Y, bodies_of
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.roadmap import AMBER, GREEN, RoadMap, signal_state

REACH_M = 150.0
ACTOR_REACH_M = 130.0
_LIT = {GREEN: GREEN_ON, AMBER: AMBER_ON}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`scene` of what moves first and what stands behind it; the rasters `shade` and `lamps`
    of `sensors.ground` with what moves drawn in.
    """

    ego: EgoMotion
    scene: Scene
    moving: int
    ground: GroundWindow
    shade: NDArray[np.uint8]
    lamps: Float32s
    conditions: Conditions


class Surveyor:
    """Makes the surroundings of one vehicle, keeping what stands from frame to frame."""

    def __init__(self, world: RoadMap, conditions: Conditions) -> None:
        self._world = world
        self._conditions = conditions
        self._standing = assemble(world.props)
        self._window: GroundWindow | None = None
        self._window_at: tuple[int, int] | None = None

    def ground(self, x_m: float, y_m: float) -> GroundWindow:
        """The ground window around a position."""
        at = (round(x_m / SNAP_M), round(y_m / SNAP_M))
        if self._window is None or at != self._window_at:
            near = self._near(self._standing, at[0] * SNAP_M, at[1] * SNAP_M, REACH_M)
            standing = subset(self._standing, near)
            self._window = draw_window(self._world, standing, self._conditions, x_m, y_m)
            self._window_at = at
        return self._window

    @staticmethod
    def _near(scene: Scene, x_m: float, y_m: float, reach_m: float) -> NDArray[np.int64]:
        away = np.hypot(scene.bounds[:, BX] - x_m, scene.bounds[:, BY] - y_m)
        return np.flatnonzero(away - scene.bounds[:, RADIUS] < reach_m)

    def scene(self, actors: Actors, ego: EgoMotion) -> Scene:
        """Actors near the ego, then the scenery near it with its signals lit."""
        away = np.hypot(actors.floats[:, X] - ego.x_m, actors.floats[:, Y] - ego.y_m)
        rows = np.flatnonzero(away < ACTOR_REACH_M)
        moving = assemble(bodies_of(actors, rows[rows != EGO]))
        near = self._near(self._standing, ego.x_m, ego.y_m, REACH_M)
        standing = subset(self._standing, near)
        self._light_signals(standing, near, ego.t_s)
        return join(moving, standing)

    def _light_signals(self, standing: Scene, near: NDArray[np.int64], t_s: float) -> None:
        heads = self._world.heads
        place = np.searchsorted(near, heads.prop)
        for at, prop, junction, group in zip(
            place.tolist(),
            heads.prop.tolist(),
            heads.junction.tolist(),
            heads.group.tolist(),
            strict=True,
        ):
            if at < near.size and near[at] == prop:
                state = signal_state(t_s, float(self._world.offsets_s[junction]), group)
                standing.lamps[at] = _LIT.get(state, RED_ON)

    def survey(self, actors: Actors, ego: EgoMotion) -> Surroundings:
        """All that the cameras need at this instant."""
        scene = self.scene(actors, ego)
        window = self.ground(ego.x_m, ego.y_m)
        moving = int((scene.actor >= 0).sum())
        rows = int(scene.count[:moving].sum())
        shade, lamps = window.shade.copy(), window.lamps
        sx, sy, rise = shade_direction(self._conditions)
        if self._conditions.sunlight <= 0.2:
            sx, sy, rise = 1.0, 0.0, 40.0  # no sun: only the dark underneath
        cast_shade(
            shade, scene.values[:rows], scene.codes[:rows], window.light_x0_m,
            window.light_y0_m, LIGHT_CELL_M, sx, sy, rise,
            1 if self._conditions.sunlight > 0.2 else 2,
        )  # fmt: skip
        if self._conditions.dark:
            lamps = lamps.copy()
            shine_beams(
                lamps, scene.bounds[:moving], scene.lamps[:moving], window.light_x0_m,
                window.light_y0_m, LIGHT_CELL_M,
            )  # fmt: skip
        return Surroundings(ego, scene, moving, window, shade, lamps, self._conditions)
