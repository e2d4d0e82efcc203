"""The simulated drive as a `SensorSource`: all that a small test vehicle would publish.

Signals at 50 Hz, pose 50 Hz, radar 20 Hz, camera, lidar and planner 10 Hz, GNSS 1 Hz. Every
random number comes from the seed, one generator for each sensor, so leaving a sensor out does
not change the others. Recorded facts (weather, tod, road type) are told as labels.

Does not do: weather, night, faults; the fleet simulator does, behind the same port.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import simplejpeg

from contracts.clock import NS_PER_DAY, NS_PER_S, ClockQuality
from contracts.samples import (
    CalibrationSample,
    FixSample,
    Float64s,
    ImageSample,
    LidarSample,
    MountSample,
    PlanSample,
    PoseSample,
    RadarSample,
    Sample,
)
from edge_agent.ports import SourceDescription
from edge_agent.sources.geodesy import ecef_from_geodetic, geodetic_from_ecef, rotation_to_enu
from edge_agent.sources.sim import camera, lidar
from edge_agent.sources.sim.drive import LANE_D_M, RATE_HZ, Drive, simulate
from edge_agent.sources.sim.options import SimOptions
from edge_agent.sources.sim.planner import plan_at
from edge_agent.sources.sim.scene import scene_at
from edge_agent.sources.streams import Int64s, ScalarColumn, merge_samples, scalar_samples

CAMERA_CHANNEL = "/camera/front"
LIDAR_CHANNEL = "/lidar/top"
RADAR_CHANNEL = "/radar/front"
START_NS = 100 * NS_PER_S
_FIRST_UTC_NS = 1_748_779_200 * NS_PER_S  # 2025-06-01T12:00:00Z; each seed drives on another day
_ORIGIN_DEG = (48.14816, 11.55742)
_ORIGIN_ALT_M = 515.0
_STEERING_RATIO = 15.0
_WHEELBASE_M = 2.8
_PER_FRAME = RATE_HZ // 10
_JPEG_QUALITY = 85


class SimSource:
    """`SensorSource` over one simulated drive, whose truth is in `drive`."""

    def __init__(self, options: SimOptions) -> None:
        self._options = options
        self.drive: Drive = simulate(options)
        self._mono_ns: Int64s = START_NS + np.rint(self.drive.t_s * NS_PER_S).astype(np.int64)
        self._columns = _signals(self.drive, self._mono_ns, self._rng(1))

    def _rng(self, sensor: int) -> np.random.Generator:
        return np.random.default_rng([self._options.seed, sensor])

    def describe(self) -> SourceDescription:
        seed = self._options.seed
        return SourceDescription(
            drive_id=f"sim-{seed}",
            boot_id=self._options.boot_id,
            utc_minus_mono_ns=_FIRST_UTC_NS + seed * NS_PER_DAY - START_NS,
            clock=ClockQuality(synchronised=True, offset_ns=0, source="simulated"),
            signals=frozenset(column.name for column in self._columns),
            camera_channels=(CAMERA_CHANNEL,) if self._options.camera else (),
            lidar_channels=(LIDAR_CHANNEL,) if self._options.lidar else (),
            has_pose=True,
            has_plan=True,
            has_radar=True,
            labels={
                "weather": "clear",
                "tod": "day",
                "road_type": "urban",
                "region": "simulated",
            },
        )

    def samples(self) -> Iterator[Sample]:
        frames = range(0, self._mono_ns.size, _PER_FRAME)
        streams: list[Iterator[Sample]] = [
            iter([self._calibration()] if self._options.camera else []),
            iter([self._lidar_mount()] if self._options.lidar else []),
            scalar_samples(self._columns),
            self._poses(),
            self._fixes(),
            self._radar(),
            self._plans(frames),
        ]
        if self._options.camera:
            streams.append(self._images(frames))
        if self._options.lidar:
            streams.append(self._sweeps(frames))
        return merge_samples(*streams)

    def _calibration(self) -> CalibrationSample:
        return CalibrationSample(
            CAMERA_CHANNEL,
            START_NS,
            camera.WIDTH,
            camera.HEIGHT,
            camera.INTRINSICS.copy(),
            camera.EGO_SE3_CAMERA.copy(),
            "camera_front",
        )

    def _lidar_mount(self) -> MountSample:
        ego_SE3_lidar = np.eye(4)
        ego_SE3_lidar[:3, 3] = lidar.MOUNT_M
        return MountSample(START_NS, "lidar_top", ego_SE3_lidar)

    def _images(self, frames: range) -> Iterator[ImageSample]:
        rng = self._rng(2)
        noise = camera.noise_tile(rng)
        for index in frames:
            offset = (int(rng.integers(camera.NOISE_SIZE)), int(rng.integers(camera.NOISE_SIZE)))
            pixels, _ = camera.paint(scene_at(self.drive, index), noise, offset)
            content = simplejpeg.encode_jpeg(pixels, _JPEG_QUALITY, "RGB", "420")
            yield ImageSample(
                CAMERA_CHANNEL,
                int(self._mono_ns[index]),
                "jpeg",
                content,
                camera.WIDTH,
                camera.HEIGHT,
                "camera_front",
            )

    def _sweeps(self, frames: range) -> Iterator[LidarSample]:
        rng = self._rng(3)
        for index in frames:
            points = lidar.sweep(scene_at(self.drive, index), rng)
            yield LidarSample(
                LIDAR_CHANNEL,
                int(self._mono_ns[index]),
                points[0],
                points[1],
                "lidar_top",
                ring=points[2],
                time_offset_ns=points[3],
            )

    def _poses(self) -> Iterator[PoseSample]:
        position_m, heading_rad = self._path()
        for i, at_ns in enumerate(self._mono_ns.tolist()):
            half = heading_rad[i] / 2
            yield PoseSample(
                at_ns,
                np.array([position_m[i, 0], position_m[i, 1], 0.0]),
                np.array([0.0, 0.0, np.sin(half), np.cos(half)]),
            )

    def _path(self) -> tuple[Float64s, Float64s]:
        """Position of the ego's rear axle [n, 2] and its heading [n] in the world."""
        s_m = self.drive.s_m
        d_m = np.full(s_m.shape, LANE_D_M)
        return self.drive.road.position_m(s_m, d_m), self.drive.road.heading_rad(s_m)

    def _fixes(self) -> Iterator[FixSample]:
        rng = self._rng(4)
        position_m, _ = self._path()
        lat, lon = np.deg2rad(_ORIGIN_DEG)
        origin_m = ecef_from_geodetic(np.array(lat), np.array(lon), np.array(_ORIGIN_ALT_M))
        ecef_R_enu = rotation_to_enu(origin_m).T
        utc_minus_mono_ns = self.describe().utc_minus_mono_ns
        for index in range(0, self._mono_ns.size, RATE_HZ):
            noisy = [*(position_m[index] + rng.normal(0, 0.8, 2)), rng.normal(0, 1.5)]
            fix = geodetic_from_ecef(origin_m + ecef_R_enu @ np.array(noisy))
            at_ns = int(self._mono_ns[index])
            yield FixSample(
                at_ns,
                float(np.rad2deg(fix[0])),
                float(np.rad2deg(fix[1])),
                float(fix[2]),
                at_ns + utc_minus_mono_ns,
            )

    def _radar(self) -> Iterator[RadarSample]:
        rng = self._rng(5)
        for index in range(0, self._mono_ns.size, _PER_FRAME):
            scene = scene_at(self.drive, index)
            ahead = np.hypot(*scene.xy_m.T)
            in_view = (scene.xy_m[:, 0] > 4.0) & (
                np.abs(scene.xy_m[:, 1]) < 0.35 * scene.xy_m[:, 0] + 1.0
            )
            moving = in_view & (np.hypot(*scene.velocity_mps.T) > 2.0) | in_view & (scene.row == 0)
            relative = scene.velocity_mps - (scene.ego_mps, 0.0)
            closing = -(relative * scene.xy_m).sum(axis=1) / np.maximum(ahead, 0.1)
            tracks = np.column_stack([scene.row, scene.xy_m, closing])[moving].astype(np.float64)
            tracks[:, 1:3] += rng.normal(0, 0.15, (tracks.shape[0], 2))
            tracks[:, 3] += rng.normal(0, 0.1, tracks.shape[0])
            yield RadarSample(RADAR_CHANNEL, int(self._mono_ns[index]), tracks)

    def _plans(self, frames: range) -> Iterator[PlanSample]:
        for index in frames:
            t_s, xy_m = plan_at(self.drive, index)
            yield PlanSample(int(self._mono_ns[index]), t_s, xy_m)


