"""A pinhole camera over the shared ray caster.

Columns of a level camera are the caster's columns, so a picture costs little more than a
lidar sweep of as many rays. A camera that drift has tilted sees the level one's picture
through the homography of its turn, which is exact but for the resampling.

Pixels: the middle of pixel (u, v) lies at (u + 0.5, v + 0.5) of the intrinsics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import CalibrationSample, Float64s
from sim_fleet.sensors import finish, shading
from sim_fleet.sensors.caster import Columns, Hits, cast
from sim_fleet.sensors.mounts import NO_DRIFT, OPTICAL, Drift, EgoMotion, Mount, turn
from sim_fleet.sensors.surroundings import Surroundings
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.palette import FIELDS, GRASS
from sim_fleet.world.roadmap import Ground

MAX_M = 170.0
EXPOSURE_S = 0.012
U8s = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """One camera. `fov_rad` is horizontal; `horizon` the row of the principal point, as a share
    of the height.
    """

    name: str
    width: int
    height: int
    fov_rad: float
    mount: Mount
    horizon: float = 0.45
    rate_hz: int = 10

    @property
    def channel(self) -> str:
        return f"/camera/{self.name}"

    @property
    def frame_id(self) -> str:
        return f"camera_{self.name}"

    @property
    def focal_px(self) -> float:
        return self.width / 2 / float(np.tan(self.fov_rad / 2))

    def intrinsics(self) -> Float64s:
        """Float64 [3, 3]."""
        focal = self.focal_px
        return np.array(
            [[focal, 0, self.width / 2], [0, focal, self.height * self.horizon], [0, 0, 1.0]]
        )

    def ego_SE3_camera(self) -> Float64s:  # noqa: N802
        """Nominal transform, camera axes right, down, forward."""
        matrix = self.mount.ego_SE3_sensor()
        matrix[:3, :3] = matrix[:3, :3] @ OPTICAL
        return matrix

    def calibration(self, mono_ns: int) -> CalibrationSample:
        return CalibrationSample(
            self.channel, mono_ns, self.width, self.height, self.intrinsics(),
            self.ego_SE3_camera(), self.frame_id,
        )  # fmt: skip


def albedo_of(season: str) -> Float64s:
    """Colour of each `Ground`, float64 [9, 3]."""
    table = np.empty((len(Ground), 3))
    table[Ground.GRASS], table[Ground.FIELD] = GRASS[season], FIELDS[season]
    table[Ground.ASPHALT] = 0.105, 0.106, 0.112
    table[Ground.MARKING] = 0.72, 0.72, 0.69
    table[Ground.SIDEWALK] = 0.36, 0.345, 0.32
    table[Ground.PAVING] = 0.27, 0.255, 0.235
    table[Ground.SHOULDER] = 0.15, 0.15, 0.153
    table[Ground.YELLOW] = 0.62, 0.48, 0.10
    table[Ground.DIRT] = 0.26, 0.22, 0.15
    return table


def sky_columns(conditions: Conditions, ego: EgoMotion) -> Float64s:
    """What the shading kernel reads of the conditions and of the ego's own lamps."""
    sky = np.zeros(shading.SKY_COLUMNS)
    sky[shading.SUN_X], sky[shading.SUN_Y], sky[shading.SUN_Z] = conditions.sun_toward()
    sky[shading.SUNLIGHT], sky[shading.SKYLIGHT] = conditions.sunlight, conditions.skylight
    sky[shading.WET], sky[shading.EXTINCTION] = conditions.wetness, conditions.extinction_per_m
    sky[shading.NIGHT] = float(conditions.tod == "night")
    sky[shading.DUSK] = float(conditions.tod == "dusk")
    sky[shading.OVERCAST] = float(conditions.weather != "clear")
    sky[shading.FOG] = float(conditions.weather == "fog")
    sky[shading.EGO_X], sky[shading.EGO_Y] = ego.x_m, ego.y_m
    sky[shading.EGO_COS], sky[shading.EGO_SIN] = np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)
    sky[shading.EGO_LAMPS] = float(conditions.dark)
    sky[shading.LAMPS_ON] = float(conditions.street_lamps)
    return sky


