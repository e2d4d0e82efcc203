"""The ground around the vehicle as rasters: what it is made of, where shade and lamps fall.

A window is snapped to a coarse grid, so what it holds depends on where the vehicle is and not
on how it came there. What stands is drawn once for each window; what moves, each frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s
from sim_fleet.jit import kernel
from sim_fleet.shapes.assemble import BX, BY, BYAW, HEAD_ON, Scene
from sim_fleet.shapes.primitives import COS, CX, CY, CYLINDER, HX, HY, SIN, SOLID, SPAN, Z0, Z1
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.roadmap import DRIVABLE, RoadMap

U8s = NDArray[np.uint8]
Int64s = NDArray[np.int64]

SNAP_M = 20.0
PAINT_CELL_M, PAINT_CELLS = 0.1, 2000
LIGHT_CELL_M, LIGHT_CELLS = 0.25, 640
_MIN_SHADE_M = 0.15


@dataclass(frozen=True, slots=True)
class GroundWindow:
    """`paint` uint8 [2000, 2000] of `Ground`, rows along y; `shade` uint8 [640, 640] 1 where
    what stands keeps the sun away; `lamps` float32 [640, 640] light of the street lamps.
    `paint_x0_m` and so on are the world's coordinates of the rasters' first corner.
    """

    paint: U8s
    paint_x0_m: float
    paint_y0_m: float
    shade: U8s
    lamps: Float32s
    light_x0_m: float
    light_y0_m: float

    def drivable(self, x_m: Float64s, y_m: Float64s) -> NDArray[np.bool_]:
        """Whether world positions are road; False beyond the window."""
        col = np.floor((x_m - self.paint_x0_m) / PAINT_CELL_M).astype(np.int64)
        row = np.floor((y_m - self.paint_y0_m) / PAINT_CELL_M).astype(np.int64)
        inside = (col >= 0) & (col < PAINT_CELLS) & (row >= 0) & (row < PAINT_CELLS)
        found = self.paint[np.where(inside, row, 0), np.where(inside, col, 0)]
        return inside & np.isin(found, [int(ground) for ground in DRIVABLE])


@kernel
def _fill_quads(raster: U8s, quads: Float64s, paint: Int64s, x0: float, y0: float, cell: float
                ) -> None:  # fmt: skip
    """Paint convex quads in order, a cell when its middle is inside."""
    size = raster.shape[0]
    for q in range(quads.shape[0]):
        corners = quads[q]
        low_y, high_y = corners[:, 1].min(), corners[:, 1].max()
        low_x, high_x = corners[:, 0].min(), corners[:, 0].max()
        if high_x < x0 or low_x > x0 + size * cell or high_y < y0 or low_y > y0 + size * cell:
            continue
        first = max(0, int(np.ceil((low_y - y0) / cell - 0.5)))
        last = min(size - 1, int(np.floor((high_y - y0) / cell - 0.5)))
        for row in range(first, last + 1):
            y = y0 + (row + 0.5) * cell
            left, right = 1e18, -1e18
            for k in range(4):
                ax, ay = corners[k, 0], corners[k, 1]
                bx, by = corners[(k + 1) % 4, 0], corners[(k + 1) % 4, 1]
                if (ay <= y < by) or (by <= y < ay):
                    x = ax + (bx - ax) * (y - ay) / (by - ay)
                    left, right = min(left, x), max(right, x)
            if right < left:
                continue
            begin = max(0, int(np.ceil((left - x0) / cell - 0.5)))
            end = min(size - 1, int(np.floor((right - x0) / cell - 0.5)))
            for col in range(begin, end + 1):
                raster[row, col] = paint[q]


@kernel
def cast_shade(
    raster: U8s,
    values: Float64s,
    codes: Int64s,
    x0: float,
    y0: float,
    cell: float,
    sx: float,
    sy: float,
    rise: float,
    level: int,
) -> None:
    """Mark the ground that primitives keep the sun from.

    sx, sy: the plane's unit vector towards the sun; rise: the sun's height for each metre.
    """
    size = raster.shape[0]
    for p in range(values.shape[0]):
        if values[p, HX] < _MIN_SHADE_M or values[p, HY] < _MIN_SHADE_M * 0.5:
            continue
        far, near = values[p, Z1] / rise, values[p, Z0] / rise
        span, cx, cy = values[p, SPAN], values[p, CX], values[p, CY]
        xs, xe = min(cx - sx * far, cx - sx * near), max(cx - sx * far, cx - sx * near)
        ys, ye = min(cy - sy * far, cy - sy * near), max(cy - sy * far, cy - sy * near)
        first = max(0, int((ys - span - y0) / cell))
        last = min(size - 1, int((ye + span - y0) / cell))
        begin = max(0, int((xs - span - x0) / cell))
        end = min(size - 1, int((xe + span - x0) / cell))
        cos, sin, hx, hy = values[p, COS], values[p, SIN], values[p, HX], values[p, HY]
        dx, dy = cos * sx + sin * sy, cos * sy - sin * sx
        round_ = codes[p, SOLID] == CYLINDER
        for row in range(first, last + 1):
            gy = y0 + (row + 0.5) * cell - cy
            for col in range(begin, end + 1):
                if raster[row, col] >= level:
                    continue
                gx = x0 + (col + 0.5) * cell - cx
                if round_:
                    along, across = -(gx * sx + gy * sy), gx * sy - gy * sx
                    half = hx * hx - across * across
                    if half <= 0.0:
                        continue
                    half = np.sqrt(half)
                    enter, leave = along - half, along + half
                else:
                    px, py = cos * gx + sin * gy, cos * gy - sin * gx
                    enter, leave = -1e9, 1e9
                    for a, d, h in ((px, dx, hx), (py, dy, hy)):
                        if abs(d) < 1e-9:
                            if abs(a) > h:
                                leave = -1e9
                            continue
                        one, two = (-h - a) / d, (h - a) / d
                        enter = max(enter, min(one, two))
                        leave = min(leave, max(one, two))
                if (
                    leave > max(enter, 0.0)
                    and enter * rise < values[p, Z1]
                    and leave * rise > values[p, Z0]
                ):
                    raster[row, col] = level


@kernel
def _shine_lamps(raster: Float32s, lamps: Float64s, x0: float, y0: float, cell: float) -> None:
    size, reach = raster.shape[0], 17.0
    for n in range(lamps.shape[0]):
        lx, ly, height = lamps[n, 0], lamps[n, 1], lamps[n, 2]
        for row in range(
            max(0, int((ly - reach - y0) / cell)), min(size, int((ly + reach - y0) / cell))
        ):
            for col in range(
                max(0, int((lx - reach - x0) / cell)), min(size, int((lx + reach - x0) / cell))
            ):
                gx, gy = x0 + (col + 0.5) * cell - lx, y0 + (row + 0.5) * cell - ly
                away = gx * gx + gy * gy
                if away < reach * reach:
                    soft = 1.0 - away / (reach * reach)
                    raster[row, col] += soft * height**3 / (away + height * height) ** 1.5


@kernel
def shine_beams(
    raster: Float32s, bounds: Float64s, lamps: Int64s, x0: float, y0: float, cell: float
) -> None:
    """Add the low beams of all vehicles whose lamps are on."""
    size, reach = raster.shape[0], 32.0
    for n in range(bounds.shape[0]):
        if lamps[n] & HEAD_ON == 0:
            continue
        bx, by = bounds[n, BX], bounds[n, BY]
        cos, sin = np.cos(bounds[n, BYAW]), np.sin(bounds[n, BYAW])
        for row in range(
            max(0, int((by - reach - y0) / cell)), min(size, int((by + reach - y0) / cell)), 1
        ):
            for col in range(
                max(0, int((bx - reach - x0) / cell)), min(size, int((bx + reach - x0) / cell))
            ):
                gx, gy = x0 + (col + 0.5) * cell - bx, y0 + (row + 0.5) * cell - by
                ahead, side = cos * gx + sin * gy, cos * gy - sin * gx
                if ahead > 2.2 and abs(side) < 0.5 * ahead:
                    angle = side / ahead
                    fade = max(0.0, 1.0 - ahead / reach)
                    raster[row, col] += (
                        1.4 * fade * np.exp(-angle * angle * 14.0) * 8.0 / (ahead + 4.0)
                    )


def draw_window(
    world: RoadMap, standing: Scene, conditions: Conditions, x_m: float, y_m: float
) -> GroundWindow:
    """The window around a position; `standing` is the map's scenery as a scene."""
    middle_x, middle_y = (round(v / SNAP_M) * SNAP_M for v in (x_m, y_m))
    half = PAINT_CELL_M * PAINT_CELLS / 2
    paint = np.full((PAINT_CELLS, PAINT_CELLS), int(world.base), dtype=np.uint8)
    _fill_quads(paint, world.quads, world.paint, middle_x - half, middle_y - half, PAINT_CELL_M)
    reach = LIGHT_CELL_M * LIGHT_CELLS / 2
    x0, y0 = middle_x - reach, middle_y - reach
    shade = np.zeros((LIGHT_CELLS, LIGHT_CELLS), dtype=np.uint8)
    lamps = np.zeros((LIGHT_CELLS, LIGHT_CELLS), dtype=np.float32)
    if conditions.sunlight > 0.02:
        sx, sy, rise = shade_direction(conditions)
        cast_shade(shade, standing.values, standing.codes, x0, y0, LIGHT_CELL_M, sx, sy, rise, 1)
    if conditions.street_lamps:
        _shine_lamps(lamps, world.lamps_m, x0, y0, LIGHT_CELL_M)
    return GroundWindow(
        paint, middle_x - half, middle_y - half, shade, lamps, x0, y0
    )  # fmt: skip


def shade_direction(conditions: Conditions) -> tuple[float, float, float]:
    """The plane's unit vector towards the sun, and its rise (at least 1 in 7)."""
    azimuth = conditions.sun_azimuth_rad
    rise = max(float(np.tan(conditions.sun_elevation_rad)), 1 / 7)
    return float(np.cos(azimuth)), float(np.sin(azimuth)), rise
