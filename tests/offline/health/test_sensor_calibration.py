"""Mounts against a simulator whose lidars are turned by a known angle."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.geometry import SE3_of_quaternion
from contracts.ids import sha256_hex
from contracts.samples import LidarSample, MountSample, PoseSample
from offline.health.ground_tilt import ground_tilt
from offline.health.records import MountSample as MountWord
from offline.health.sensor_calibration import MountWatch, RawSweep, mount_health, mount_off
from offline.labels.points.deskew import Trajectory
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.sensors.mounts import Drift, turn
from sim_fleet.source import DriveOptions, SimFleetSource

_MOUNT_M = np.array([1.2, 0.0, 1.9])


def _driven(drift: Drift, scenario: str = "everyday-suburb", seconds: float = 2.4
            ) -> tuple[list[RawSweep], np.ndarray, Trajectory]:  # fmt: skip
    """Sweeps of a drive without pictures, the declared mount, and the poses."""
    options = DriveOptions(load_scenario(scenario), 5, "s", seconds, drift={"/lidar/top": drift},
                           pictures_every=10_000)  # fmt: skip
    poses: list[PoseSample] = []
    sweeps: list[LidarSample] = []
    mount = np.eye(4)
    for sample in SimFleetSource(options).samples():
        if isinstance(sample, PoseSample):
            poses.append(sample)
        elif isinstance(sample, LidarSample):
            sweeps.append(sample)
        elif isinstance(sample, MountSample):
            mount = sample.ego_SE3_sensor
    stamps = np.array([pose.mono_ns for pose in poses])
    places = [SE3_of_quaternion(pose.position_m, pose.orientation_xyzw) for pose in poses]
    raw = [
        RawSweep(
            one.mono_ns, one.xyz_m.astype(np.float64),
            one.mono_ns + one.time_offset_ns.astype(np.int64),
        )
        for one in sweeps[2::3] if one.time_offset_ns is not None
    ]  # fmt: skip
    return raw, mount, Trajectory(stamps, np.stack(places))


@pytest.mark.parametrize(
    "drift",
    [
        Drift(),
        Drift(roll_rad=0.012, pitch_rad=-0.02, yaw_rad=0.015, offset_m=(0.0, 0.0, 0.06)),
        Drift(pitch_rad=0.03, yaw_rad=-0.03),
    ],
    ids=["none", "all", "pitch and yaw"],
)
def test_a_turned_lidar_is_told_by_its_angles(drift: Drift) -> None:
    found = mount_off(*_driven(drift))
    assert found is not None
    assert found.roll_rad == pytest.approx(drift.roll_rad, abs=np.deg2rad(0.05))
    assert found.pitch_rad == pytest.approx(drift.pitch_rad, abs=np.deg2rad(0.05))
    assert found.height_m == pytest.approx(drift.offset_m[2], abs=0.01)
    assert found.yaw_rad == pytest.approx(drift.yaw_rad, abs=np.deg2rad(0.3))


def test_a_vehicle_that_stands_tells_no_yaw() -> None:
    sweeps, mount, trajectory = _driven(Drift())
    place = trajectory.world_SE3_ego[:1]
    still = Trajectory(trajectory.stamp_ns, np.repeat(place, trajectory.stamp_ns.size, axis=0))
    found = mount_off(sweeps, mount, still)
    assert found is not None
    assert found.yaw_rad is None


def _road(seed: int, roll: float, pitch: float) -> np.ndarray:
    """A noisy plane with a kerb and things that stand on it, as a turned lidar tells it."""
    rng = np.random.default_rng(seed)
    ground = np.column_stack(
        [rng.uniform(-25, 25, 6000), rng.uniform(-12, 12, 6000), np.zeros(6000)]
    )
    ground[:, 2] += np.where(np.abs(ground[:, 1]) > 4, 0.15, 0.0) + 0.02 * rng.normal(size=6000)
    cars = np.column_stack([rng.uniform(5, 20, 1500), rng.uniform(-4, -2, 1500),
                            rng.uniform(0.2, 1.5, 1500)])  # fmt: skip
    world = np.concatenate([ground, cars])
    return np.asarray((world - _MOUNT_M) @ turn(roll, pitch, 0.0) + _MOUNT_M)


@pytest.mark.parametrize(("roll", "pitch"), [(0.0, 0.0), (0.02, -0.03), (-0.04, 0.0)])
def test_a_plane_with_kerbs_and_cars_is_told(roll: float, pitch: float) -> None:
    found = ground_tilt(_road(1, roll, pitch), _MOUNT_M)
    assert found is not None
    assert found.roll_rad == pytest.approx(roll, abs=0.002)
    assert found.pitch_rad == pytest.approx(pitch, abs=0.001)
    assert found.height_m == pytest.approx(0, abs=0.01)


def test_righted_mounts_bring_the_road_back() -> None:
    found = ground_tilt(_road(2, 0.02, -0.03), _MOUNT_M)
    assert found is not None
    declared = np.eye(4)
    declared[:3, 3] = _MOUNT_M
    seen = _road(2, 0.02, -0.03) - _MOUNT_M
    mount = found.righted(declared)
    again = ground_tilt(seen @ mount[:3, :3].T + mount[:3, 3], mount[:3, 3])
    assert again is not None
    assert abs(again.roll_rad) < 1e-3
    assert abs(again.pitch_rad) < 1e-3


def test_a_handful_of_points_is_no_road() -> None:
    assert ground_tilt(np.zeros((20, 3)), _MOUNT_M) is None


def _word(vehicle: str, day: int, *, pitch: float = 0.0, yaw: float | None = 0.0, seed: int = 0
          ) -> MountWord:  # fmt: skip
    rng = np.random.default_rng([seed, day, *vehicle.encode()])
    roll, more, height = (np.deg2rad(0.08), np.deg2rad(0.08), 0.008) * rng.normal(size=3)
    return MountWord(
        clip_id=sha256_hex(f"{vehicle}{day}".encode()), vehicle_id=vehicle, sensor="lidar_top",
        utc_ns=day, roll_rad=roll, pitch_rad=pitch + more, height_m=height,
        yaw_rad=None if yaw is None else yaw + np.deg2rad(0.08) * rng.normal(), sweeps=10,
    )  # fmt: skip


def test_only_the_vehicle_whose_mount_gives_way_is_told() -> None:
    words = [_word(f"v{k}", day) for k in range(6) for day in range(40)]
    words += [_word("bad", day, pitch=np.deg2rad(0.9) if day >= 20 else 0.0) for day in range(40)]
    found = {each.vehicle_id: each for each in mount_health(reversed(words))}
    assert {name for name, each in found.items() if each.alarms} == {"bad"}
    (alarm,) = found["bad"].alarms
    assert alarm.angle == "pitch"
    assert 20 <= alarm.at_utc_ns <= 24
    assert alarm.value == pytest.approx(np.deg2rad(0.9), rel=0.2)


def test_a_mount_that_is_wrong_from_the_first_clip_on_is_told() -> None:
    words = [_word("bad", day, yaw=np.deg2rad(-1.0)) for day in range(12)]
    (found,) = mount_health(words)
    assert [each.angle for each in found.alarms] == ["yaw"]


def test_false_alarms_of_a_fleet_are_as_rare_as_stated() -> None:
    """60 steady sensors of 50 clips each, 1,000 clips between false alarms: three at most or so."""
    watch = MountWatch(clips_between=1_000.0)
    free = {
        angle: limit.model_copy(update={"tolerance": 0.0}) for angle, limit in watch.limits.items()
    }
    words = [_word(f"v{k}", day, seed=3) for k in range(60) for day in range(50)]
    found = mount_health(words, MountWatch(free, 1_000.0))
    assert sum(bool(each.alarms) for each in found) / 60 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_a_clip_that_knows_no_yaw_still_tells_the_rest() -> None:
    (found,) = mount_health([_word("v", day, yaw=None) for day in range(5)])
    assert found.yaw_rad is None
    assert not found.alarms