def camera_columns(spec: CameraSpec, ego: EgoMotion, drift: Drift, margin: int) -> Columns:
    """The rays of the level camera, `margin` pixels wider on each side."""
    focal = spec.focal_px
    yaw = ego.yaw_rad + spec.mount.yaw_rad + drift.yaw_at(ego.t_s)
    right = (np.arange(-margin, spec.width + margin) + 0.5 - spec.width / 2) / focal
    down = (np.arange(-margin, spec.height + margin) + 0.5 - spec.height * spec.horizon) / focal
    azimuth = yaw - np.arctan(right)
    slopes = -down[None, :] / np.sqrt(1.0 + right * right)[:, None]
    forward, left, up = (
        a + b
        for a, b in zip(
            (spec.mount.x_m, spec.mount.y_m, spec.mount.z_m), drift.offset_m, strict=True
        )
    )
    cos, sin = np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)
    origin = np.array([ego.x_m + cos * forward - sin * left, ego.y_m + sin * forward + cos * left,
                       up])  # fmt: skip
    return Columns(
        np.tile(origin, (right.size, 1)),
        np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1),
        slopes,
        np.zeros(right.size),
    )


@dataclass(frozen=True, slots=True)
class Picture:
    """`pixels` uint8 [h, w, 3] RGB, and what the level camera's rays met (columns first)."""

    pixels: U8s
    hits: Hits
    columns: Columns


def render(
    spec: CameraSpec,
    around: Surroundings,
    rng: np.random.Generator,
    drift: Drift = NO_DRIFT,
) -> Picture:
    """The picture that the camera takes of its surroundings."""
    ego, conditions = around.ego, around.conditions
    lean = max(abs(drift.pitch_rad), abs(drift.roll_rad))
    margin = int(np.ceil(spec.focal_px * np.tan(lean) * 1.6)) + 2 if lean > 0 else 0
    columns = camera_columns(spec, ego, drift, margin)
    hits = cast(around.scene, columns, MAX_M)
    light = np.empty((columns.slopes.shape[1], columns.slopes.shape[0], 3), dtype=np.float32)
    scene, ground = around.scene, around.ground
    shading.shade_columns(
        hits.flat_m, hits.primitive, hits.face, columns.origin_m, columns.toward, columns.slopes,
        scene.values, scene.codes, scene.lamps, ground.paint, ground.paint_x0_m,
        ground.paint_y0_m, around.shade, around.lamps, ground.light_x0_m, ground.light_y0_m,
        albedo_of(conditions.season), sky_columns(conditions, ego), light,
    )  # fmt: skip
    picture = _developed(spec, light, hits, columns, conditions, ego, rng, margin)
    if margin:
        picture = _tilted(spec, picture, drift, margin)
    return Picture(picture, hits, columns)


def _developed(
    spec: CameraSpec,
    light: NDArray[np.float32],
    hits: Hits,
    columns: Columns,
    conditions: Conditions,
    ego: EgoMotion,
    rng: np.random.Generator,
    margin: int,
) -> U8s:
    exposure = conditions.exposure
    if conditions.wetness > 0:
        horizon = spec.height * spec.horizon + margin
        finish.mirror_wet_road(light, hits.primitive, horizon, conditions.wetness)
    if conditions.tod in {"glare", "dusk"} and conditions.weather == "clear":
        strength = 0.9 if conditions.tod == "glare" else 0.02
        finish.veil_glare(
            light, columns.toward, columns.slopes, np.array(conditions.sun_toward()), strength
        )
    light = finish.blur_motion(light, abs(ego.yaw_rate_radps) * EXPOSURE_S * spec.focal_px)
    finish.bloom(light, 1.6 / exposure, max(1, spec.width // 110),
                 0.5 + 0.5 * conditions.wetness)  # fmt: skip
    if conditions.weather == "rain":
        count = int(conditions.rain_mm_h * 14 * light.shape[1] / 256)
        drops = rng.random((count, 4)) * (light.shape[1], light.shape[0], 9, 1) + (0, -4, 3, 0.2)
        finish.streak_rain(light, drops, 0.028 / exposure + 0.05 * conditions.skylight)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    picture = np.empty(light.shape, dtype=np.uint8)
    finish.develop(light, noise, finish.TONE, exposure, conditions.pixel_noise, picture)
    return picture


def _tilted(spec: CameraSpec, picture: U8s, drift: Drift, margin: int) -> U8s:
    """The level picture through the tilt that drift has brought."""
    inner = spec.intrinsics()
    lean = OPTICAL.T @ turn(drift.roll_rad, drift.pitch_rad, 0.0) @ OPTICAL
    out = np.empty((spec.height, spec.width, 3), dtype=np.uint8)
    finish.tilt(picture, inner @ lean @ np.linalg.inv(inner), margin, out)
    return out