def _signals(drive: Drive, mono_ns: Int64s, rng: np.random.Generator) -> list[ScalarColumn]:
    """All scalars of the drive with their sensors' noise."""
    count = drive.t_s.size
    curvature = drive.road.curvature_per_m(drive.s_m)
    yaw_rate = drive.speed_mps * curvature
    lateral = drive.speed_mps**2 * curvature
    steering = _STEERING_RATIO * np.arctan(_WHEELBASE_M * curvature)
    measured = {
        "ego.speed_mps": drive.speed_mps + rng.normal(0, 0.02, count) * (drive.speed_mps > 0),
        "ego.accel_mps2": drive.accel_mps2 + rng.normal(0, 0.08, count),
        "ego.lat_accel_mps2": lateral + rng.normal(0, 0.06, count),
        "ego.yaw_rate_radps": yaw_rate + rng.normal(0, 0.002, count),
        "ego.steering_angle_rad": steering + rng.normal(0, 0.003, count),
        "driver.brake_pressed": drive.brake,
        "driver.gas_pressed": drive.gas,
        "driver.steer_override": np.zeros(count),
        "autonomy.engaged": drive.engaged,
        "autonomy.fault": np.zeros(count),
        "autonomy.emergency_stop": np.zeros(count),
        "imu.accel_x_mps2": drive.accel_mps2 + rng.normal(0, 0.12, count),
        "imu.accel_y_mps2": lateral + rng.normal(0, 0.12, count),
        "imu.accel_z_mps2": 9.81 + rng.normal(0, 0.12, count),
        "imu.gyro_z_radps": yaw_rate + rng.normal(0, 0.004, count),
    }
    columns = [ScalarColumn(name, mono_ns, values) for name, values in measured.items()]
    gap_m = drive.gap_m()
    seen = np.flatnonzero(gap_m < 120.0)
    noisy_m = np.maximum(0.0, gap_m[seen] + rng.normal(0, 0.12, seen.size))
    closing = (drive.speed_mps - drive.lead_mps)[seen] + rng.normal(0, 0.08, seen.size)
    columns.append(ScalarColumn("lead.distance_m", mono_ns[seen], noisy_m))
    columns.append(ScalarColumn("lead.closing_mps", mono_ns[seen], closing))
    return columns
