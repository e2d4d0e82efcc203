"""A spinning lidar over the shared ray caster.

A sweep ends at its time stamp; each column was fired earlier, from where the sensor then was,
at bodies where they then were, so a sweep is distorted by motion as a real one is and
`time_offset_ns` lets it be deskewed. What comes back follows the lidar equation: reflectivity
and angle over range squared, twice through the air; weak echoes drop out. Rain and fog send
echoes of their own, and water on the road mirrors the pulse away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from contracts.clock import NS_PER_S
from contracts.samples import Float32s, Float64s, LidarSample, MountSample
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from sim_fleet.jit import kernel
from sim_fleet.sensors.caster import GROUND, Columns, Hits, cast
from sim_fleet.sensors.ground import PAINT_CELL_M, PAINT_CELLS, GroundWindow
from sim_fleet.sensors.mounts import NO_DRIFT, Drift, EgoMotion, Mount, turn
from sim_fleet.sensors.solids import ROUND, TOP
from sim_fleet.shapes.assemble import Scene
from sim_fleet.shapes.primitives import COS, CX, CY, HX, MATERIAL, REFLECTIVITY, SIN
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.roadmap import Ground

_FOLDER = Path(__file__).parent / "beams"
_MIN_M = 1.0
_WEAKEST = 1.0 / 9000.0

GROUND_REFLECTIVITY: Float64s = np.zeros(len(Ground))
GROUND_REFLECTIVITY[[Ground.GRASS, Ground.ASPHALT, Ground.MARKING]] = 0.32, 0.12, 0.55
GROUND_REFLECTIVITY[[Ground.SIDEWALK, Ground.PAVING, Ground.SHOULDER]] = 0.26, 0.24, 0.14
GROUND_REFLECTIVITY[[Ground.FIELD, Ground.YELLOW, Ground.DIRT]] = 0.30, 0.50, 0.22


class BeamFile(BaseModel):
    """A beam pattern as its file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: int = Field(ge=16, le=8192)
    rate_hz: int = Field(ge=1, le=50)
    max_m: float = Field(gt=1, le=400)
    range_sigma_m: float = Field(ge=0, le=1)
    elevations_deg: tuple[float, ...] = Field(min_length=1, max_length=256)


@dataclass(frozen=True, slots=True)
class LidarSpec:
    """One lidar: its beams (from the top, falling) and where it sits."""

    name: str
    beams: BeamFile
    mount: Mount

    @property
    def channel(self) -> str:
        return f"/lidar/{self.name}"

    @property
    def frame_id(self) -> str:
        return f"lidar_{self.name}"

    @property
    def sweep_s(self) -> float:
        return 1.0 / self.beams.rate_hz

    def mount_sample(self, mono_ns: int) -> MountSample:
        return MountSample(mono_ns, self.frame_id, self.mount.ego_SE3_sensor())


@cache
def load_beams(name: str) -> BeamFile:
    """The pattern of that name. Raises `InputError` with its place."""
    path = _FOLDER / f"{name}.yaml"
    return validate_located(BeamFile, parse_yaml(read_text(path), str(path)))


def lidar_columns(spec: LidarSpec, ego: EgoMotion, drift: Drift) -> Columns:
    """The rays of the sweep that ends now.

    A tilt from drift turns each beam's slope by column; that it also turns a beam sideways by
    less than half a degree is left out of where it points, not of where its echo is told.
    """
    columns = spec.beams.columns
    fired = (np.arange(columns) + 1) / columns
    age_s = -spec.sweep_s * (1 - fired)
    azimuth = np.pi - 2 * np.pi * (np.arange(columns) + 0.5) / columns
    x, y, yaw = ego.poses(age_s)
    forward, left, up = (
        a + b
        for a, b in zip(
            (spec.mount.x_m, spec.mount.y_m, spec.mount.z_m), drift.offset_m, strict=True
        )
    )
    origin = np.column_stack(
        [x + np.cos(yaw) * forward - np.sin(yaw) * left,
         y + np.sin(yaw) * forward + np.cos(yaw) * left, np.full(columns, up)]
    )  # fmt: skip
    facing = azimuth + spec.mount.yaw_rad + drift.yaw_at(ego.t_s)
    elevation = np.deg2rad(np.array(spec.beams.elevations_deg))
    lean = drift.roll_rad * np.sin(azimuth) - drift.pitch_rad * np.cos(azimuth)
    slopes = np.tan(elevation[None, :] + lean[:, None])
    world = facing + yaw
    return Columns(origin, np.stack([np.cos(world), np.sin(world)], axis=1), slopes, age_s)


@kernel
def _echoes(  # noqa: PLR0912, PLR0915
    flat: Float32s,
    primitive: NDArray[np.int32],
    face: NDArray[np.int8],
    origin: Float64s,
    toward: Float64s,
    slopes: Float64s,
    values: Float64s,
    codes: NDArray[np.int64],
    reflectivity: Float64s,
    paint: NDArray[np.uint8],
    x0: float,
    y0: float,
    ground_reflectivity: Float64s,
    extinction: float,
    wet: float,
    back: float,
    draws: Float32s,
    noise: Float32s,
    sigma_m: float,
    max_m: float,
    weakest: float,
    range_m: Float32s,
    level: NDArray[np.uint8],
) -> None:
    """Range along each ray (0: no echo) and its intensity, [columns, rays]."""
    columns, rays = flat.shape
    for j in range(columns):
        for k in range(rays):
            slope = slopes[j, k]
            slant = np.sqrt(1.0 + slope * slope)
            p, t = primitive[j, k], float(flat[j, k])
            range_m[j, k], level[j, k] = 0.0, 0
            reach = t * slant
            share, cosine = 0.0, 1.0
            if p == GROUND:
                x, y = origin[j, 0] + toward[j, 0] * t, origin[j, 1] + toward[j, 1] * t
                col, row = int((x - x0) / PAINT_CELL_M), int((y - y0) / PAINT_CELL_M)
                ground = 0
                if 0 <= col < PAINT_CELLS and 0 <= row < PAINT_CELLS:
                    ground = paint[row, col]
                cosine = -slope / slant
                share = ground_reflectivity[ground] * (1.0 - 0.75 * wet * (1.0 - cosine))
            elif p >= 0:
                share = reflectivity[codes[p, MATERIAL]]
                side = face[j, k]
                if side == TOP:
                    cosine = abs(slope) / slant
                elif side == ROUND:
                    gx = origin[j, 0] + toward[j, 0] * t - values[p, CX]
                    gy = origin[j, 1] + toward[j, 1] * t - values[p, CY]
                    cosine = abs(gx * toward[j, 0] + gy * toward[j, 1]) / max(
                        values[p, HX] * slant, 1e-6
                    )
                else:
                    along = values[p, COS] * toward[j, 0] + values[p, SIN] * toward[j, 1]
                    if side >= 2:
                        along = values[p, COS] * toward[j, 1] - values[p, SIN] * toward[j, 0]
                    cosine = abs(along) / slant
                cosine = min(1.0, max(0.05, cosine))
                # Rough surfaces also send light back at grazing angles.
                share *= 0.35 + 0.65 * cosine
            if p == GROUND:
                share *= 0.25 + 0.75 * cosine
            air = np.exp(-2.0 * extinction * reach)
            power = share * air / max(reach * reach, 1.0)
            draw = draws[j, k]
            # Drops in the air: more likely near, and where the pulse lives long.
            if back > 0.0 and draw < back:
                near = 1.2 - np.log(max(1.0 - draw / back, 1e-4)) * 4.0
                if near < reach or p < GROUND:
                    range_m[j, k] = near
                    level[j, k] = np.uint8(2 + 6 * noise[j, k] * noise[j, k] % 1.0)
                    continue
            if p < GROUND or reach >= max_m or reach < _MIN_M:
                continue
            margin = power / weakest
            if margin < 0.5 or (margin < 2.0 and draws[j, k] > (margin - 0.5) / 1.5):
                continue
            if draws[j, k] > 0.995:
                continue
            range_m[j, k] = reach + sigma_m * noise[j, k] * (1.0 + 0.3 / max(margin, 0.3))
            level[j, k] = np.uint8(min(255.0, max(1.0, 255.0 * share * air + 3.0 * noise[j, k])))


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sample and, for each of its points, the primitive that it came from: int32 [n] row of
    the scene, `GROUND`, or `NOTHING` for a drop in the air.
    """

    sample: LidarSample
    primitive: NDArray[np.int32]


def sweep(
    spec: LidarSpec, scene: Scene, ground: GroundWindow, ego: EgoMotion, conditions: Conditions,
    rng: np.random.Generator, mono_ns: int, drift: Drift = NO_DRIFT,
) -> Sweep:  # fmt: skip
    """One sweep, in the order of firing."""
    columns = lidar_columns(spec, ego, drift)
    hits = cast(scene, columns, spec.beams.max_m, slack_m=0.1 * (abs(ego.speed_mps) + 45.0))
    shape = hits.flat_m.shape
    range_m = np.empty(shape, dtype=np.float32)
    level = np.empty(shape, dtype=np.uint8)
    noise = rng.standard_normal(shape, dtype=np.float32)
    _echoes(
        hits.flat_m, hits.primitive, hits.face, columns.origin_m, columns.toward, columns.slopes,
        scene.values, scene.codes, REFLECTIVITY, ground.paint, ground.paint_x0_m,
        ground.paint_y0_m, GROUND_REFLECTIVITY, _extinction(conditions), conditions.wetness,
        _backscatter(conditions), rng.random(shape, dtype=np.float32), noise,
        spec.beams.range_sigma_m, spec.beams.max_m, _WEAKEST, range_m, level,
    )  # fmt: skip
    return _sample(spec, columns, hits, range_m, level, ego, mono_ns, drift)


def _extinction(conditions: Conditions) -> float:
    """Loss of the infrared pulse: as of visible light in fog, less in rain."""
    if conditions.weather == "rain":
        return float(0.01 * conditions.rain_mm_h**0.6 / 4.0)
    return conditions.extinction_per_m * 0.5


def _backscatter(conditions: Conditions) -> float:
    """Chance that a pulse meets a drop that answers."""
    if conditions.weather == "rain":
        return min(0.06, 0.0025 * conditions.rain_mm_h)
    return min(0.5, 4.0 / conditions.visibility_m) if conditions.weather == "fog" else 0.0


def _sample(
    spec: LidarSpec, columns: Columns, hits: Hits, range_m: Float32s, level: NDArray[np.uint8],
    ego: EgoMotion, mono_ns: int, drift: Drift,
) -> Sweep:  # fmt: skip
    column, ring = np.nonzero(range_m > 0)
    slope = columns.slopes[column, ring]
    flat = range_m[column, ring] / np.sqrt(1 + slope * slope)
    _, _, yaw = ego.poses(columns.age_s)
    heading = np.arctan2(columns.toward[:, 1], columns.toward[:, 0]) - yaw
    heading -= spec.mount.yaw_rad + drift.yaw_at(ego.t_s)
    xyz = np.empty((column.size, 3))
    xyz[:, 0], xyz[:, 1] = flat * np.cos(heading)[column], flat * np.sin(heading)[column]
    xyz[:, 2] = flat * slope
    if drift.roll_rad or drift.pitch_rad:
        xyz = xyz @ turn(drift.roll_rad, drift.pitch_rad, 0.0)
    offset_ns = np.rint(columns.age_s * NS_PER_S).astype(np.int32)
    sample = LidarSample(
        spec.channel, mono_ns, xyz.astype(np.float32), level[column, ring], spec.frame_id,
        ring=ring.astype(np.uint16), time_offset_ns=offset_ns[column],
    )  # fmt: skip
    return Sweep(sample, _origin_of(hits, range_m, columns, column, ring))


def _origin_of(
    hits: Hits, range_m: Float32s, columns: Columns, column: NDArray[np.int64],
    ring: NDArray[np.int64],
) -> NDArray[np.int32]:  # fmt: skip
    """Primitive of each echo; a drop in the air answers well before what the ray would hit."""
    slant = np.sqrt(1 + columns.slopes[column, ring] ** 2)
    early = range_m[column, ring] < hits.flat_m[column, ring] * slant - 0.6
    return np.where(early, np.int32(-2), hits.primitive[column, ring])
